//! Active checks.

use std::sync::Arc;
use std::time::Duration;

use super::super::v1;
use super::{ConvertError, by_name};
use crate::model::probe::{Check, Outcome, Step};

/// What comes of active checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check that is done.
    Check(Check),
    /// The end.
    Conclusion {
        /// Whether an export as it is configured arrives.
        works: Option<bool>,
        /// What would work, or what stands in the way.
        says: Vec<Arc<str>>,
    },
}

/// An event as a message.
#[must_use]
pub fn event_to(event: &Event) -> v1::ProbeEvent {
    use v1::probe_event::Event as Message;
    let event = match event {
        Event::Check(check) => Message::Check(v1::ProbeCheck {
            step: check.step.name().to_owned(),
            target: check.target.to_string(),
            outcome: check.outcome.name().to_owned(),
            detail: check.detail.to_string(),
            // A check takes seconds; what protobuf cannot hold does not occur.
            took: prost_types::Duration::try_from(check.took).ok(),
        }),
        Event::Conclusion { works, says } => Message::Conclusion(v1::ProbeConclusion {
            works: *works,
            says: says.iter().map(ToString::to_string).collect(),
        }),
    };
    v1::ProbeEvent { event: Some(event) }
}

/// An event of a message.
///
/// # Errors
/// When it says something that is not known here.
pub fn event_from(event: v1::ProbeEvent) -> Result<Event, ConvertError> {
    use v1::probe_event::Event as Message;
    Ok(match event.event.ok_or(ConvertError::Missing("event"))? {
        Message::Check(check) => Event::Check(Check {
            step: by_name("step", &check.step, &Step::ALL, Step::name)?,
            target: check.target.into(),
            outcome: by_name("outcome", &check.outcome, &Outcome::ALL, Outcome::name)?,
            detail: check.detail.into(),
            took: check
                .took
                .and_then(|took| Duration::try_from(took).ok())
                .ok_or(ConvertError::Missing("took"))?,
        }),
        Message::Conclusion(conclusion) => Event::Conclusion {
            works: conclusion.works,
            says: conclusion.says.into_iter().map(Arc::from).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for step in Step::ALL {
            for outcome in Outcome::ALL {
                let event = Event::Check(Check {
                    step,
                    target: "10.0.0.1:4317".into(),
                    outcome,
                    detail: "ECONNREFUSED".into(),
                    took: Duration::new(3, 141_592_653),
                });
                assert_eq!(event_from(event_to(&event)), Ok(event));
            }
        }
        for works in [None, Some(true), Some(false)] {
            let event = Event::Conclusion {
                works,
                says: vec!["use port 4318".into()],
            };
            assert_eq!(event_from(event_to(&event)), Ok(event));
        }
        assert_eq!(
            event_from(v1::ProbeEvent::default()),
            Err(ConvertError::Missing("event"))
        );
    }
}
