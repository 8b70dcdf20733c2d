//! How the watches are, and what is said of it: a line when something fails, one when it works again, none in between.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use super::board::Board;
use super::kube::ApiError;
use super::kube::resource::What;
use crate::model::cluster::{Watch, WatchState};

/// What fails for less than this is not said: the next try mends it.
const SETTLE: Duration = Duration::from_secs(1);
/// The same failure is said again after this time at the earliest, when it comes and goes.
const AGAIN: Duration = Duration::from_secs(60);
/// Watches that end sooner than they were asked to ...
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// ... so often in a row are worth a line.
const SHORT_IN_A_ROW: u32 = 5;

/// Every watch.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Known>,
}

/// A watch.
#[derive(Debug)]
struct Known {
    what: &'static What,
    state: WatchState,
    failure: Option<Failure>,
    restarts: u64,
    objects: usize,
    short: u32,
    full: bool,
}

/// Why a watch fails.
#[derive(Debug)]
struct Failure {
    /// What to say; the same for everything that fails for the same reason.
    says: Says,
    since: Instant,
}

/// A reason, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// RBAC.
    Forbidden,
    /// Anything else, as a sentence.
    Other(Arc<str>),
}

impl Watches {
    fn get(&mut self, what: &'static What) -> &mut Known {
        let at = self.watches.iter().position(|known| known.what.name == what.name);
        let at = at.unwrap_or_else(|| {
            self.watches.push(Known {
                what,
                state: WatchState::Listing,
                failure: None,
                restarts: 0,
                objects: 0,
                short: 0,
                full: false,
            });
            self.watches.len() - 1
        });
        &mut self.watches[at]
    }

    /// A list begins.
    pub(super) fn listing(&mut self, what: &'static What) {
        let known = self.get(what);
        // What is away stays away until it answers.
        if known.failure.is_none() {
            known.state = WatchState::Listing;
        }
    }

    /// It follows. Whether it did not before.
    pub(super) fn watching(&mut self, what: &'static What, objects: usize) -> bool {
        let known = self.get(what);
        let before = std::mem::replace(&mut known.state, WatchState::Watching);
        known.failure = None;
        known.objects = objects;
        before != WatchState::Watching
    }

    /// Objects are asked for one by one, and there are so many to ask for by now: with none, what failed is over, unless it is
    /// forbidden, which the next one would be as well. Whether that changed something.
    pub(super) fn needed(&mut self, what: &'static What, objects: usize) -> bool {
        let at = self.watches.iter().position(|known| known.what.name == what.name);
        if objects == 0 && at.is_none() {
            return false;
        }
        let known = self.get(what);
        known.objects = objects;
        let fails = known.failure.as_ref();
        if objects > 0 || fails.is_none_or(|failure| failure.says == Says::Forbidden) {
            return false;
        }
        known.failure = None;
        known.state = WatchState::Watching;
        true
    }

    /// How many objects there are by now.
    pub(super) fn count(&mut self, what: &'static What, objects: usize) {
        self.get(what).objects = objects;
    }

    /// More objects came than are kept. True the first time.
    pub(super) fn is_full(&mut self, what: &'static What) -> bool {
        !std::mem::replace(&mut self.get(what).full, true)
    }

    /// It has to begin again.
    pub(super) fn restarted(&mut self, what: &'static What) {
        self.get(what).restarts += 1;
    }

    /// The other side ended it after this time, without a reason.
    pub(super) fn ended(&mut self, what: &'static What, after: Duration) {
        let known = self.get(what);
        known.short = if after < SHORT { known.short + 1 } else { 0 };
    }

    /// It fails.
    pub(super) fn away(&mut self, what: &'static What, error: &ApiError) {
        let known = self.get(what);
        let says = if error.is_forbidden() {
            Says::Forbidden
        } else {
            Says::Other(error.to_string().into())
        };
        let since = match &known.state {
            WatchState::Away { since, .. } => *since,
            _ => Timestamp::now(),
        };
        known.state = WatchState::Away {
            since,
            error: error.full().into(),
        };
        match &mut known.failure {
            Some(failure) => failure.says = says,
            none => {
                *none = Some(Failure {
                    says,
                    since: Instant::now(),
                });
            }
        }
    }

    /// For a snapshot.
    pub(super) fn shown(&self) -> Vec<Watch> {
        self.watches
            .iter()
            .map(|known| Watch {
                resource: known.what.name.into(),
                state: known.state.clone(),
                restarts: known.restarts,
                objects: known.objects,
            })
            .collect()
    }

    /// What fails, for long enough.
    fn failing(&self) -> BTreeMap<Says, Vec<&'static What>> {
        let mut failing: BTreeMap<Says, Vec<&'static What>> = BTreeMap::new();
        for known in &self.watches {
            if let Some(failure) = &known.failure
                && failure.since.elapsed() >= SETTLE
            {
                failing.entry(failure.says.clone()).or_default().push(known.what);
            }
        }
        failing
    }

    /// Whether anything fails at all.
    fn fails(&self) -> bool {
        self.watches.iter().any(|known| known.failure.is_some())
    }

    /// Watches that the other side ends too soon, all the time.
    fn short(&self) -> Vec<&'static str> {
        self.watches
            .iter()
            .filter(|known| known.short >= SHORT_IN_A_ROW)
            .map(|known| known.what.name)
            .collect()
    }
}

/// What was said.
#[derive(Debug, Default)]
struct Said {
    failing: BTreeMap<Says, Vec<&'static What>>,
    lines: BTreeMap<String, Instant>,
    short: bool,
}

/// Says in the log what changes.
pub(super) async fn report(board: Rc<Board>) {
    let mut said = Said::default();
    loop {
        let fails = board.with(|state| state.watches.fails());
        if fails || !said.failing.is_empty() {
            // Those that fail for the same reason fail within moments of each other: one line for all of them.
            let _ = timeout(SETTLE, board.health_changed.notified()).await;
            sleep(SETTLE / 4).await;
        } else {
            board.health_changed.notified().await;
        }
        let (failing, fails, short) = board.with(|state| {
            (
                state.watches.failing(),
                state.watches.fails(),
                state.watches.short(),
            )
        });
        said.short(&short);
        said.failing(failing, fails);
    }
}

impl Said {
    fn short(&mut self, names: &[&str]) {
        if !names.is_empty() && !std::mem::replace(&mut self.short, true) {
            tracing::warn!(
                "Kubernetes API: watches of {} are ended within {} s each time, by the API server or by something before \
                 it (a proxy or load balancer with a time-out); they are begun again, which costs it more than need be",
                names.join(", "),
                SHORT.as_secs()
            );
        }
    }

    fn failing(&mut self, failing: BTreeMap<Says, Vec<&'static What>>, fails: bool) {
        let now = Instant::now();
        self.lines.retain(|_, said| now.duration_since(*said) < AGAIN);
        for (says, whats) in &failing {
            // What is only asked for now and then joins a failure that was said already; a rule that is missing is news.
            let is_said =
                |said: &Vec<&What>| *says != Says::Forbidden || whats.iter().all(|what| said.contains(what));
            if self.failing.get(says).is_some_and(is_said) {
                continue;
            }
            let line = line(says, whats);
            self.lines.entry(line).or_insert_with_key(|line| {
                tracing::warn!("{line}");
                now
            });
        }
        if failing.is_empty() && !self.failing.is_empty() {
            if fails {
                // Something fails in another way, not long enough to say: it is not over.
                return;
            }
            tracing::info!("the Kubernetes API answers again");
        }
        self.failing = failing;
    }
}

/// What to say of a failure.
fn line(says: &Says, whats: &[&'static What]) -> String {
    let names: Vec<&str> = whats.iter().map(|what| what.name).collect();
    let mut without: Vec<&str> = whats.iter().map(|what| what.without).collect();
    without.dedup();
    let without = without.join(", ");
    match says {
        Says::Forbidden => {
            let mut rules: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
            for what in whats {
                rules.entry((what.group, what.verbs)).or_default().push(what.name);
            }
            let rules: Vec<String> = rules
                .into_iter()
                .map(|((group, verbs), names)| {
                    let names = names.join(", ");
                    format!("{{apiGroups: [{group}], resources: [{names}], verbs: [{verbs}]}}")
                })
                .collect();
            format!(
                "Kubernetes API: obsflow may not read {} (403): {without}; give its user a ClusterRole with {}",
                names.join(", "),
                rules.join(", ")
            )
        }
        Says::Other(error) => format!(
            "Kubernetes API: {error}; what is known of {} stays in use, and obsflow tries again",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kube::pods::PodWatch;
    use crate::cluster::kube::resource::Resource as _;
    use crate::cluster::kube::surroundings::NamespaceWatch;

    #[test]
    fn rules_that_are_missing_are_told_as_rbac_writes_them() {
        let line = line(&Says::Forbidden, &[PodWatch::what(), NamespaceWatch::what()]);
        assert!(
            line.ends_with(
                r#"a ClusterRole with {apiGroups: [""], resources: [pods, namespaces], verbs: [list, watch]}"#
            ),
            "{line}"
        );
    }

    #[test]
    fn what_fails_for_the_same_reason_later_is_said_only_of_rules() {
        let lines = |says: &Says| {
            let mut said = Said::default();
            for whats in [
                vec![PodWatch::what()],
                vec![PodWatch::what(), NamespaceWatch::what()],
            ] {
                said.failing(BTreeMap::from([(says.clone(), whats)]), true);
            }
            said.lines.len()
        };
        assert_eq!(lines(&Says::Other("away".into())), 1);
        assert_eq!(lines(&Says::Forbidden), 2);
    }

    #[test]
    fn what_nobody_needs_any_more_does_not_fail_unless_it_is_forbidden() {
        let what = PodWatch::what();
        let error = |code| ApiError::Status {
            code,
            message: String::new(),
            retry_after: None,
            url: "http://x".to_owned(),
        };
        let mut watches = Watches::default();
        assert!(!watches.needed(what, 0) && watches.shown().is_empty());
        watches.needed(what, 1);
        watches.away(what, &error(500));
        assert!(!watches.needed(what, 2) && watches.fails());
        assert!(watches.needed(what, 0) && !watches.fails());
        watches.away(what, &error(403));
        assert!(!watches.needed(what, 0) && watches.fails());
        assert!(watches.watching(what, 1) && !watches.watching(what, 1));
    }
}
