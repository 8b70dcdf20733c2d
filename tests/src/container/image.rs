//! The image that `cargo xtask image` made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Names another layout than the one in `target/`.
const VARIABLE: &str = "OBSFLOW_IMAGE";

/// An OCI image layout.
#[derive(Debug)]
pub struct Image {
    layout: PathBuf,
}

impl Image {
    /// The one that `OBSFLOW_IMAGE` names, else the one in `target/`.
    ///
    /// # Errors
    /// When it was not made.
    pub fn built() -> Result<Self> {
        let layout = std::env::var_os(VARIABLE).map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image/oci"),
            PathBuf::from,
        );
        ensure!(
            layout.join("index.json").exists(),
            "{} is no image: run `cargo xtask image --arch amd64` first",
            layout.display()
        );
        Ok(Self { layout })
    }

    /// The layout's folder.
    #[must_use]
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// Unpacks what is for this machine, and gives the image's configuration.
    ///
    /// # Errors
    /// When a part is missing or cannot be unpacked.
    pub fn unpack(&self, to: &Path) -> Result<Value> {
        let outer = self.json(&self.layout.join("index.json"))?;
        let index = self.blob(&outer["manifests"][0])?;
        let manifests = index["manifests"]
            .as_array()
            .context("the index has no manifests")?;
        let here = manifests
            .iter()
            .find(|manifest| manifest["platform"]["architecture"] == "amd64")
            .context("the image has nothing for this machine")?;
        let manifest = self.blob(here)?;
        for layer in manifest["layers"].as_array().context("no layers")? {
            let unpacked = Command::new("tar")
                .args(["--extract", "--gzip", "--numeric-owner", "--file"])
                .arg(self.path(layer)?)
                .arg("--directory")
                .arg(to)
                .status()
                .context("cannot run tar")?;
            ensure!(unpacked.success(), "tar: {unpacked}");
        }
        self.blob(&manifest["config"])
    }

    fn path(&self, descriptor: &Value) -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().context("no digest")?;
        Ok(self.layout.join("blobs").join(digest.replace(':', "/")))
    }

    fn blob(&self, descriptor: &Value) -> Result<Value> {
        self.json(&self.path(descriptor)?)
    }

    fn json(&self, path: &Path) -> Result<Value> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }
}
