//! `deploy/`: rendered by kubectl, held against Kubernetes' own schemas, and read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::tool;

/// The folder of the manifests.
#[must_use]
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Folders of `deploy/overlays` or `deploy/components`, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn folders(of: &str) -> Result<Vec<String>> {
    let path = deploy().join(of);
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What kubectl makes of a folder with a kustomization.
///
/// # Errors
/// When it cannot.
pub fn render(folder: &Path) -> Result<String> {
    let done = Command::new("kubectl").arg("kustomize").arg(folder).output()?;
    text(&format!("kubectl kustomize {}", folder.display()), done)
}

/// What kubectl makes of the base with these components, in a copy of `deploy/` below `scratch`.
///
/// # Errors
/// When it cannot.
pub fn render_with(scratch: &Path, components: &[&str]) -> Result<String> {
    let copy = scratch.join("deploy");
    if !copy.exists() {
        fs::create_dir_all(scratch)?;
        let done = Command::new("cp").arg("-r").arg(deploy()).arg(&copy).output()?;
        text("cp", done)?;
    }
    let folder = copy
        .join("overlays")
        .join(format!("with-{}", components.join("-")));
    fs::create_dir_all(&folder)?;
    let components: String = components
        .iter()
        .map(|name| format!("  - ../../components/{name}\n"))
        .collect();
    fs::write(
        folder.join("kustomization.yaml"),
        format!("resources:\n  - ../../base\ncomponents:\n{components}"),
    )?;
    render(&folder)
}

/// The objects of YAML documents, held against the schemas of these versions of Kubernetes.
///
/// # Errors
/// When one of them is not as a schema wants it.
pub fn objects(yaml: &str, versions: &[&str]) -> Result<Vec<Value>> {
    let mut child = Command::new(tool::made("python")?.join("bin/python"))
        .arg(tool::source("manifests.py"))
        .args(versions)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("it takes no input")?;
    // It reads all of it before it writes more than a pipe holds, or ends; then this fails and its words say why.
    let writer = std::thread::spawn({
        let yaml = yaml.to_owned();
        move || stdin.write_all(yaml.as_bytes())
    });
    let done = child.wait_with_output()?;
    let _ = writer.join();
    text("manifests.py", done)?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// The object of this kind and name.
///
/// # Errors
/// When there is none.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.with_context(|| format!("there is no {kind} {name}"))
}

/// The agent's container in a rendered installation.
///
/// # Errors
/// When there is none.
pub fn agent(objects: &[Value]) -> Result<&Value> {
    let set = find(objects, "DaemonSet", "obsflow-agent")?;
    let containers = &set["spec"]["template"]["spec"]["containers"];
    let containers = containers.as_array().context("no containers")?;
    let found = containers.iter().find(|container| container["name"] == "agent");
    found.context("no container agent")
}

/// Strings of a list.
#[must_use]
pub fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| Some(value.as_str()?.to_owned()))
        .collect()
}

fn text(what: &str, done: Output) -> Result<String> {
    if !done.status.success() {
        bail!(
            "{what} failed ({}): {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8(done.stdout)?)
}
