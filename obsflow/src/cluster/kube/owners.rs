//! What runs this node's pods: a Deployment over a ReplicaSet, a CronJob over a Job, and what their annotations ask for.
//!
//! Owners are asked for one by one, metadata only: a node's pods have few, a cluster has many ReplicaSets. Who owns a
//! ReplicaSet does not change, so that is asked once; annotations are asked for again about once a minute, and only while
//! pods that come from them show no injection, because nothing else is judged by them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::board::{Board, State};
use super::super::names::Names;
use super::access::Api;
use super::pods::asked;
use super::request::ApiError;
use super::resource::What;
use super::wait::Wait;
use super::wire;
use crate::model::cluster::{Annotated, Owner, Table};

/// Annotations are asked for again after this, and up to half as much more.
const REFRESH: Duration = Duration::from_secs(50);
/// Requests at the same time.
const AT_ONCE: usize = 8;
/// How often it is looked whether somebody is due.
const LOOK: Duration = Duration::from_secs(1);

/// Without ReplicaSets and Jobs.
const UNNAMED: &str = "what made a ReplicaSet or Job is told by their names only";
/// Without those at the end of the chain.
const UNREAD: &str = "injection that a workload's annotations ask for is not known";

/// The kinds that are asked for.
static KINDS: [Kind; 6] = [
    Kind::new("ReplicaSet", "apps", "replicasets", true),
    Kind::new("Job", "batch", "jobs", true),
    Kind::new("Deployment", "apps", "deployments", false),
    Kind::new("StatefulSet", "apps", "statefulsets", false),
    Kind::new("DaemonSet", "apps", "daemonsets", false),
    Kind::new("CronJob", "batch", "cronjobs", false),
];

/// A kind of object that runs pods. Each may be forbidden, or away, without the others.
#[derive(Debug)]
struct Kind {
    kind: &'static str,
    /// Whether something else usually runs it.
    owned: bool,
    what: What,
}

impl Kind {
    const fn new(kind: &'static str, group: &'static str, plural: &'static str, owned: bool) -> Self {
        Self {
            kind,
            owned,
            what: What {
                name: plural,
                group,
                verbs: "get",
                without: if owned { UNNAMED } else { UNREAD },
                path: "",
                metadata: true,
                page: 0,
                cached: false,
                most: usize::MAX,
            },
        }
    }

    fn of(controller: &Controller) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|kind| kind.kind == &*controller.owner.kind && kind.what.group == &*controller.group)
    }
}

/// What an object's `ownerReferences` name as its controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Controller {
    group: Arc<str>,
    owner: Owner,
}

impl Controller {
    /// From a reference.
    pub(super) fn new(reference: &wire::OwnerReference, names: &mut Names) -> Self {
        let group = reference
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        Self {
            group: names.get(group),
            owner: Owner {
                kind: names.get(&reference.kind),
                name: names.get(&reference.name),
            },
        }
    }
}

/// Namespace and controller.
type Key = (Arc<str>, Controller);

/// Those of this node's pods; no others are kept.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    known: Table<Key, Known>,
}

#[derive(Debug)]
struct Known {
    /// Not there before the first answer.
    answer: Option<Answer>,
    due: Instant,
    tries: Wait,
    busy: bool,
}

/// What the API said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    /// What runs it.
    parent: Option<Controller>,
    annotated: Annotated,
}

impl Owners {
    /// What is at the end of the chain, if all of it is known.
    pub(super) fn top(&self, namespace: &Arc<str>, controller: &Controller) -> Option<Owner> {
        let Some(kind) = Kind::of(controller).filter(|kind| kind.owned) else {
            return Some(controller.owner.clone());
        };
        debug_assert!(kind.owned);
        let key = (Arc::clone(namespace), controller.clone());
        let answer = self.known.get(&key)?.answer.as_ref()?;
        let top = answer.parent.as_ref().unwrap_or(controller);
        Some(top.owner.clone())
    }

    /// Those whose annotations are known.
    pub(crate) fn annotated(&self) -> Table<(Arc<str>, Owner), Annotated> {
        self.known
            .iter()
            .filter_map(|((namespace, controller), known)| {
                let answer = known.answer.as_ref().filter(|answer| answer.parent.is_none())?;
                Some((
                    (Arc::clone(namespace), controller.owner.clone()),
                    answer.annotated.clone(),
                ))
            })
            .collect()
    }

    /// How many of a kind there are.
    fn count(&self, kind: &Kind) -> usize {
        let is_of = |(_, controller): &&Key| Kind::of(controller).is_some_and(|of| of.kind == kind.kind);
        self.known.keys().filter(is_of).count()
    }

    fn due(&self, now: Instant) -> Option<Key> {
        let due = self
            .known
            .iter()
            .find(|(_, known)| !known.busy && known.due <= now);
        due.map(|(key, _)| key.clone())
    }
}

/// Keeps what is known in step with the pods, for ever.
pub(super) async fn follow(api: &Rc<Api>, board: &Rc<Board>) {
    let mut asking: JoinSet<(Key, Result<wire::Bare, ApiError>)> = JoinSet::new();
    let mut changed = true;
    loop {
        if std::mem::take(&mut changed) {
            board.with(reconcile);
        }
        while asking.len() < AT_ONCE
            && let Some(key) = board.with(take_due)
        {
            let api = Rc::clone(api);
            asking.spawn_local(async move {
                let answer = ask(&api, &key).await;
                (key, answer)
            });
        }
        tokio::select! {
            Some(done) = asking.join_next() => {
                if let Ok((key, answer)) = done {
                    board.with(|state| learn(state, &key, answer));
                    changed = true;
                }
            }
            () = board.pods_changed.notified(), if asking.is_empty() => {
                changed = true;
                // More of them come at the same time: a Deployment's pods, a node's at its start.
                let _ = timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
            }
            () = sleep(LOOK), if asking.is_empty() => changed = true,
        }
    }
}

async fn ask(api: &Api, (namespace, controller): &Key) -> Result<wire::Bare, ApiError> {
    let Some(kind) = Kind::of(controller) else {
        return Ok(wire::Bare::default());
    };
    let What { group, name, .. } = kind.what;
    let collection = format!("/apis/{group}/v1/namespaces/{namespace}/{name}");
    api.metadata(&collection, &controller.owner.name).await
}

fn take_due(state: &mut State) -> Option<Key> {
    let key = state.owners.due(Instant::now())?;
    if let Some(known) = state.owners.known.get_mut(&key) {
        known.busy = true;
    }
    Some(key)
}

/// Forgets those without pods, and adds those that pods have.
fn reconcile(state: &mut State) {
    let mut needed: Table<Key, bool> = Table::default();
    for (pod, controller) in state.pods.controllers() {
        let open = pod.injection.traces.is_empty() && !pod.ended;
        let mut next = Some(controller.clone());
        // A chain has two links; what an API server makes up does not go on for ever.
        for _ in 0..3 {
            let Some(controller) = next.take().filter(|controller| Kind::of(controller).is_some()) else {
                break;
            };
            let key = (Arc::clone(&pod.namespace), controller);
            next = state
                .owners
                .known
                .get(&key)
                .and_then(|known| known.answer.as_ref()?.parent.clone());
            *needed.entry(key).or_default() |= open;
        }
    }
    let now = Instant::now();
    let before = state.owners.known.len();
    state
        .owners
        .known
        .retain(|key, known| known.busy || needed.contains_key(key));
    let mut changed = state.owners.known.len() != before;
    for (key, open) in needed {
        let known = state.owners.known.entry(key).or_insert_with(|| {
            changed = true;
            Known {
                answer: None,
                due: now,
                tries: Wait::default(),
                busy: false,
            }
        });
        // Asked long ago, and now there is a pod that is judged by it.
        let is_final = known
            .answer
            .as_ref()
            .is_some_and(|answer| answer.parent.is_some() || !open);
        if is_final {
            known.due = now + REFRESH;
        }
    }
    if changed {
        for kind in &KINDS {
            let count = state.owners.count(kind);
            state.dirty.watches |= state.watches.needed(&kind.what, count);
        }
        state.dirty.surroundings = true;
    }
}

fn learn(state: &mut State, key: &Key, answer: Result<wire::Bare, ApiError>) {
    let Some(kind) = Kind::of(&key.1) else { return };
    let found = match answer {
        Ok(object) => Some(Answer {
            parent: object
                .metadata
                .controller()
                .map(|owner| Controller::new(owner, &mut state.names)),
            annotated: Annotated {
                asked: asked(&object.metadata, &mut state.names),
                changed: object.metadata.annotated_at(),
            },
        }),
        // It was deleted, its pods go with it.
        Err(error) if error.is_absent() => None,
        Err(error) => {
            state.watches.away(&kind.what, &error);
            state.dirty.watches = true;
            if let Some(known) = state.owners.known.get_mut(key) {
                known.busy = false;
                known.due = Instant::now() + known.tries.time(&error);
            }
            return;
        }
    };
    let count = state.owners.count(kind);
    state.dirty.watches |= state.watches.watching(&kind.what, count);
    let Some(known) = state.owners.known.get_mut(key) else {
        return;
    };
    known.busy = false;
    known.due = Instant::now() + known.tries.spread(REFRESH);
    if found.is_some() && known.answer != found {
        known.answer = found;
        state.dirty.surroundings = true;
        if state.pods.own(&state.owners) {
            state.dirty.pods = true;
        }
    }
}
