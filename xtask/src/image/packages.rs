//! What is in the binary: crates as cargo resolves them for it, and what the toolchain adds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::setup::rust::Arch;
use crate::{setup, sh};

/// Where the toolchain keeps the licences of its library and of the crates in it, below its folder.
const LIBRARY_LICENCES: &str = "share/doc/rust/COPYRIGHT-library.html";

/// A name and a version: what tells crates apart within one lock file.
pub(super) type Id = (String, String);

/// A crate, or a part of the toolchain, that is linked into the binary.
#[derive(Clone, Debug)]
pub(super) struct Shipped {
    /// Name and version.
    pub(super) id: Id,
    /// SPDX expression.
    pub(super) licence: String,
    pub(super) description: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) authors: Vec<String>,
    /// SHA-256 of the crate as the registry has it; nothing of the project's own.
    pub(super) checksum: Option<String>,
    pub(super) kind: Kind,
    /// What it is linked with.
    pub(super) uses: BTreeSet<Id>,
}

/// Where something comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// This project.
    Own,
    /// The registry of crates; its unpacked source.
    Crate(PathBuf),
    /// The toolchain; a file with its licences, if it has one.
    Toolchain(Option<PathBuf>),
}

/// Everything that is linked into the binary for `arch`, by name: obsflow with its dependencies, the kernel side with its, and
/// Rust's own libraries. What only builds - build scripts, macros - and what only tests use is no part of it.
///
/// # Errors
/// When cargo does not resolve, or a crate has no licence.
pub(super) fn shipped(arch: Arch) -> Result<Vec<Shipped>> {
    let mut graph = BTreeMap::new();
    tree(&["--package", "obsflow", "--target", arch.target()], &mut graph)?;
    let kernel_side = [
        "--package",
        "obsflow-ebpf",
        "--features",
        "programs",
        "--target",
        "bpfel-unknown-none",
    ];
    tree(&kernel_side, &mut graph)?;
    let mut shipped = described(graph)?;
    shipped.extend(toolchain()?);
    shipped.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(shipped)
}

type Graph = BTreeMap<Id, BTreeSet<Id>>;

/// Adds what `cargo tree` tells: it resolves features for the one package as a build of it does, and not for the workspace.
fn tree(select: &[&str], graph: &mut Graph) -> Result<()> {
    let mut command = sh::cargo();
    command
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "depth", "--format", " {p}"])
        .args(select);
    read_tree(&sh::output(&mut command)?, graph)
}

/// Reads lines of `depth name vVERSION …`.
fn read_tree(text: &str, graph: &mut Graph) -> Result<()> {
    let mut above: Vec<Id> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name), Some(version)) = (words.next(), words.next(), words.next()) else {
            bail!("cargo tree says {line:?}");
        };
        let depth: usize = depth
            .parse()
            .with_context(|| format!("cargo tree says {line:?}"))?;
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        above.truncate(depth);
        graph.entry(id.clone()).or_default();
        if let Some(parent) = above.last() {
            graph.entry(parent.clone()).or_default().insert(id.clone());
        }
        above.push(id);
    }
    Ok(())
}

/// Adds what each crate says of itself.
fn described(graph: Graph) -> Result<Vec<Shipped>> {
    let metadata = MetadataCommand::new()
        .manifest_path(sh::root().join("Cargo.toml"))
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("reading what crates say of themselves")?;
    let checksums = checksums()?;
    let mut known: BTreeMap<Id, _> = metadata
        .packages
        .iter()
        .map(|package| ((package.name.to_string(), package.version.to_string()), package))
        .collect();
    graph
        .into_iter()
        .map(|(id, uses)| {
            let (name, version) = &id;
            let package = known
                .remove(&id)
                .with_context(|| format!("cargo metadata does not know {name} {version}"))?;
            let folder = package
                .manifest_path
                .parent()
                .context("a manifest without a folder")?;
            let licence = package
                .license
                .clone()
                .with_context(|| format!("{name} {version} names no licence"))?;
            Ok(Shipped {
                licence: licence.replace('/', " OR "),
                description: package.description.as_deref().map(one_line),
                repository: package.repository.clone(),
                authors: package.authors.clone(),
                checksum: checksums.get(&id).cloned(),
                kind: match package.source {
                    Some(_) => Kind::Crate(folder.into()),
                    None => Kind::Own,
                },
                uses,
                id,
            })
        })
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Checksums by crate, as the lock file has them.
fn checksums() -> Result<BTreeMap<Id, String>> {
    let path = sh::root().join("Cargo.lock");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lock: toml::Table = text.parse().context("reading Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let of = |package: &toml::Value| {
        let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages
        .context("Cargo.lock has no packages")?
        .iter()
        .filter_map(of)
        .collect())
}

/// The libraries that come compiled with the toolchain: Rust's, and the C library of the target.
fn toolchain() -> Result<[Shipped; 2]> {
    let version = sh::output(sh::command("rustc").arg("--version"))?;
    let version = version
        .split(' ')
        .nth(1)
        .context("rustc has no version")?
        .to_owned();
    let licences = setup::sysroot()?.join(LIBRARY_LICENCES);
    if !licences.exists() {
        bail!(
            "{} is missing: the toolchain must come from rustup",
            licences.display()
        );
    }
    let part = |name: &str, licence: &str, description: &str, repository: &str, author: &str, file| Shipped {
        id: (name.to_owned(), version.clone()),
        licence: licence.to_owned(),
        description: Some(description.to_owned()),
        repository: Some(repository.to_owned()),
        authors: vec![author.to_owned()],
        checksum: None,
        kind: Kind::Toolchain(file),
        uses: BTreeSet::new(),
    };
    Ok([
        part(
            "rust-std",
            "MIT OR Apache-2.0",
            "Rust's standard library, with the crates in it",
            "https://github.com/rust-lang/rust",
            "The Rust Project Developers",
            Some(licences),
        ),
        part(
            "musl",
            "MIT",
            "The C library that comes with Rust's musl targets of this version",
            "https://musl.libc.org",
            "Rich Felker, et al.",
            None,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_read_from_depths() {
        let text = "0 a v1.0.0 (/x)\n1 b v2.0.0\n2 c v3.0.0\n1 c v3.0.0 (*)\n1 d v0.1.0+build\n";
        let mut graph = Graph::new();
        read_tree(text, &mut graph).unwrap();
        let names = |name: &str| {
            let found = graph.iter().find(|(id, _)| id.0 == name).unwrap();
            found.1.iter().map(|id| id.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names("a"), ["b", "c", "d"]);
        assert_eq!(names("b"), ["c"]);
        assert!(names("d").is_empty());
        assert!(read_tree("a v1", &mut Graph::new()).is_err());
    }

    #[test]
    fn what_builds_and_what_tests_is_not_shipped() {
        let shipped = shipped(Arch::Amd64).unwrap();
        let names: BTreeSet<&str> = shipped.iter().map(|part| &*part.id.0).collect();
        for name in [
            "obsflow",
            "obsflow-ebpf",
            "aya",
            "aya-ebpf",
            "tokio",
            "rust-std",
            "musl",
        ] {
            assert!(names.contains(name), "{name} is missing");
        }
        for name in [
            "insta",
            "proptest",
            "tonic-prost-build",
            "clap_derive",
            "obsflow-tests",
            "opentelemetry",
        ] {
            assert!(!names.contains(name), "{name} is no part of the binary");
        }
        let ids: BTreeSet<&Id> = shipped.iter().map(|part| &part.id).collect();
        for part in &shipped {
            assert!(part.uses.iter().all(|id| ids.contains(id)), "{part:?}");
            assert_eq!(
                matches!(part.kind, Kind::Crate(_)),
                part.checksum.is_some(),
                "{part:?}"
            );
        }
    }
}
