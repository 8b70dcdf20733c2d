//! The smoke scenario: its steps, what the process that makes them must see, and what obsflow must say of each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Port with a listener.
pub const PORT_ESTABLISHED: u16 = 4317;
/// Port nobody listens on.
pub const PORT_REFUSED: u16 = 4318;
/// Port nobody listens on, connected to over IPv6.
pub const PORT_REFUSED_V6: u16 = 3100;
/// Port behind a rule that rejects with an ICMP error: the errno is that of a refusal.
pub const PORT_REJECTED: u16 = 9428;
/// Port with a listener behind a rule that drops.
pub const PORT_DROPPED: u16 = 8428;
/// The name that does not exist. Its first label is not that of [`NAME_PRESENT`]: two names that begin alike, one
/// looked up right after the other, look like one resolver's search list.
pub const NAME_MISSING: &str = "agent.missing.test";
/// The name that resolves to 127.0.0.1.
pub const NAME_PRESENT: &str = "collector.telemetry.test";
/// What goes over the connection, and comes back.
pub const PAYLOAD: &[u8] = b"one batch of spans";
/// Namespace, name and UID of the pod that makes the traffic: it exists as a cgroup and as a log folder.
pub const POD_NAMESPACE: &str = "shop";
/// See [`POD_NAMESPACE`].
pub const POD_NAME: &str = "checkout";
/// See [`POD_NAMESPACE`].
pub const POD_UID: &str = "0f6e2d3c-7a41-4b52-9c63-1d2e3f405162";
/// Id of the pod's only container.
pub const CONTAINER_ID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// One step of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A name that does not exist is looked up.
    Nxdomain,
    /// A name is looked up and its address connected to, bytes go both ways.
    Established,
    /// A port nobody listens on is connected to.
    Refused,
    /// The same over IPv6.
    RefusedV6,
    /// A port behind a rejecting rule is connected to.
    Rejected,
    /// A port behind a dropping rule is connected to, with a deadline.
    Dropped,
}

/// What obsflow said of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its words.
    pub said: String,
    /// What is wrong with it.
    pub wrong: Vec<&'static str>,
}

impl Step {
    /// All steps, in the order in which they run.
    pub const ALL: [Self; 6] = [
        Self::Nxdomain,
        Self::Established,
        Self::Refused,
        Self::RefusedV6,
        Self::Rejected,
        Self::Dropped,
    ];

    /// What the process in the guest must have seen, else the scenario itself is broken.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Nxdomain => "no address",
            Self::Established => "echoed",
            Self::Refused | Self::RefusedV6 | Self::Rejected => "ECONNREFUSED",
            Self::Dropped => "deadline",
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Nxdomain => "look-up NXDOMAIN",
            Self::Established => "connect established",
            Self::Refused => "connect refused",
            Self::RefusedV6 => "connect refused (IPv6)",
            Self::Rejected => "connect rejected (ICMP)",
            Self::Dropped => "connect dropped",
        }
    }

    /// What a line of `obsflow observe -o json` says of this step; `None` when it is not the last word on it.
    #[must_use]
    pub fn call(self, line: &Value) -> Option<Call> {
        let flow = &line["flow"];
        let said = &flow["extensions"]["value"];
        let port = flow["l4"]["TCP"]["destination_port"].as_u64();
        let concerns = match self {
            Self::Nxdomain => said["event"] == "lookup" && said["lookup"]["name"] == NAME_MISSING,
            Self::Established => ends(said) && port == Some(PORT_ESTABLISHED.into()),
            Self::Refused => ends(said) && port == Some(PORT_REFUSED.into()),
            Self::RefusedV6 => ends(said) && port == Some(PORT_REFUSED_V6.into()),
            Self::Rejected => ends(said) && port == Some(PORT_REJECTED.into()),
            Self::Dropped => ends(said) && port == Some(PORT_DROPPED.into()),
        };
        if !concerns {
            return None;
        }
        let pod = &flow["source"];
        let mut wrong = Vec::new();
        let mut must = |right: bool, problem| {
            if !right {
                wrong.push(problem);
            }
        };
        must(
            pod["namespace"] == POD_NAMESPACE && pod["pod_name"] == POD_NAME,
            "not the pod",
        );
        match self {
            Self::Nxdomain => {
                must(said["outcome"] == "nxdomain", "not nxdomain");
                must(flow["l7"]["dns"]["rcode"] == 3, "rcode is not 3");
            }
            Self::Established => {
                must(said["outcome"] == "closed", "not an orderly end");
                must(said["bytes_sent"] == PAYLOAD.len(), "bytes sent");
                must(said["bytes_received"] == PAYLOAD.len(), "bytes received");
                must(names(flow).any(|name| name == NAME_PRESENT), "without the name");
            }
            Self::Refused | Self::RefusedV6 => {
                must(said["outcome"] == "refused", "not refused");
                must(said["errno_name"] == "ECONNREFUSED", "errno");
            }
            Self::Rejected => {
                must(said["outcome"] == "rejected", "not rejected");
                must(said["errno_name"] == "ECONNREFUSED", "errno");
            }
            Self::Dropped => {
                must(said["outcome"] == "dropped", "not dropped");
                must(flow["verdict"] == "DROPPED", "verdict");
                must(said["drop"]["reason"] == "NETFILTER_DROP", "reason");
            }
        }
        let said = flow["Summary"].as_str().unwrap_or("nothing").to_owned();
        Some(Call { said, wrong })
    }
}

/// Whether this event ends a connection or an attempt.
fn ends(said: &Value) -> bool {
    said["event"] == "closed" || said["event"] == "connect-failed"
}

fn names(flow: &Value) -> impl Iterator<Item = &str> {
    flow["destination_names"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(outcome: &str) -> Value {
        json!({"flow": {
            "verdict": "ERROR",
            "l4": {"TCP": {"destination_port": PORT_REFUSED}},
            "source": {"namespace": POD_NAMESPACE, "pod_name": POD_NAME},
            "Summary": "refused by the peer",
            "extensions": {"value": {"event": "connect-failed", "outcome": outcome, "errno_name": "ECONNREFUSED"}},
        }})
    }

    #[test]
    fn a_right_call() {
        let call = Step::Refused
            .call(&refused("refused"))
            .expect("it is the last word");
        assert_eq!(
            call,
            Call {
                said: "refused by the peer".into(),
                wrong: vec![]
            }
        );
    }

    #[test]
    fn a_wrong_call() {
        let call = Step::Refused
            .call(&refused("rejected"))
            .expect("it is the last word");
        assert_eq!(call.wrong, ["not refused"]);
    }

    #[test]
    fn lines_about_something_else() {
        assert_eq!(Step::Dropped.call(&refused("refused")), None);
        assert_eq!(Step::Refused.call(&json!({"lost_events": {}})), None);
    }
}
