//! `cargo xtask image`: the static binary as an OCI image, with its bill of materials and licence notices beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::setup::rust::Arch;
use crate::{build, setup, sh};

mod again;
mod layer;
mod layout;
mod machine_paths;
mod notices;
mod packages;
mod sbom;

/// What a node has to have pulled before anything is seen: small enough for every node of a big cluster at once.
const LARGEST_BYTES: u64 = 20 << 20;

/// What it is called unless somebody says otherwise; manifests of `deploy/` call it that, too.
const TAG: &str = concat!("localhost/obsflow:", env!("CARGO_PKG_VERSION"));

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Architectures of the image, the first of which `docker load` takes
    #[arg(long = "arch", value_enum, value_delimiter = ',', default_values_t = [Arch::Amd64, Arch::Arm64])]
    architectures: Vec<Arch>,
    /// Name of the image in its index
    #[arg(long, value_name = "NAME", default_value = TAG)]
    tag: String,
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    output: PathBuf,
    /// Builds it again, elsewhere and from nothing, and compares the digests
    #[arg(long)]
    again: bool,
}

/// Builds the binaries and puts the image together.
///
/// # Errors
/// When something does not build, or the image is larger than it may be.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::step("Rust targets", || {
        setup::rust::ensure_targets(&arguments.architectures)
    })?;
    let foreign: Vec<_> = arguments
        .architectures
        .iter()
        .filter_map(|arch| arch.cross())
        .collect();
    setup::step("cross compilers", || setup::apt::ensure(&foreign))?;
    let binaries = binaries(&arguments.architectures)?;
    let output = sh::root().join(&arguments.output);
    let digest = make(&binaries, &arguments.tag, &output)?;
    if arguments.again {
        let other = again::build_elsewhere(&arguments.architectures, &arguments.tag)?;
        if other != digest {
            bail!("the same source gave {digest} here and {other} elsewhere");
        }
        println!("built again elsewhere: the same digest");
    }
    Ok(())
}

/// Makes the image for this machine in the target folder, as tests of it take it, and gives its layout.
///
/// # Errors
/// As [`run`].
pub(crate) fn here() -> Result<PathBuf> {
    let output = sh::target().join("image");
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    make(&binaries(&[Arch::Amd64])?, TAG, &output)?;
    Ok(output.join("oci"))
}

/// A static binary for each architecture.
fn binaries(architectures: &[Arch]) -> Result<Vec<(Arch, PathBuf)>> {
    architectures
        .iter()
        .map(|arch| Ok((*arch, build::release_for(*arch)?)))
        .collect()
}

/// Puts the image together from binaries that are there, says what it is, and gives its digest.
///
/// # Errors
/// When a binary names this machine, the image is too large, or something cannot be written.
fn make(binaries: &[(Arch, PathBuf)], tag: &str, output: &Path) -> Result<String> {
    let layout = output.join("oci");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| format!("cannot replace {}", layout.display()))?;
    }
    let mut image = layout::Image::new(&layout, tag)?;
    for (arch, binary) in binaries {
        machine_paths::check(binary)?;
        let shipped = packages::shipped(*arch)?;
        let notices = notices::text(&shipped)?;
        let sbom = sbom::json(&shipped)?;
        for (name, bytes) in [
            (format!("obsflow-{arch}.cdx.json"), &sbom),
            (format!("obsflow-{arch}.notices.txt"), &notices),
        ] {
            let path = output.join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let layer = layer::make(binary, &notices)?;
        println!(
            "{arch}: {} unpacked ({} of it the binary), {} as a layer; {} crates in its bill of materials",
            mib(layer.unpacked_bytes),
            mib(fs::metadata(binary)?.len()),
            mib(layer.compressed.len() as u64),
            shipped.len(),
        );
        if layer.unpacked_bytes > LARGEST_BYTES {
            bail!("the image for {arch} is larger than {}", mib(LARGEST_BYTES));
        }
        image.add(*arch, &layer)?;
    }
    let digest = image.finish()?;
    let archive = output.join("obsflow.tar");
    layout::archive(&layout, &archive)?;
    println!("{tag} {digest}");
    println!("{}: image layout", layout.display());
    println!(
        "{}: for ctr images import, skopeo (oci-archive) and docker load",
        archive.display()
    );
    Ok(digest)
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / 1_048_576.0)
}
