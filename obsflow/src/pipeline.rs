//! Raw records to observations: decode, attribute, correlate, complete with names. One synchronous struct, live and in replays.

use std::sync::Arc;

use bytes::Bytes;

use crate::attribute::{self, Attributor};
use crate::correlate::{self, Correlator};
use crate::decode::{self, DecodeError};
use crate::model::event::EventBody;
use crate::model::lifecycle::{Lifecycle, Step};
use crate::model::{Attributed, Event, Mono, Observation, Workload};

/// What went through, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that were decoded.
    pub seen: u64,
    /// Records that could not be decoded: a defect of obsflow or a file that is damaged.
    pub undecodable: u64,
    /// Events that the kernel side could not hand over.
    pub lost: u64,
}

/// The stages between the ring and the sinks.
pub struct Pipeline {
    attributor: Attributor,
    correlator: Correlator,
    counters: Counters,
    /// Processes that began and ended, if anybody wants them.
    lifecycle: Option<Vec<Lifecycle>>,
    /// The first error of a record, for a person to report.
    first_error: Option<DecodeError>,
}

impl Pipeline {
    /// Puts the stages together.
    #[must_use]
    pub fn new(attributor: Attributor, correlator: Correlator) -> Self {
        Self {
            attributor,
            correlator,
            counters: Counters::default(),
            lifecycle: None,
            first_error: None,
        }
    }

    /// Takes one record; what it means is added to `out`.
    pub fn feed(&mut self, record: Bytes, out: &mut Vec<Observation>) {
        self.feed_with(record, out, |_| {});
    }

    /// Takes one record, as [`Self::feed`] does, and shows its event to `seen` on the way.
    pub fn feed_with(&mut self, record: Bytes, out: &mut Vec<Observation>, seen: impl FnMut(&Event)) {
        if let Some(event) = self.decode(record, seen) {
            let attributed = self.attributor.attribute(event);
            if let Some(lifecycle) = &mut self.lifecycle {
                lifecycle.extend(step_of(&attributed));
            }
            let from = out.len();
            self.correlator.on(attributed, out);
            self.complete(out, from);
        }
    }

    /// Adds to `out` the workloads that were named, or named otherwise, since the last call: those that say nothing, too.
    pub fn take_renamed(&mut self, now: Mono, out: &mut Vec<Arc<Workload>>) {
        self.attributor.take_renamed(now, out);
    }

    fn complete(&mut self, out: &mut [Observation], from: usize) {
        for observation in out.iter_mut().skip(from) {
            self.attributor.complete(observation);
        }
    }

    /// Keeps what begins and ends from now on, for [`Self::take_lifecycle`].
    pub fn keep_lifecycle(&mut self) {
        self.lifecycle.get_or_insert_default();
    }

    /// Adds what began and ended since the last call to `out`.
    pub fn take_lifecycle(&mut self, out: &mut Vec<Lifecycle>) {
        if let Some(lifecycle) = &mut self.lifecycle {
            out.append(lifecycle);
        }
    }

    /// Takes one record that only has to be counted and to teach names: no observation comes of it.
    pub fn pass(&mut self, record: Bytes, seen: impl FnMut(&Event)) {
        if let Some(event) = self.decode(record, seen) {
            let _ = self.attributor.attribute(event);
        }
    }

    fn decode(&mut self, record: Bytes, mut seen: impl FnMut(&Event)) -> Option<Event> {
        match decode::decode(record) {
            Ok(event) => {
                self.counters.seen += 1;
                if let EventBody::Lost { count } = event.body {
                    self.counters.lost += count;
                }
                seen(&event);
                Some(event)
            }
            Err(error) => {
                self.counters.undecodable += 1;
                if self.first_error.is_none() {
                    tracing::warn!("a record could not be decoded: {error}; later ones are only counted");
                    self.first_error = Some(error);
                }
                None
            }
        }
    }

    /// Reports what is over by now: queries without an answer, searches that came to rest.
    pub fn expire(&mut self, now: Mono, out: &mut Vec<Observation>) {
        let from = out.len();
        self.correlator.expire(now, out);
        self.complete(out, from);
    }

    /// What went through.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What attribution did.
    #[must_use]
    pub fn attribution(&self) -> attribute::Stats {
        self.attributor.stats()
    }

    /// What correlation had to forget.
    #[must_use]
    pub fn correlation(&self) -> correlate::Counters {
        self.correlator.counters()
    }

    /// Whose a cgroup is, as far as that is known or can be asked now.
    pub fn workload_of(&mut self, cgroup: u64, now: Mono) -> Option<Arc<Workload>> {
        self.attributor.of_cgroup(cgroup, now)
    }

    /// Names of pods learned since the last call, for a capture file.
    pub fn take_learned(&mut self) -> Vec<attribute::PodName> {
        self.attributor.take_learned()
    }
}

fn step_of(attributed: &Attributed) -> Option<Lifecycle> {
    let event = &attributed.event;
    let what = match &event.body {
        EventBody::Exec { comm } => Step::Exec { comm: *comm },
        EventBody::Running { comm, began } => Step::Running {
            comm: *comm,
            began: *began,
        },
        EventBody::Exit => Step::Exit,
        EventBody::CgroupGone => Step::CgroupGone,
        _ => return None,
    };
    Some(Lifecycle {
        at: event.at,
        workload: attributed.workload.clone(),
        cgroup: event.cgroup,
        pid: event.pid,
        what,
    })
}
