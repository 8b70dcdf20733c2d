//! What a relay says of its nodes.

use std::sync::Arc;

use serde::Serialize;

/// Hubble's `NodeStatusEvent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Their state by now.
    #[serde(skip_serializing_if = "NodeState::is_unknown")]
    pub state_change: NodeState,
    /// Nodes with that state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_names: Vec<Arc<str>>,
    /// For a person.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Arc<str>,
}

/// States of nodes (`enum NodeState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum NodeState {
    /// Not said.
    #[default]
    UnknownNodeState = 0,
    /// It sends flows.
    NodeConnected = 1,
    /// It cannot be reached.
    NodeUnavailable = 2,
    /// It left the cluster.
    NodeGone = 3,
    /// It failed.
    NodeError = 4,
}

impl NodeState {
    fn is_unknown(&self) -> bool {
        *self == Self::UnknownNodeState
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownNodeState => "UNKNOWN_NODE_STATE",
            Self::NodeConnected => "NODE_CONNECTED",
            Self::NodeUnavailable => "NODE_UNAVAILABLE",
            Self::NodeGone => "NODE_GONE",
            Self::NodeError => "NODE_ERROR",
        }
    }
}
