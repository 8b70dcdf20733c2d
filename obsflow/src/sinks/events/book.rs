//! What was said of which pod, and when: which Events are due.
//!
//! A verdict on a pod is one entry, however many exporters of it fail. Its Event is written when it opens, and at most every
//! ten minutes after that: when it came again, as the next of the same series, or when it still holds after half an hour,
//! because a server forgets Events after an hour. Its end is said once it has been over for a minute.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::order::{Event, Order, Subject, name};
use super::words;
use crate::model::verdict::{Export, Report, Severity, Transition, VerdictId};
use crate::model::{Clock, Mono, Workload};

/// Between two Events of one verdict and one pod.
pub(super) const PAUSE: Duration = Duration::from_mins(10);
/// How long a verdict holds before it is said again.
const STILL: Duration = Duration::from_mins(30);
/// How long it must be over before that is said: what flaps is not over.
const OVER: Duration = Duration::from_mins(1);
/// When an Event that found no room is tried again.
const LATER: Duration = Duration::from_mins(1);
/// Pods and verdicts remembered.
const MAX_ENTRIES: usize = 8192;
/// Exporters of one entry.
const MAX_EXPORTS: usize = 32;

/// A pod's UID and a verdict on it.
type Key = (Arc<str>, VerdictId);

#[derive(Debug)]
struct Entry {
    /// Those that fail now.
    open: Vec<Arc<Export>>,
    /// How often the verdict opened since the Event was written last.
    openings: u32,
    /// When it was written last, and how often it had come by then.
    told: Option<(Mono, u32)>,
    /// Its name, once there is one.
    name: Option<Arc<str>>,
    /// Whether its end would be news.
    ends: bool,
    /// When the last of them recovered.
    closed: Option<Mono>,
    /// Not to be tried before.
    not_before: Mono,
}

/// What Events are made with.
struct Moment<'a> {
    node: &'a str,
    /// The newest there is.
    report: &'a Report,
    clock: Clock,
    now: Mono,
}

/// What is known of Events.
#[derive(Debug)]
pub(super) struct Book {
    node: String,
    entries: HashMap<Key, Entry>,
    /// Verdicts that there was no room to remember.
    pub(super) forgotten: u64,
}

impl Book {
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            entries: HashMap::new(),
            forgotten: 0,
        }
    }

    /// A verdict began or ended to hold.
    pub(super) fn on(&mut self, transition: &Transition) {
        let export = &transition.export;
        let Some(uid) = &export.workload.pod_uid else {
            return;
        };
        let key = (Arc::clone(uid), export.verdict);
        if !transition.opened {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.open.retain(|open| open.id != export.id);
                if entry.open.is_empty() {
                    entry.closed.get_or_insert(transition.at);
                }
            }
            return;
        }
        if export.severity < Severity::Warning {
            return;
        }
        if !self.entries.contains_key(&key) && self.entries.len() >= MAX_ENTRIES {
            self.forgotten += 1;
            return;
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            open: Vec::new(),
            openings: 0,
            told: None,
            name: None,
            ends: false,
            closed: None,
            not_before: Mono(0),
        });
        if entry.open.is_empty() {
            entry.openings = entry.openings.saturating_add(1);
        }
        entry.closed = None;
        entry.open.retain(|open| open.id != export.id);
        if entry.open.len() < MAX_EXPORTS {
            entry.open.push(Arc::new(export.clone()));
        }
    }

    /// What is due, given to `write`, which says whether it was taken. `report` is the newest there is.
    pub(super) fn due(
        &mut self,
        report: &Report,
        clock: Clock,
        now: Mono,
        mut write: impl FnMut(Order) -> bool,
    ) {
        let moment = Moment {
            node: &self.node,
            report,
            clock,
            now,
        };
        self.entries.retain(|key, entry| {
            if entry.open.is_empty() {
                return entry.rest(key, &moment, &mut write);
            }
            if entry.is_due(now)
                && let Some(order) = entry.order(key, &moment)
            {
                let name = Arc::clone(&order.event.metadata.name);
                let count = order.again.unwrap_or(1);
                if write(order) {
                    entry.told = Some((now, count));
                    entry.name = Some(name);
                    entry.openings = 0;
                    entry.ends = true;
                } else {
                    entry.not_before = now.after(LATER);
                }
            }
            true
        });
    }
}

impl Entry {
    fn is_due(&self, now: Mono) -> bool {
        let quiet = self.told.map(|(at, _)| now.since(at));
        now >= self.not_before
            && match quiet {
                None => true,
                Some(quiet) if self.openings > 0 => quiet >= PAUSE,
                Some(quiet) => quiet >= STILL,
            }
    }

    /// The Event for what fails; `None` while the pod's name is not known.
    fn order(&self, (uid, verdict): &Key, moment: &Moment<'_>) -> Option<Order> {
        // More may be known of them by now: names, evidence, advice.
        let newest = |open: &'_ Arc<Export>| {
            let found = moment.report.exports.iter().find(|export| export.id == open.id);
            found
                .filter(|export| export.verdict == *verdict)
                .map_or_else(|| Arc::clone(open), |export| Arc::new(export.clone()))
        };
        let exports: Vec<Arc<Export>> = self.open.iter().map(newest).collect();
        let exports: Vec<&Export> = exports.iter().map(Arc::as_ref).collect();
        let subject = subject(uid, exports.iter().map(|export| &*export.workload))?;
        let since = exports.iter().map(|export| export.since).min()?;
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| name(&subject.pod, distinct(uid, *verdict, since, "")));
        let words = ("Warning", words::reason(*verdict), words::failure(&exports));
        let again = self
            .told
            .map(|(_, count)| count.saturating_add(self.openings.max(1)));
        Some(Order {
            event: Event::new(&subject, name, words, moment.clock.wall(since), moment.node),
            again,
            ends: None,
        })
    }

    /// Nothing of it fails any more. Whether it is to be remembered.
    fn rest(&mut self, key: &Key, moment: &Moment<'_>, write: &mut impl FnMut(Order) -> bool) -> bool {
        let now = moment.now;
        let closed = *self.closed.get_or_insert(now);
        if self.ends && now.since(closed) >= OVER && now >= self.not_before {
            if self.end(key, moment, closed).is_none_or(write) {
                self.ends = false;
            } else {
                self.not_before = now.after(LATER);
            }
        }
        // Until then it may come again, as the next of the series; an end that found no room is still to be said.
        let Some((told, _)) = self.told else { return false };
        self.ends || now.since(told.max(closed)) < PAUSE
    }

    /// The Event for the end, if the pod lives and does well by what the report says.
    fn end(&self, (uid, verdict): &Key, moment: &Moment<'_>, closed: Mono) -> Option<Order> {
        let ends = self.name.clone()?;
        let is_of_pod = |export: &&Export| export.workload.pod_uid.as_ref() == Some(uid);
        let of_pod: Vec<&Export> = moment.report.exports.iter().filter(is_of_pod).collect();
        // It ended, is not seen any more, or fails in another way, which has its own Event.
        if of_pod.is_empty() || of_pod.iter().any(|export| export.verdict.is_failure()) {
            return None;
        }
        let subject = subject(uid, of_pod.iter().map(|export| &*export.workload))?;
        let name = name(&subject.pod, distinct(uid, *verdict, closed, "over"));
        let note = words::end(*verdict, &of_pod);
        let words = ("Normal", words::RECOVERED.to_owned(), note);
        Some(Order {
            event: Event::new(&subject, name, words, moment.clock.wall(closed), moment.node),
            again: None,
            ends: Some(ends),
        })
    }
}

/// The pod of these workloads, once it has a name.
fn subject<'a>(uid: &Arc<str>, workloads: impl Iterator<Item = &'a Workload>) -> Option<Subject> {
    let mut subject: Option<Subject> = None;
    for workload in workloads {
        let (Some(namespace), Some(pod)) = (&workload.namespace, &workload.pod) else {
            continue;
        };
        match &mut subject {
            Some(known) if known.container != workload.container => known.container = None,
            Some(_) => {}
            None => {
                subject = Some(Subject {
                    namespace: Arc::clone(namespace),
                    pod: Arc::clone(pod),
                    uid: Arc::clone(uid),
                    container: workload.container.clone(),
                });
            }
        }
    }
    subject
}

/// FNV-1a with 64 bits: the same in every version.
fn distinct(uid: &str, verdict: VerdictId, since: Mono, what: &str) -> u64 {
    let since = since.0.to_le_bytes();
    [uid.as_bytes(), verdict.name().as_bytes(), &since, what.as_bytes()]
        .into_iter()
        .flat_map(|part| part.iter().chain([&0xff]))
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
