//! Plain data that every stage shares. No aya, kube or ratatui types.

pub mod answer;
pub mod attributed;
pub mod cluster;
pub mod event;
pub mod exchange;
pub mod expectation;
pub mod flow;
pub mod injection;
pub mod lifecycle;
pub mod observation;
pub(crate) mod path;
pub mod probe;
pub mod status;
pub mod time;
pub mod verdict;
pub mod workload;

pub use attributed::Attributed;
pub use event::{Event, EventBody};
pub use lifecycle::Lifecycle;
pub use observation::{Observation, What};
pub use time::{Clock, Mono};
pub use workload::{Process, Workload};
