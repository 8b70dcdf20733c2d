//! Objects of the Kubernetes API, cut down to what is used.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::plan::{Agent, AgentState, Pod};

/// Where an agent serves gRPC, unless its pod names a port `grpc`.
const PORT: u16 = 9971;
const PORT_NAME: &str = "grpc";

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    #[serde(default)]
    pub(super) metadata: ListMeta,
    /// An empty list may be written as `null`.
    pub(super) items: Option<Vec<T>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ListMeta {
    #[serde(rename = "continue", default)]
    pub(super) next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    deletion_timestamp: Option<String>,
    owner_references: Vec<OwnerReference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    uid: String,
    controller: Option<bool>,
}

impl Meta {
    /// The UID of what made it.
    pub(super) fn controller(&self) -> Option<&str> {
        let controllers = |owner: &&OwnerReference| owner.controller == Some(true);
        Some(&self.owner_references.iter().find(controllers)?.uid)
    }
}

/// Something that only its metadata is known of.
#[derive(Debug, Deserialize)]
pub(super) struct Bare {
    #[serde(default)]
    pub(super) metadata: Meta,
}

/// What makes pods.
#[derive(Debug, Deserialize)]
pub(super) struct Maker {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) spec: MakerSpec,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct MakerSpec {
    #[serde(default)]
    pub(super) selector: Option<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LabelSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl LabelSelector {
    /// As a query parameter has it (`k8s.io/apimachinery/pkg/labels`).
    pub(super) fn query(&self) -> String {
        let labels = self
            .match_labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let expressions = self.match_expressions.iter().map(|requirement| {
            let Requirement {
                key,
                operator,
                values,
            } = requirement;
            let values = values.join(",");
            match operator.as_str() {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            }
        });
        labels.chain(expressions).collect::<Vec<_>>().join(",")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PodObject {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
}

impl PodObject {
    fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|node| !node.is_empty())
    }

    /// A pod that is asked about.
    pub(super) fn pod(&self) -> Pod {
        Pod {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            node: self.node().map(Into::into),
            ended: matches!(self.status.phase.as_str(), "Succeeded" | "Failed"),
        }
    }

    /// A pod that answers; `None` before it has a node.
    pub(super) fn agent(&self) -> Option<Agent> {
        let mut ports = self.spec.containers.iter().flat_map(|container| &container.ports);
        let port = ports.find(|port| port.name.as_deref() == Some(PORT_NAME));
        Some(Agent {
            name: self.metadata.name.as_str().into(),
            node: self.node()?.into(),
            state: self.agent_state(),
            port: port.map_or(PORT, |port| port.container_port),
        })
    }

    fn agent_state(&self) -> AgentState {
        let waiting = self
            .status
            .container_statuses
            .iter()
            .find_map(|container| container.state.waiting.as_ref());
        let is_ready = |condition: &Condition| condition.r#type == "Ready" && condition.status == "True";
        match (self.status.phase.as_str(), waiting) {
            _ if self.metadata.deletion_timestamp.is_some() => AgentState::Ending,
            (_, Some(waiting)) if !waiting.reason.is_empty() => {
                AgentState::Down(waiting.reason.as_str().into())
            }
            ("Running", _) if self.status.conditions.iter().any(is_ready) => AgentState::Ready,
            ("Running", _) => AgentState::Running,
            ("", _) => AgentState::Down("no phase is known of its pod".into()),
            (phase, _) => AgentState::Down(phase.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agent(pod: Value) -> Option<Agent> {
        serde_json::from_value::<PodObject>(pod).unwrap().agent()
    }

    #[test]
    fn an_agent_is_ready_ending_or_down() {
        let pod = json!({
            "metadata": {"name": "obsflow-7kx2p", "namespace": "obsflow", "uid": "u"},
            "spec": {"nodeName": "n1", "containers": [{"ports": [
                {"name": "metrics", "containerPort": 9970}, {"name": "grpc", "containerPort": 4999}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]},
        });
        let ready = agent(pod.clone()).unwrap();
        assert_eq!(
            (&*ready.name, &*ready.node, ready.port),
            ("obsflow-7kx2p", "n1", 4999)
        );
        assert_eq!(ready.state, AgentState::Ready);
        let with = |pointer: &str, value: Value| {
            let mut pod = pod.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value;
            agent(pod)
        };
        let state = |pointer, value| with(pointer, value).unwrap().state;
        assert_eq!(state("/status/conditions", json!([])), AgentState::Running);
        assert_eq!(
            state("/metadata/deletionTimestamp", json!("2026-01-02T03:04:05Z")),
            AgentState::Ending
        );
        let crashing = json!([{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        assert_eq!(
            state("/status/containerStatuses", crashing),
            AgentState::Down("CrashLoopBackOff".into())
        );
        assert_eq!(
            state("/status/phase", json!("Pending")),
            AgentState::Down("Pending".into())
        );
        assert_eq!(with("/spec/nodeName", Value::Null), None);
        assert_eq!(with("/spec/containers", json!([])).unwrap().port, PORT);
    }

    #[test]
    fn selectors_are_written_as_the_api_reads_them() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"app": "checkout", "tier": "web"},
            "matchExpressions": [
                {"key": "env", "operator": "In", "values": ["a", "b"]},
                {"key": "track", "operator": "NotIn", "values": ["canary"]},
                {"key": "x", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist"},
            ],
        }))
        .unwrap();
        assert_eq!(
            selector.query(),
            "app=checkout,tier=web,env in (a,b),track notin (canary),x,!y"
        );
    }
}
