//! What kubelet and the runtime make of a DaemonSet and an image: runc's configuration.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{DaemonSet, Profile, host_folders};
use crate::lab::Lab;

/// What Podman and CRI-O mean by the runtime's default; it comes with skopeo.
const SECCOMP: &str = "/usr/share/containers/seccomp.json";
/// What containerd hides from containers that are not privileged.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
/// What it makes read-only.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The configuration of the DaemonSet's container on node 0 of the lab, its folders below `own`.
pub(super) fn config(
    lab: &Lab,
    set: &DaemonSet,
    image: &Value,
    own: &Path,
    profile: Profile<'_>,
) -> Result<Value> {
    let security = set.security();
    ensure!(
        security["privileged"] == false && security["runAsUser"] == 0,
        "it is privileged or not root: {security}"
    );
    let capabilities: Vec<String> = set
        .capabilities()?
        .iter()
        .filter(|name| !profile.dropped.contains(&name.as_str()))
        .map(|name| format!("CAP_{name}"))
        .collect();
    let variables = variables(lab, set)?;
    let mut env: Vec<String> = strings(&image["config"]["Env"]);
    env.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
    let mut args = strings(&image["config"]["Entrypoint"]);
    args.extend(
        strings(&set.container()["args"])
            .iter()
            .map(|argument| expanded(argument, &variables)),
    );
    // A node of the lab has a part of this machine's hierarchy.
    args.extend(["--attach".to_owned(), lab.attach_to(0)?]);
    let mut namespaces = vec![
        json!({ "type": "mount" }),
        json!({ "type": "ipc" }),
        json!({ "type": "uts" }),
    ];
    if set.shares("hostNetwork") {
        namespaces.push(json!({ "type": "network", "path": lab.node(0)?.netns.path() }));
    } else {
        namespaces.push(json!({ "type": "network" }));
    }
    if !set.shares("hostPID") {
        namespaces.push(json!({ "type": "pid" }));
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": env,
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
        },
        "root": { "path": "rootfs", "readonly": security["readOnlyRootFilesystem"] == true },
        "mounts": mounts(lab, set, own)?,
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": if profile.filtered { seccomp(security, &capabilities)? } else { Value::Null },
        },
    }))
}

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The container's variables; fields of the pod are those of a lab's node.
fn variables(lab: &Lab, set: &DaemonSet) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for variable in set.container()["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().context("a variable without a name")?;
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match (variable["value"].as_str(), field) {
            (Some(value), _) => value.to_owned(),
            (None, Some("spec.nodeName")) => "node-0".to_owned(),
            (None, Some("status.hostIP")) => lab.node(0)?.pod_v4(1).to_string(),
            (None, Some("metadata.name")) => "obsflow-agent-lab".to_owned(),
            (None, Some("metadata.namespace")) => "obsflow".to_owned(),
            _ => bail!("a lab has no {variable}"),
        };
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// `$(NAME)` replaced, as kubelet does.
fn expanded(argument: &str, variables: &BTreeMap<String, String>) -> String {
    variables.iter().fold(argument.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

fn mounts(lab: &Lab, set: &DaemonSet, own: &Path) -> Result<Vec<Value>> {
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        }),
        json!({
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        }),
    ];
    let folders = host_folders(lab, own)?;
    for mount in set.container()["volumeMounts"].as_array().into_iter().flatten() {
        let name = mount["name"].as_str().context("a mount without a name")?;
        let volume = set.volume(name)?;
        let source = if let Some(path) = volume["hostPath"]["path"].as_str() {
            let found = folders.iter().find(|(there, _)| *there == path);
            found
                .with_context(|| format!("a lab's node has no {path}"))?
                .1
                .clone()
        } else if let Some(map) = volume["configMap"]["name"].as_str() {
            let folder = own.join(name);
            fs::create_dir_all(&folder)?;
            for (file, text) in set.config_map(map)? {
                fs::write(folder.join(file), text)?;
            }
            folder
        } else {
            bail!("a lab has no volume like {volume}");
        };
        let access = if mount["readOnly"] == true { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": mount["mountPath"], "type": "bind", "source": source,
            "options": ["rbind", "rprivate", access],
        }));
    }
    Ok(mounts)
}

/// The profile that runtimes keep as their default, for a container with these capabilities.
fn seccomp(security: &Value, capabilities: &[String]) -> Result<Value> {
    if security["seccompProfile"]["type"] != "RuntimeDefault" {
        return Ok(Value::Null);
    }
    let text = fs::read(SECCOMP).with_context(|| format!("cannot read {SECCOMP}: it comes with skopeo"))?;
    let profile: Value = serde_json::from_slice(&text)?;
    let applies = |rule: &Value| {
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let here = |name: &str| matches!(name, "amd64" | "x86" | "x32");
        let (with, without) = (&rule["includes"], &rule["excludes"]);
        strings(&with["caps"]).iter().all(|name| has(name))
            && !strings(&without["caps"]).iter().any(|name| has(name))
            && (with["arches"].is_null() || strings(&with["arches"]).iter().any(|name| here(name)))
            && !strings(&without["arches"]).iter().any(|name| here(name))
    };
    let rules = profile["syscalls"]
        .as_array()
        .context("a profile without rules")?;
    let rules: Vec<Value> = rules
        .iter()
        .filter(|rule| applies(rule))
        .map(|rule| {
            let mut made = json!({ "names": rule["names"], "action": rule["action"], "args": rule["args"] });
            if !rule["errnoRet"].is_null() {
                made["errnoRet"] = rule["errnoRet"].clone();
            }
            made
        })
        .collect();
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }))
}
