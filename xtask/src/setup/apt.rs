//! System packages, on Debian and its relatives; elsewhere the commands have to be there already.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::Step;
use crate::sh;

/// A Debian package and a command that proves it is there on a system without dpkg.
pub(crate) type Package = (&'static str, &'static str);

/// What building and testing need.
pub(crate) const BASE: &[Package] = &[
    // Linkers, and the C library's headers for crates that build C for the tests.
    ("build-essential", "cc"),
    ("pkg-config", "pkg-config"),
    ("musl-tools", "musl-gcc"),
    // The lab.
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("iptables", "iptables"),
    ("unbound", "unbound"),
    // Its mesh sidecar, its TLS front (Go's own TLS, as most receivers have) and its forward proxy.
    ("haproxy", "haproxy"),
    ("caddy", "caddy"),
    ("tinyproxy-bin", "tinyproxy"),
    ("openssl", "openssl"),
    // Its pods that are real ones: a container runtime, and images for it.
    ("containerd", "containerd"),
    ("buildah", "buildah"),
    ("python3-venv", "python3"),
    ("jq", "jq"),
    // Runs the container image, and looks at it as others do; with skopeo comes the profile of system calls.
    ("runc", "runc"),
    ("skopeo", "skopeo"),
    // Looks whether the unit file is good; it starts nothing.
    ("systemd", "systemd-analyze"),
    // Shows that nothing stays behind in the kernel.
    ("bpftool", "bpftool"),
];

/// Installs those of `packages` that are missing.
///
/// # Errors
/// When something is missing and cannot be installed here.
pub(crate) fn ensure(packages: &[Package]) -> Result<Step> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(Step::There(format!("{} there", packages.len())));
    }
    let names = missing.join(" ");
    if sh::find("apt-get").is_none() {
        bail!("install these with your package manager, then run this again (Debian's names): {names}");
    }
    if !sh::is_root()? {
        bail!("run `sudo apt-get install -y {names}`, then run this again");
    }
    update()?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat())?;
    Ok(Step::Installed(names))
}

/// Fetches the lists of packages.
///
/// # Errors
/// When apt fails.
pub(crate) fn update() -> Result<()> {
    apt(&["update", "-q"])
}

fn apt(arguments: &[&str]) -> Result<()> {
    // Another clone, or the machine's own upgrades, may hold apt's lock: wait for it.
    sh::run(
        sh::command("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context("apt could not install; look at its lines above, repair it, then run this again")
}

fn missing(packages: &[Package]) -> Result<Vec<&'static str>> {
    if sh::find("dpkg-query").is_none() {
        return Ok(packages
            .iter()
            .filter(|p| sh::find(p.1).is_none())
            .map(|p| p.0)
            .collect());
    }
    // Exits with 1 when a package is unknown: what it printed is the answer.
    let done = sh::command("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Package}\n"])
        .args(packages.iter().map(|p| p.0))
        .output()
        .context("cannot run dpkg-query")?;
    let text = String::from_utf8_lossy(&done.stdout);
    let there: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    Ok(packages
        .iter()
        .map(|p| p.0)
        .filter(|name| !there.contains(name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_packages_are_missing() {
        if sh::find("dpkg-query").is_none() {
            return;
        }
        let asked = [("dpkg", "dpkg"), ("no-such-package-here", "no-such-command-here")];
        assert_eq!(missing(&asked).unwrap(), ["no-such-package-here"]);
    }
}
