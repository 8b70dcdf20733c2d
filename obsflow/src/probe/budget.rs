//! What a check may still use.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Limits;

/// Time and connections that are left.
pub(super) struct Budget {
    pub(super) limits: Limits,
    deadline: Instant,
    connections: Cell<u32>,
    names: Cell<u32>,
}

/// Nothing is left, or it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Spent {
    #[error("no answer in {:.1} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("the time for all checks ({:.0} s) is used up", .0.as_secs_f64())]
    Total(Duration),
    #[error("the {0} connections of a check are used up")]
    Connections(u32),
}

impl Budget {
    /// Begins now.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            deadline: Instant::now() + limits.total,
            connections: Cell::new(limits.connections),
            names: Cell::new(limits.names),
        }
    }

    /// Waits for `work`, at most as long as it and everything may take.
    pub(super) async fn within<T>(&self, most: Duration, work: impl Future<Output = T>) -> Result<T, Spent> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Spent::Total(self.limits.total));
        }
        let (wait, spent) = if left < most {
            (left, Spent::Total(self.limits.total))
        } else {
            (most, Spent::Late(most))
        };
        timeout(wait, work).await.map_err(|_| spent)
    }

    /// One more connection.
    pub(super) fn connection(&self) -> Result<(), Spent> {
        let left = self.connections.get();
        self.connections.set(left.saturating_sub(1));
        if left == 0 {
            return Err(Spent::Connections(self.limits.connections));
        }
        Ok(())
    }

    /// One more name to ask for.
    pub(super) fn name(&self) -> bool {
        let left = self.names.get();
        self.names.set(left.saturating_sub(1));
        left > 0
    }
}
