//! What checks `deploy/`: kubectl renders it, promtool and a Prometheus look at its rules and its dashboard.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Step;
use super::apt;
use super::exporters::Made;
use crate::sh;

/// Prometheus and promtool, in `target/lab/prometheus/bin`. Taken out of their package instead of installed: as a package
/// it would be a service that starts, scrapes this machine and holds port 9090.
pub(crate) const PROMETHEUS: Made = Made {
    name: "prometheus",
    sources: &[],
    packages: &[],
    make: prometheus,
    works: &["bin/promtool", "--version"],
};

/// The first kubectl whose kustomize knows components.
const KUBECTL: u32 = 21;

/// Installs kubectl unless there is one, wherever it comes from.
///
/// # Errors
/// When there is none and none can be installed, or it is too old for what `deploy/` uses.
pub(crate) fn kubectl() -> Result<Step> {
    let there = sh::find("kubectl").is_some();
    if !there {
        apt::ensure(&[("kubernetes-client", "kubectl")])?;
    }
    let version = sh::output(sh::command("kubectl").args(["version", "--client"]))?;
    let minor = minor(&version).with_context(|| format!("kubectl has no version in {version:?}"))?;
    if minor < KUBECTL {
        bail!(
            "kubectl 1.{minor} is too old: install 1.{KUBECTL} or newer from https://kubernetes.io/docs/tasks/tools"
        );
    }
    Ok(if there {
        Step::There(format!("1.{minor} there"))
    } else {
        Step::Installed(format!("1.{minor}"))
    })
}

/// Of `Client Version: v1.32.4`, and of older ones' `GitVersion:"v1.20.2"`, the 32 and the 20.
fn minor(version: &str) -> Option<u32> {
    let digits = version.split_once("v1.")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits.get(..end)?.parse().ok()
}

fn prometheus(folder: &Path) -> Result<()> {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let programs = ["prometheus", "promtool"];
    if let Some(found) = programs
        .iter()
        .map(|name| sh::find(name))
        .collect::<Option<Vec<_>>>()
    {
        for (name, path) in programs.iter().zip(found) {
            std::os::unix::fs::symlink(&path, bin.join(name))
                .with_context(|| format!("cannot link {}", path.display()))?;
        }
        return Ok(());
    }
    if sh::find("apt-get").is_none() || sh::find("dpkg-deb").is_none() {
        bail!("install Prometheus (prometheus and promtool in PATH), then run this again");
    }
    apt::update()?;
    sh::run(
        sh::command("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", "prometheus"])
            .current_dir(folder),
    )
    .context("the package prometheus cannot be had")?;
    let files = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let package = files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get download left no package")?;
    let content = folder.join("content");
    sh::run(sh::command("dpkg-deb").arg("-x").arg(&package).arg(&content))?;
    for name in programs {
        std::fs::rename(content.join("usr/bin").join(name), bin.join(name))
            .with_context(|| format!("the package has no {name}"))?;
    }
    std::fs::remove_dir_all(&content).with_context(|| format!("cannot remove {}", content.display()))?;
    std::fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_says_its_version_in_two_ways() {
        assert_eq!(
            minor("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0"),
            Some(32)
        );
        assert_eq!(
            minor(
                "Client Version: version.Info{Major:\"1\", Minor:\"20\", GitVersion:\"v1.20.2\", GitCommit:\"x\"}"
            ),
            Some(20)
        );
        assert_eq!(minor("error: unknown flag"), None);
    }
}
