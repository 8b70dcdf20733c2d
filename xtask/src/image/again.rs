//! The same image once more: from a copy of the source in another folder, with nothing that was built before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::setup::rust::Arch;
use crate::{build, sh};

/// A folder that goes with its guard.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds the image of what is here, committed or not, somewhere else, and gives its digest.
///
/// # Errors
/// When the copy cannot be made or does not build.
pub(super) fn build_elsewhere(architectures: &[Arch], tag: &str) -> Result<String> {
    let folder = Folder(std::env::temp_dir().join(format!("obsflow-again-{}", std::process::id())));
    // Deeper than here, so that not even the length is the same.
    let source = folder.0.join("another/place/for/the/source");
    copy(&source)?;
    let names: Vec<String> = architectures.iter().map(Arch::to_string).collect();
    let output = folder.0.join("image");
    let mut again = sh::cargo();
    again
        .args(["xtask", "image", "--tag", tag, "--arch", &names.join(",")])
        .arg("--output")
        .arg(&output)
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", folder.0.join("target"));
    // The copy is no clone.
    if let Some(revision) = build::revision() {
        again.env(build::REVISION, revision);
    }
    sh::run(&mut again)?;
    digest(&output)
}

fn copy(to: &Path) -> Result<()> {
    let files = sh::output(sh::command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (sh::root().join(name), to.join(name));
        // One that was removed and not committed yet.
        if !from.exists() {
            continue;
        }
        if let Some(above) = to.parent() {
            fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
        }
        fs::copy(&from, &to).with_context(|| format!("cannot copy {name} to {}", to.display()))?;
    }
    Ok(())
}

fn digest(output: &Path) -> Result<String> {
    let path = output.join("oci/index.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let index: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest.context("the index has no image")?.to_owned())
}
