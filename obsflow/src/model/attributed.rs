//! An event whose owner is known, as far as it can be.

use std::sync::Arc;

use super::event::Event;
use super::workload::{Process, Workload};

/// What attribution hands to correlation.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributed {
    /// What happened.
    pub event: Event,
    /// Whose it is; of kind `Unknown` when nothing told.
    pub workload: Arc<Workload>,
    /// The process, if known.
    pub process: Option<Process>,
}
