//! What shows that a pod was injected.
//!
//! Sources: the OpenTelemetry Operator's `internal/instrumentation` (names of init containers, volumes, the Go sidecar,
//! mount paths, variables). By hand people use the same images, volumes and variables.

use std::sync::Arc;

use super::wire;

/// What the operator calls its init containers, volumes, and the sidecar for Go.
const NAME: &str = "opentelemetry-auto-instrumentation";
/// Init containers for Apache httpd and nginx.
const AGENTS: [&str; 3] = [
    "otel-agent-source-container-clone",
    "otel-agent-attach-apache",
    "otel-agent-attach-nginx",
];
/// The images that bring the SDKs, of the operator and of distributions made from it.
const IMAGE: &str = "autoinstrumentation-";
/// Where the SDKs are mounted.
const MOUNT: &str = "/otel-auto-instrumentation";
/// Variables by which runtimes are made to load an SDK.
const LOADERS: [&str; 7] = [
    "JAVA_TOOL_OPTIONS",
    "PYTHONPATH",
    "NODE_OPTIONS",
    "CORECLR_PROFILER_PATH",
    "DOTNET_STARTUP_HOOKS",
    "OTEL_DOTNET_AUTO_HOME",
    "LD_PRELOAD",
];
/// What their values have in common when what they load is OpenTelemetry's.
const LOADED: [&str; 3] = [MOUNT, "opentelemetry", "otel"];
/// Variables that nobody but the operator sets: with `inject-sdk` there is nothing else.
const OPERATORS: [&str; 2] = [
    "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
    "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME",
];
/// Nobody reads more of them.
const MAX: usize = 8;

/// What shows it, each as a few words.
pub(super) fn traces(spec: &wire::PodSpec) -> Vec<Arc<str>> {
    let mut traces: Vec<Arc<str>> = Vec::new();
    let mut found = |trace: String| {
        if traces.len() < MAX {
            traces.push(trace.into());
        }
    };
    for container in &spec.init_containers {
        let name = &container.name;
        if name.starts_with(NAME) || AGENTS.contains(&name.as_str()) {
            found(format!("init container {name}"));
        } else if container.image.contains(IMAGE) {
            found(format!("init container {name} of {}", container.image));
        }
    }
    for container in &spec.containers {
        let name = &container.name;
        if name.starts_with(NAME) {
            found(format!("container {name}"));
        } else if container.image.contains(IMAGE) {
            found(format!("container {name} of {}", container.image));
        }
        for variable in &container.env {
            let loads = LOADERS.contains(&variable.name.as_str())
                && LOADED.iter().any(|part| variable.value.contains(part));
            if loads || OPERATORS.contains(&variable.name.as_str()) {
                found(format!("{} in container {name}", variable.name));
            }
        }
    }
    for volume in &spec.volumes {
        if volume.name.starts_with(NAME) {
            found(format!("volume {}", volume.name));
        }
    }
    traces
}
