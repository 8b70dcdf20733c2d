//! The DaemonSet as kustomize renders it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A DaemonSet, and everything else that its overlay renders.
#[derive(Debug)]
pub struct DaemonSet {
    objects: Vec<Value>,
    index: usize,
}

impl DaemonSet {
    /// Renders an overlay of `deploy/overlays`.
    ///
    /// # Errors
    /// When kubectl is missing, does not render it, or there is no DaemonSet in it.
    pub fn render(overlay: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/overlays")
            .join(overlay);
        let done = Command::new("kubectl")
            .arg("kustomize")
            .arg(&folder)
            .output()
            .context("cannot run kubectl: `cargo xtask setup` installs it")?;
        ensure!(
            done.status.success(),
            "kubectl kustomize {}: {}",
            folder.display(),
            String::from_utf8_lossy(&done.stderr)
        );
        let objects: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&done.stdout)?)?;
        let index = objects
            .iter()
            .position(|object| object["kind"] == "DaemonSet")
            .context("it has no DaemonSet")?;
        Ok(Self { objects, index })
    }

    fn pod(&self) -> &Value {
        &self.objects[self.index]["spec"]["template"]["spec"]
    }

    /// The specification of the agent's container.
    #[must_use]
    pub fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// Its `securityContext`.
    #[must_use]
    pub fn security(&self) -> &Value {
        &self.container()["securityContext"]
    }

    /// What the pod shares with the node: `hostPID`, `hostNetwork`.
    #[must_use]
    pub fn shares(&self, what: &str) -> bool {
        self.pod()[what] == true
    }

    /// The capabilities it adds after dropping all.
    ///
    /// # Errors
    /// When it keeps some of those that a runtime gives by itself.
    pub fn capabilities(&self) -> Result<Vec<String>> {
        let capabilities = &self.security()["capabilities"];
        ensure!(
            capabilities["drop"]
                .as_array()
                .is_some_and(|names| names.iter().any(|name| name == "ALL")),
            "it does not drop every capability: {capabilities}"
        );
        let added = capabilities["add"].as_array().context("it adds no capability")?;
        Ok(added
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect())
    }

    /// A volume by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn volume(&self, name: &str) -> Result<&Value> {
        let volumes = self.pod()["volumes"].as_array();
        volumes
            .and_then(|volumes| volumes.iter().find(|volume| volume["name"] == name))
            .with_context(|| format!("there is no volume {name}"))
    }

    /// Files of a ConfigMap: names and contents.
    ///
    /// # Errors
    /// When it was not rendered.
    pub fn config_map(&self, name: &str) -> Result<Vec<(String, String)>> {
        let found = self
            .objects
            .iter()
            .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == name);
        let data = found.with_context(|| format!("there is no ConfigMap {name}"))?["data"]
            .as_object()
            .context("a ConfigMap without data")?;
        data.iter()
            .map(|(key, value)| Ok((key.clone(), value.as_str().context("no text")?.to_owned())))
            .collect()
    }
}
