//! What never arrived.

use jiff::Timestamp;
use serde::Serialize;

use super::protojson::{is_zero, maybe_timestamp, number_as_string};

/// Hubble's `LostEvent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostEvent {
    /// Where they were lost.
    #[serde(skip_serializing_if = "LostSource::is_unknown")]
    pub source: LostSource,
    /// How many.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub num_events_lost: u64,
    /// On which CPU, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i32>,
    /// Time of the first, when known.
    #[serde(serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// Time of the last, when known.
    #[serde(serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// Where events are lost (`enum LostEventSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum LostSource {
    /// Not said.
    #[serde(rename = "UNKNOWN_LOST_EVENT_SOURCE")]
    Unknown = 0,
    /// The ring between kernel and user space was full.
    PerfEventRingBuffer = 1,
    /// The queue behind it was full.
    ObserverEventsQueue = 2,
    /// A reader was slower than the store.
    HubbleRingBuffer = 3,
}

impl LostSource {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN_LOST_EVENT_SOURCE",
            Self::PerfEventRingBuffer => "PERF_EVENT_RING_BUFFER",
            Self::ObserverEventsQueue => "OBSERVER_EVENTS_QUEUE",
            Self::HubbleRingBuffer => "HUBBLE_RING_BUFFER",
        }
    }
}
