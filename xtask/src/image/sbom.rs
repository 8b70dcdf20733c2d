//! The bill of materials in CycloneDX, for scanners: what is in the binary, and where each part comes from.

use anyhow::{Context as _, Result};
use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::uri::{Purl, Uri as Url};
use cyclonedx_bom::models::bom::{Bom, SpecVersion};
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{
    ExternalReference, ExternalReferenceType, ExternalReferences, Uri,
};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::validation::Validate as _;

use super::layout::canonical;
use super::packages::{Id, Kind, Shipped};

const VERSION: SpecVersion = SpecVersion::V1_5;

/// The document. It has no serial number and no time: the same source gives the same one.
///
/// # Errors
/// When a part cannot be described in the format.
pub(super) fn json(shipped: &[Shipped]) -> Result<Vec<u8>> {
    let is_main = |part: &&Shipped| part.id.0 == "obsflow";
    let main = shipped
        .iter()
        .find(is_main)
        .context("the binary has no crate obsflow")?;
    let mut described = component(main)?;
    described.component_type = Classification::Application;
    let parts = shipped.iter().filter(|part| !is_main(part));
    let bom = Bom {
        version: 1,
        serial_number: None,
        metadata: Some(Metadata {
            timestamp: None,
            tools: None,
            authors: None,
            component: Some(described),
            manufacture: None,
            supplier: None,
            licenses: None,
            properties: None,
            lifecycles: None,
        }),
        components: Some(Components(parts.map(component).collect::<Result<_>>()?)),
        services: None,
        external_references: None,
        dependencies: Some(Dependencies(
            shipped.iter().map(|part| uses(part, shipped)).collect(),
        )),
        compositions: None,
        properties: None,
        vulnerabilities: None,
        signature: None,
        annotations: None,
        formulation: None,
        spec_version: VERSION,
    };
    let checked = bom.validate_version(VERSION);
    if let Some((field, error)) = checked.errors().next() {
        anyhow::bail!("the bill of materials is not valid: {field}: {error:?}");
    }
    let mut text = Vec::new();
    bom.output_as_json(&mut text, VERSION)
        .context("writing the bill of materials")?;
    let value: serde_json::Value = serde_json::from_slice(&text)?;
    canonical(&value)
}

fn component(part: &Shipped) -> Result<Component> {
    let (name, version) = &part.id;
    let mut component = Component::new(Classification::Library, name, version, Some(reference(&part.id)));
    component.description = part.description.as_deref().map(NormalizedString::new);
    component.licenses = Some(Licenses(vec![LicenseChoice::expression(&part.licence)]));
    component.purl = match part.kind {
        Kind::Crate(_) => Some(Purl::new("cargo", name, version)?),
        Kind::Toolchain(_) => Some(Purl::new("generic", name, version)?),
        Kind::Own => None,
    };
    component.hashes = part.checksum.clone().map(|checksum| {
        Hashes(vec![Hash {
            alg: HashAlgorithm::SHA_256,
            content: HashValue(checksum),
        }])
    });
    component.external_references = part.repository.as_deref().map(|place| {
        let place = Uri::Url(Url::new(place));
        ExternalReferences(vec![ExternalReference::new(ExternalReferenceType::Vcs, place)])
    });
    Ok(component)
}

/// What other parts of the document call this one.
fn reference((name, version): &Id) -> String {
    format!("{name}@{version}")
}

fn uses(part: &Shipped, shipped: &[Shipped]) -> Dependency {
    let mut dependencies: Vec<String> = part.uses.iter().map(reference).collect();
    // All of it is linked with the toolchain's own, which no crate names.
    if part.id.0 == "obsflow" {
        let toolchain = shipped
            .iter()
            .filter(|part| matches!(part.kind, Kind::Toolchain(_)));
        dependencies.extend(toolchain.map(|part| reference(&part.id)));
    }
    Dependency {
        dependency_ref: reference(&part.id),
        dependencies,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::image::packages;
    use crate::setup::rust::Arch;

    #[test]
    fn it_names_parts_licences_and_checksums_and_is_the_same_each_time() {
        let shipped = packages::shipped(Arch::Amd64).unwrap();
        let text = json(&shipped).unwrap();
        assert_eq!(text, json(&shipped).unwrap());
        let bom: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            (&bom["bomFormat"], &bom["specVersion"]),
            (&"CycloneDX".into(), &"1.5".into())
        );
        assert_eq!(bom["metadata"]["component"]["name"], "obsflow");
        let components = bom["components"].as_array().unwrap();
        assert_eq!(components.len() + 1, shipped.len());
        let tokio = components.iter().find(|part| part["name"] == "tokio").unwrap();
        assert!(
            tokio["purl"].as_str().unwrap().starts_with("pkg:cargo/tokio@1."),
            "{tokio}"
        );
        assert_eq!(tokio["licenses"][0]["expression"], "MIT", "{tokio}");
        assert_eq!(
            tokio["hashes"][0]["content"].as_str().unwrap().len(),
            64,
            "{tokio}"
        );
    }
}
