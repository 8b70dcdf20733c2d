//! An OCI image layout: blobs by digest, an index of what is for which machine; and the same as one archive.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch as OciArch, ConfigBuilder, Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder, RootFsBuilder, SCHEMA_VERSION,
    Sha256Digest,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use super::layer::{self, Layer};
use crate::setup::rust::Arch;

/// Where the archive says what `docker load` of before Docker 25 takes.
const DOCKER: &str = "manifest.json";
/// Not when it was built: it would be another image each time.
const CREATED: &str = "1970-01-01T00:00:00Z";
const INDEX: &str = "index.json";
const OCI_LAYOUT: &str = "oci-layout";

/// An image as it grows.
pub(super) struct Image {
    folder: PathBuf,
    tag: String,
    manifests: Vec<Descriptor>,
    /// What is said of the first architecture to those who only know one.
    docker: Option<Value>,
}

impl Image {
    /// An image without anything, in a folder that is made.
    pub(super) fn new(folder: &Path, tag: &str) -> Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            tag: tag.to_owned(),
            manifests: Vec::new(),
            docker: None,
        })
    }

    /// Adds what runs on an architecture.
    pub(super) fn add(&mut self, arch: Arch, layer: &Layer) -> Result<()> {
        let layers = self.blob(MediaType::ImageLayerGzip, &layer.compressed)?;
        let config = ConfigBuilder::default()
            // Programs of the kernel are loaded by root alone.
            .user("0:0")
            .env(["PATH=/usr/bin".to_owned()])
            .entrypoint([format!("/{}", layer::BINARY)])
            .cmd(["agent".to_owned()])
            .labels(labels())
            .build()?;
        let rootfs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids([layer.diff_id.clone()])
            .build()?;
        let history = HistoryBuilder::default()
            .created_by("cargo xtask image")
            .build()?;
        let configuration = ImageConfigurationBuilder::default()
            .created(CREATED)
            .architecture(oci_arch(arch))
            .os(Os::Linux)
            .config(config)
            .rootfs(rootfs)
            .history([history])
            .build()?;
        let configuration = self.blob(MediaType::ImageConfig, &canonical(&configuration)?)?;
        let blob = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.digest().digest());
        if self.docker.is_none() {
            self.docker = Some(json!([{
                "Config": blob(&configuration),
                "RepoTags": [self.tag],
                "Layers": [blob(&layers)],
            }]));
        }
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(configuration)
            .layers([layers])
            .annotations(labels())
            .build()?;
        let mut manifest = self.blob(MediaType::ImageManifest, &canonical(&manifest)?)?;
        let platform = PlatformBuilder::default()
            .architecture(oci_arch(arch))
            .os(Os::Linux)
            .build()?;
        manifest.set_platform(Some(platform));
        self.manifests.push(manifest);
        Ok(())
    }

    /// Writes what names everything, and gives the digest of the image.
    pub(super) fn finish(self) -> Result<String> {
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(&*self.manifests)
            .annotations(labels())
            .build()?;
        let mut image = self.blob(MediaType::ImageIndex, &canonical(&index)?)?;
        let version = self.tag.rsplit_once(':').map_or("latest", |(_, version)| version);
        let names = [
            // The one that tools look for, and the one from which containerd takes the name as a whole.
            ("org.opencontainers.image.ref.name", version),
            ("io.containerd.image.name", &self.tag),
        ];
        image.set_annotations(Some(
            names
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ));
        let digest = image.digest().to_string();
        let outer = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([image])
            .build()?;
        self.write(INDEX, &canonical(&outer)?)?;
        let version = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()?;
        self.write(OCI_LAYOUT, &canonical(&version)?)?;
        if let Some(docker) = &self.docker {
            self.write(DOCKER, &canonical(docker)?)?;
        }
        Ok(digest)
    }

    fn blob(&self, kind: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let digest = digest(bytes);
        let hex = digest.trim_start_matches("sha256:");
        self.write(&format!("blobs/sha256/{hex}"), bytes)?;
        let digest = Sha256Digest::from_str(hex)?;
        Ok(Descriptor::new(kind, bytes.len() as u64, digest))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What people and scanners are told, in the names of the OCI specification. No time of building: it would be another
/// image each time.
fn labels() -> HashMap<String, String> {
    [
        ("title", "obsflow"),
        (
            "description",
            "Why is my telemetry not arriving? DNS and TCP of telemetry exporters, from the kernel",
        ),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "(MIT OR Apache-2.0) AND LGPL-2.1-or-later"),
        ("vendor", "The obsflow project"),
        ("base.name", "scratch"),
    ]
    .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
    .into()
}

fn oci_arch(arch: Arch) -> OciArch {
    match arch {
        Arch::Amd64 => OciArch::Amd64,
        Arch::Arm64 => OciArch::ARM64,
    }
}

/// A digest as OCI writes it.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// JSON whose keys are sorted: annotations are hash maps, which have another order in each process.
pub(super) fn canonical(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let value = serde_json::to_value(value).context("writing JSON")?;
    serde_json::to_vec(&sorted(value)).context("writing JSON")
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> = members
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The layout as one file.
///
/// # Errors
/// When something cannot be read or written.
pub(super) fn archive(layout: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut archive = Builder::new(BufWriter::new(file));
    for folder in ["blobs/", "blobs/sha256/"] {
        let mut header = layer::header(EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    let blobs = layout.join("blobs/sha256");
    let mut names = fs::read_dir(&blobs)
        .with_context(|| format!("cannot read {}", blobs.display()))?
        .map(|entry| Ok(format!("blobs/sha256/{}", entry?.file_name().to_string_lossy())))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    names.extend([INDEX, DOCKER, OCI_LAYOUT].map(str::to_owned));
    for name in names {
        let path = layout.join(&name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut header = layer::header(EntryType::Regular, 0o644, bytes.len() as u64);
        archive
            .append_data(&mut header, &name, &*bytes)
            .with_context(|| format!("packing {name}"))?;
    }
    archive
        .into_inner()
        .and_then(|writer| writer.into_inner().map_err(std::io::IntoInnerError::into_error))
        .map(drop)
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) -> String {
        let mut image = Image::new(folder, "example.org/obsflow:1.2.3").unwrap();
        for arch in [Arch::Amd64, Arch::Arm64] {
            let layer = Layer {
                compressed: arch.to_string().into_bytes(),
                diff_id: digest(b"archive"),
                unpacked_bytes: 7,
            };
            image.add(arch, &layer).unwrap();
        }
        image.finish().unwrap()
    }

    fn read(folder: &Path, digest: &str) -> Value {
        let path = folder.join("blobs").join(digest.replace(':', "/"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn from_the_index_to_the_layers_by_digest() {
        let base = std::env::temp_dir().join(format!("obsflow-layout-{}", std::process::id()));
        let (one, two) = (base.join("one"), base.join("two"));
        let name = image(&one);
        assert_eq!(name, image(&two));
        let (first, second) = (base.join("one.tar"), base.join("two.tar"));
        archive(&one, &first).unwrap();
        archive(&two, &second).unwrap();
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());

        let outer: Value = serde_json::from_slice(&fs::read(one.join(INDEX)).unwrap()).unwrap();
        assert_eq!(outer["manifests"][0]["digest"], *name);
        assert_eq!(
            outer["manifests"][0]["annotations"]["io.containerd.image.name"],
            "example.org/obsflow:1.2.3"
        );
        let index = read(&one, &name);
        let platforms: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
        assert_eq!(platforms[0]["platform"]["architecture"], "amd64");
        assert_eq!(platforms[1]["platform"]["architecture"], "arm64");
        for described in platforms {
            let manifest = read(&one, described["digest"].as_str().unwrap());
            let config = read(&one, manifest["config"]["digest"].as_str().unwrap());
            assert_eq!(config["architecture"], described["platform"]["architecture"]);
            assert_eq!(config["rootfs"]["diff_ids"][0], *digest(b"archive"));
            assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/obsflow");
            assert_eq!(
                config["config"]["Labels"]["org.opencontainers.image.version"],
                env!("CARGO_PKG_VERSION")
            );
            let layer = manifest["layers"][0]["digest"].as_str().unwrap();
            let blob = fs::read(one.join("blobs").join(layer.replace(':', "/"))).unwrap();
            assert_eq!(digest(&blob), layer);
        }
        fs::remove_dir_all(base).unwrap();
    }
}
