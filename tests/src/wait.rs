//! Waiting on conditions, with a deadline.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for anything that should happen at once, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(40);

/// Between two looks at a condition that nothing announces.
const POLL: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// When the deadline passes first; `what` names what was waited for. Errors of the condition end the waiting.
pub fn until<T>(
    what: impl Display,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        std::thread::sleep(POLL);
    }
}
