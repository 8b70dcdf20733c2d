//! Active checks on behalf of somebody who may ask for them: root, over a unix socket.

use tokio::sync::mpsc;
use tonic::{Request, Status as Refusal};

use super::connection::{Caller, Guest};
use super::convert::{Event, event_to};
use super::v1;
use crate::model::verdict::Export;
use crate::probe::{self, Limits, ProbeError};

/// Checks are a few dozen.
const WAITING: usize = 64;

/// Whether the caller may ask for traffic in somebody's network namespace.
pub(super) fn permitted<T>(request: &Request<T>) -> Result<(), Refusal> {
    match request.extensions().get::<Guest>().map(|guest| &guest.caller) {
        Some(Caller::Local(Some(credentials))) if credentials.uid() == 0 => Ok(()),
        None | Some(Caller::Port) => Err(Refusal::permission_denied(
            "active checks are served over a unix socket only",
        )),
        Some(Caller::Local(_)) => Err(Refusal::permission_denied("active checks are for root only")),
    }
}

/// Checks on a thread, and hands on what comes of it.
pub(super) fn start(export: &Export) -> Result<mpsc::Receiver<Result<v1::ProbeEvent, Refusal>>, Refusal> {
    let request = probe::Request::of(export, probe::PROC.as_ref()).map_err(|error| refused(&error))?;
    let (events, receiver) = mpsc::channel(WAITING);
    // Whoever asked may be gone before the end: then nobody takes it.
    tokio::task::spawn_blocking(move || {
        let checked = probe::run(&request, &Limits::default(), |check| {
            let _ = events.blocking_send(Ok(event_to(&Event::Check(check.clone()))));
        });
        let _ = events.blocking_send(match checked {
            Ok(findings) => Ok(event_to(&Event::Conclusion {
                works: findings.works,
                says: findings.conclusion,
            })),
            Err(error) => Err(refused(&error)),
        });
    });
    Ok(receiver)
}

fn refused(error: &ProbeError) -> Refusal {
    let message = error.to_string();
    match error {
        ProbeError::Busy => Refusal::resource_exhausted(message),
        ProbeError::NoTarget(_) | ProbeError::Process { .. } => Refusal::failed_precondition(message),
        ProbeError::Enter { .. } => Refusal::permission_denied(message),
        ProbeError::Start(_) | ProbeError::Stuck(_) => Refusal::aborted(message),
    }
}
