//! Objects as Kubernetes 1.33 writes them: the recorded shapes of `tests/kube/`, with other names.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Pod;

/// Reads one of the recorded shapes.
fn shape(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("a recorded shape is no JSON")
}

/// A UID that is always the same for the same object.
#[must_use]
pub fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let half = |part: u8| {
        let mut hasher = DefaultHasher::new();
        (part, kind, namespace, name).hash(&mut hasher);
        hasher.finish()
    };
    let (a, b) = (half(0), half(1));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

/// Changes what a JSON pointer leads to; what is not there is made, objects on the way, too.
pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Array(list) => {
                let index = key.parse().unwrap_or(list.len());
                if index >= list.len() {
                    list.push(Value::Null);
                }
                let last = list.len() - 1;
                &mut list[index.min(last)]
            }
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                &mut other[&key]
            }
        };
    }
    *at = value;
}

/// [`set`], for chains.
#[must_use]
pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    set(&mut object, pointer, value);
    object
}

fn named(text: &str, namespace: Option<&str>, name: &str) -> Result<Value> {
    let mut object = shape(text)?;
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    set(&mut object, "/metadata/name", json!(name));
    if let Some(namespace) = namespace {
        set(&mut object, "/metadata/namespace", json!(namespace));
    }
    set(
        &mut object,
        "/metadata/uid",
        json!(uid(&kind, namespace.unwrap_or_default(), name)),
    );
    Ok(object)
}

/// Says what controls an object.
#[must_use]
pub fn owned_by(mut object: Value, api_version: &str, kind: &str, name: &str) -> Value {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let owner = json!([{
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid(kind, namespace, name),
        "controller": true,
        "blockOwnerDeletion": true
    }]);
    set(&mut object, "/metadata/ownerReferences", owner);
    object
}

/// Annotates an object as `kubectl annotate` does, at this time.
#[must_use]
pub fn annotated(mut object: Value, key: &str, value: &str, at: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    let mut fields = json!({ "f:metadata": { "f:annotations": {} } });
    fields["f:metadata"]["f:annotations"][format!("f:{key}")] = json!({});
    let managed = json!({
        "manager": "kubectl-annotate",
        "operation": "Update",
        "apiVersion": object["apiVersion"],
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields
    });
    match &mut object["metadata"]["managedFields"] {
        Value::Array(list) => list.push(managed),
        none => *none = json!([managed]),
    }
    object
}

/// A pod of node `node-0`, run by ReplicaSet `<app>-7d9c5b8f6d`.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn pod(namespace: &str, app: &str, suffix: &str, ip: &str) -> Result<Value> {
    let set_name = format!("{app}-7d9c5b8f6d");
    let name = format!("{set_name}-{suffix}");
    let mut pod = named(include_str!("../../../kube/pod.json"), Some(namespace), &name)?;
    set(&mut pod, "/metadata/generateName", json!(format!("{set_name}-")));
    set(&mut pod, "/metadata/labels/app", json!(app));
    set(&mut pod, "/spec/containers/0/name", json!(app));
    set(&mut pod, "/status/containerStatuses/0/name", json!(app));
    let id = uid("container", namespace, &name).replace('-', "").repeat(2);
    set(
        &mut pod,
        "/status/containerStatuses/0/containerID",
        json!(format!("containerd://{id}")),
    );
    set(&mut pod, "/status/podIP", json!(ip));
    set(&mut pod, "/status/podIPs", json!([{ "ip": ip }]));
    Ok(owned_by(pod, "apps/v1", "ReplicaSet", &set_name))
}

/// What the API has of a pod of the lab: its names, UID, container and addresses; run by a ReplicaSet of its app. `node` is
/// the name of its node.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn of(pod: &Pod, node: &str) -> Result<Value> {
    let mut object = named(
        include_str!("../../../kube/pod.json"),
        Some(&pod.namespace),
        &pod.name,
    )?;
    for (pointer, value) in [
        ("/metadata/uid", json!(pod.uid)),
        ("/spec/nodeName", json!(node)),
        ("/spec/containers/0/name", json!(pod.container)),
        ("/status/containerStatuses/0/name", json!(pod.container)),
        (
            "/status/containerStatuses/0/containerID",
            json!(format!("containerd://{}", pod.container_id)),
        ),
        ("/status/podIP", json!(pod.v4)),
        ("/status/podIPs", json!(pod.ips().map(|ip| json!({ "ip": ip })))),
    ] {
        set(&mut object, pointer, value);
    }
    if pod.device.is_none() {
        set(&mut object, "/spec/hostNetwork", json!(true));
    }
    let set_name = pod.name.rsplit_once('-').map_or(&*pod.name, |(set, _)| set);
    Ok(owned_by(object, "apps/v1", "ReplicaSet", set_name))
}

/// A ReplicaSet of a Deployment, `<deployment>-7d9c5b8f6d` or another name.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn replica_set(namespace: &str, name: &str, deployment: &str) -> Result<Value> {
    let object = named(
        include_str!("../../../kube/replicaset.json"),
        Some(namespace),
        name,
    )?;
    Ok(owned_by(object, "apps/v1", "Deployment", deployment))
}

/// A Deployment.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn deployment(namespace: &str, name: &str) -> Result<Value> {
    named(
        include_str!("../../../kube/deployment.json"),
        Some(namespace),
        name,
    )
}

/// A CronJob, and a Job that it made.
#[must_use]
pub fn cron_job(namespace: &str, name: &str, job: &str) -> [Value; 2] {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "batch/v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid(kind, namespace, name),
                "creationTimestamp": "2026-03-02T08:00:00Z",
                "generation": 1
            },
            "spec": spec
        })
    };
    let template = json!({ "spec": { "template": { "spec": { "restartPolicy": "OnFailure" } } } });
    let cron = object(
        "CronJob",
        name,
        json!({ "schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": template }),
    );
    let made = object("Job", job, template["spec"].clone());
    [cron, owned_by(made, "batch/v1", "CronJob", name)]
}

/// A Service with this cluster address.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn service(namespace: &str, name: &str, ip: &str) -> Result<Value> {
    let mut service = named(include_str!("../../../kube/service.json"), Some(namespace), name)?;
    set(&mut service, "/spec/clusterIP", json!(ip));
    set(&mut service, "/spec/clusterIPs", json!([ip]));
    Ok(service)
}

/// An EndpointSlice of a Service: address, pod, and whether it is ready.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn slice(namespace: &str, service: &str, endpoints: &[(IpAddr, &str, bool)]) -> Result<Value> {
    let name = format!("{service}-4h7bk");
    let text = include_str!("../../../kube/endpointslice.json");
    let mut slice = named(text, Some(namespace), &name)?;
    let endpoint = slice["endpoints"][0].clone();
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(ip, pod, ready)| {
            let mut endpoint = endpoint.clone();
            set(&mut endpoint, "/addresses", json!([ip]));
            set(&mut endpoint, "/targetRef/name", json!(pod));
            set(&mut endpoint, "/targetRef/namespace", json!(namespace));
            set(&mut endpoint, "/conditions/ready", json!(ready));
            endpoint
        })
        .collect();
    set(&mut slice, "/endpoints", json!(endpoints));
    set(&mut slice, "/metadata/generateName", json!(format!("{service}-")));
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!(service);
    Ok(owned_by(slice, "v1", "Service", service))
}

/// A node with this address.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn node(name: &str, ip: &str) -> Result<Value> {
    let mut node = named(include_str!("../../../kube/node.json"), None, name)?;
    let addresses = json!([{ "type": "InternalIP", "address": ip }, { "type": "Hostname", "address": name }]);
    set(&mut node, "/status/addresses", addresses);
    Ok(node)
}

/// A namespace.
///
/// # Errors
/// When the recorded shape cannot be read.
pub fn namespace(name: &str) -> Result<Value> {
    named(include_str!("../../../kube/namespace.json"), None, name)
}
