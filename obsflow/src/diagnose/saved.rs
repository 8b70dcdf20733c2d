//! What survives a restart of obsflow: what was learned from the wire, since when verdicts hold, and who sent before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::exchange::Signal;
use crate::model::expectation::{ContainerKey, Host};
use crate::model::time::Mono;
use crate::model::verdict::VerdictId;

use super::Diagnoser;

/// Exporters kept in a state file.
const MAX_SAVED: usize = 8192;

/// The state to keep. Times are those of `CLOCK_MONOTONIC`: after the machine was started again they mean nothing, and
/// [`Diagnoser::restore`] leaves out what lies in the future.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// One for each exporter that sent, or that something is held against.
    pub exporters: Vec<SavedExporter>,
}

/// See [`Saved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedExporter {
    /// [`crate::model::verdict::Export::id`].
    pub id: Arc<str>,
    /// Its container.
    pub container: Arc<str>,
    /// Host and port it was seen to send to, when nothing configures it.
    pub learned: Option<SavedDestination>,
    /// When something of it was accepted last, in nanoseconds.
    pub last_success_ns: Option<u64>,
    /// What was held against it, by name.
    pub verdict: Option<Arc<str>>,
    /// Since when, in nanoseconds.
    pub since_ns: u64,
    /// How often it came back.
    pub flaps: u32,
}

/// See [`SavedExporter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDestination {
    /// Name or address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// `traces`, `metrics`, `logs`, `profiles`.
    pub signal: Option<Arc<str>>,
}

impl SavedDestination {
    pub(super) fn host(&self) -> Host {
        match self.host.trim_matches(['[', ']']).parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(Arc::clone(&self.host)),
        }
    }

    pub(super) fn signal(&self) -> Option<Signal> {
        let name = self.signal.as_deref()?;
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

impl Diagnoser {
    /// What to keep over a restart.
    #[must_use]
    pub fn save(&self) -> Saved {
        let mut exporters = Vec::new();
        for container in self.containers.iter() {
            for exporter in container.exporters.iter().filter(|exporter| !exporter.is_split) {
                let failing = exporter.held.verdict.filter(|verdict| verdict.is_failure());
                let last = exporter.last_success();
                if exporters.len() >= MAX_SAVED || failing.is_none() && last.is_none() {
                    continue;
                }
                let to = container.destination(exporter.to).filter(|_| exporter.is_learned);
                exporters.push(SavedExporter {
                    id: Arc::clone(&exporter.id),
                    container: Arc::clone(&container.key.0),
                    learned: to.map(|to| SavedDestination {
                        host: Arc::from(to.host.to_string().as_str()),
                        port: to.port,
                        signal: exporter.signal.map(|signal| Arc::from(signal.name())),
                    }),
                    last_success_ns: last.map(|at| at.0),
                    verdict: failing.map(|verdict| Arc::from(verdict.name())),
                    since_ns: exporter.held.since.0,
                    flaps: exporter.held.flaps,
                });
            }
        }
        // What other exporters said may still come into use: they have not been seen again so far.
        let missing = self.restored.values().cloned();
        exporters.extend(missing.take(MAX_SAVED.saturating_sub(exporters.len())));
        Saved { exporters }
    }

    /// Takes over what was kept; it comes into use as soon as each exporter is known again. What lies later than `now`
    /// is of another start of the machine.
    pub fn restore(&mut self, saved: Saved) {
        for exporter in saved.exporters.into_iter().take(MAX_SAVED) {
            self.restored.insert(Arc::clone(&exporter.id), exporter);
        }
    }

    /// What was kept of the exporters of a container that has become known.
    pub(super) fn recall(&mut self, slot: u32) {
        if self.restored.is_empty() {
            return;
        }
        let now = self.now;
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let before = container.exporters.len();
        let key: ContainerKey = container.key.clone();
        let learned: Vec<SavedDestination> = self
            .restored
            .values()
            .filter(|saved| saved.container == key.0)
            .filter_map(|saved| saved.learned.clone())
            .collect();
        for destination in learned {
            container.learn_again(&destination);
        }
        for exporter in &mut container.exporters {
            let Some(saved) = self.restored.remove(&exporter.id) else {
                continue;
            };
            let past = |ns: u64| (ns <= now.0).then_some(Mono(ns));
            exporter.sent_before = saved.last_success_ns.and_then(past);
            let verdict = saved.verdict.as_deref().and_then(VerdictId::by_name);
            if let (Some(verdict), Some(since)) = (verdict, past(saved.since_ns)) {
                exporter.held.resume(verdict, since, saved.flaps);
            }
        }
        self.containers.exporters += self
            .containers
            .get(slot)
            .map_or(0, |container| container.exporters.len().saturating_sub(before));
    }
}
