//! Answers of a whole cluster: finds out which nodes are concerned, asks their agents side by side, and puts together what
//! they say.
//!
//! The kubeconfig leads to the API server, the API server to the agents: their gRPC port listens on the loopback interface of
//! their node, which a port-forward into their pod reaches. Whoever may do that may ask; what could not be asked is part of
//! the answer.

mod access;
mod ask;
mod error;
mod find;
mod forward;
mod merge;
mod objects;
mod plan;
mod put;
mod target;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use ask::Fleet;
pub use error::FleetError;
pub use find::{Agents, Question};
pub use merge::merge;
pub(crate) use merge::some;
pub use plan::{Agent, AgentState, Plan, Pod, plan};
pub use target::{Kind, Scope, Target, TargetError, check, namespace};
