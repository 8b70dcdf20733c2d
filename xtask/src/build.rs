//! `cargo xtask build`: one static binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::setup;
use crate::setup::rust::Arch;
use crate::sh;

/// What `kubectl obsflow` looks for on the path.
const PLUGIN: &str = "kubectl-obsflow";
/// Where the compiler finds the commit that is built.
pub(crate) const REVISION: &str = "OBSFLOW_REVISION";

/// Builds the static release binary, with the link that makes it a plugin of kubectl, and says where it is.
///
/// # Errors
/// When it does not build, or is not static.
pub(crate) fn run() -> Result<()> {
    let binary = release()?;
    let plugin = link_plugin(&binary)?;
    let bytes = std::fs::metadata(&binary)
        .with_context(|| format!("cannot read {}", binary.display()))?
        .len();
    println!(
        "{}: static, {:.1} MiB",
        binary.display(),
        bytes as f64 / 1_048_576.0
    );
    println!("{}: the same, as kubectl obsflow", plugin.display());
    Ok(())
}

/// Makes the link, anew where there is one.
fn link_plugin(binary: &Path) -> Result<PathBuf> {
    let plugin = binary.with_file_name(PLUGIN);
    let name = binary.file_name().context("the binary has no name")?;
    match std::fs::remove_file(&plugin) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", plugin.display()));
        }
        _ => {}
    }
    // Relative: both may be moved together.
    std::os::unix::fs::symlink(name, &plugin).with_context(|| format!("cannot make {}", plugin.display()))?;
    Ok(plugin)
}

/// Builds the static release binary and returns its path.
///
/// # Errors
/// When it does not build, or is not static.
pub(crate) fn release() -> Result<PathBuf> {
    release_for(Arch::Amd64)
}

/// A release build that goes on beside something else. Its last part, the link, keeps one processor busy for minutes.
pub(crate) struct Ahead(Child);

/// Begins the static release build. Its errors are told by whoever builds it afterwards.
///
/// # Errors
/// When it cannot begin.
pub(crate) fn ahead() -> Result<Ahead> {
    let mut build = static_build(Arch::Amd64)?;
    build.arg("--quiet").stderr(Stdio::null());
    build.spawn().map(Ahead).context("cannot begin the release build")
}

impl Ahead {
    /// Waits for its end, however that is.
    pub(crate) fn wait(mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Ahead {
    /// Nobody wants it any more, or it has ended.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Like [`release`], for an architecture.
///
/// # Errors
/// As [`release`].
pub(crate) fn release_for(arch: Arch) -> Result<PathBuf> {
    sh::run(&mut static_build(arch)?)?;
    let binary = sh::target().join(arch.target()).join("release/obsflow");
    check_static(&binary)?;
    Ok(binary)
}

/// Runs the static release build of obsflow, with more arguments if there are any.
///
/// # Errors
/// When it does not build.
pub(crate) fn static_release(more: &[&str]) -> Result<()> {
    sh::run(static_build(Arch::Amd64)?.args(more))
}

/// The build whose result does not depend on where it is made: paths of this machine are replaced in what rustc and the C
/// compiler write down.
fn static_build(arch: Arch) -> Result<Command> {
    let target = arch.target();
    let paths = paths()?;
    let mut flags: Vec<String> = paths
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
        .collect();
    let variable = target.replace('-', "_");
    let c_flags: Vec<String> = paths
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
        .collect();
    let mut build = sh::cargo();
    build.env(format!("CFLAGS_{variable}"), c_flags.join(" "));
    if let Some((_, compiler)) = arch.cross() {
        build.env(format!("CC_{variable}"), compiler);
        flags.push(format!("-Clinker={compiler}"));
    }
    // What somebody has set for all builds is not of this one, or it would be another binary everywhere.
    build.env_remove("RUSTFLAGS");
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What `obsflow_build_info` says. Outside a clone only the environment tells, if anybody does.
    if let Some(revision) = revision() {
        build.env(REVISION, revision);
    }
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "obsflow",
        "--target",
        target,
    ]);
    Ok(build)
}

/// The commit that is built.
pub(crate) fn revision() -> Option<String> {
    sh::output(sh::command("git").args(["rev-parse", "--short=12", "HEAD"])).ok()
}

/// Folders of this machine, and what stands for them. Of several that fit, the compilers take the last.
pub(crate) fn paths() -> Result<Vec<(String, &'static str)>> {
    let shown = |path: &Path| path.display().to_string();
    let registry = cargo_home()?.join("registry/src");
    let mut paths = vec![(shown(sh::root()), "/obsflow"), (shown(&sh::target()), "/target")];
    // Each registry has a folder of its own, named by where it is reached.
    for entry in
        std::fs::read_dir(&registry).with_context(|| format!("cannot read {}", registry.display()))?
    {
        let entry = entry.with_context(|| format!("cannot read {}", registry.display()))?;
        paths.push((shown(&entry.path()), "/crates"));
    }
    paths.push((shown(&setup::sysroot()?.join("lib/rustlib/src/rust")), "/rust"));
    Ok(paths)
}

fn cargo_home() -> Result<PathBuf> {
    match (std::env::var_os("CARGO_HOME"), std::env::var_os("HOME")) {
        (Some(cargo), _) if !cargo.is_empty() => Ok(cargo.into()),
        (_, Some(home)) => Ok(PathBuf::from(home).join(".cargo")),
        _ => bail!("HOME is not set: set it to the folder that holds .cargo"),
    }
}

/// A binary with an interpreter or with needed libraries would not run in an empty image.
fn check_static(binary: &Path) -> Result<()> {
    let headers = sh::output(
        sh::command("readelf")
            .args(["--wide", "--program-headers", "--dynamic"])
            .arg(binary),
    )
    .context("readelf comes with binutils: `cargo xtask setup` installs it")?;
    if let Some(line) = headers
        .lines()
        .find(|line| line.contains("INTERP") || line.contains("(NEEDED)"))
    {
        bail!("{} is not static: {}", binary.display(), line.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_a_link_that_can_be_made_again() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("obsflow-plugin-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let binary = dir.join("obsflow");
        std::fs::write(&binary, "it")?;
        for _ in 0..2 {
            let plugin = link_plugin(&binary)?;
            assert_eq!(plugin, dir.join("kubectl-obsflow"));
            assert_eq!(std::fs::read_to_string(&plugin)?, "it");
        }
        Ok(std::fs::remove_dir_all(&dir)?)
    }

    #[test]
    fn a_dynamic_binary_is_refused() {
        let error = check_static(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
    }
}
