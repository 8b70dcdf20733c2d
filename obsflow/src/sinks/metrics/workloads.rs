//! Which row of labels a workload has. Rows are bounded: one that was silent for long makes room. What a row without a name
//! counted belongs to the row that has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::names::OTHER_TEXT;
use super::store::{ENDING, IDLE, Who, Written};
use crate::model::expectation::ContainerKey;
use crate::model::workload::WorkloadKind;
use crate::model::{Mono, Workload};

/// Nothing is known of it.
pub(super) const UNKNOWN: Who = Who(0);
/// There is no row left.
pub(super) const OTHER: Who = Who(1);
/// How long a pod without a name is waited for.
pub(super) const NAMELESS: Duration = Duration::from_secs(60);
/// How long something may be counted for a pod that is gone. Its series are shown a bit longer, see [`ENDING`].
pub(super) const POD_GONE: Duration = Duration::from_secs(300 - ENDING.as_secs());
/// A container that nothing was heard of for this long is looked at anew when something is.
const FORGOTTEN: Duration = Duration::from_secs(6 * 3600);
/// Between two tries to find a row for a container that there was none for.
const AGAIN: Duration = Duration::from_secs(60);
/// No node has more containers.
const MAX_CONTAINERS: usize = 16_384;
/// No label value is longer, in bytes: names of Kubernetes have at most 253.
const MAX_VALUE: usize = 256;

type Map<K, V> = HashMap<K, V, RandomState>;

/// A row, and whose it is.
#[derive(Debug)]
struct Row {
    written: Written,
    /// When something was counted last.
    last: Mono,
    since: Mono,
    /// Containers that live.
    live: u32,
    /// Since when none does.
    gone: Option<Mono>,
}

/// A container that was seen.
#[derive(Debug)]
struct Container {
    workload: Arc<Workload>,
    who: Who,
    seen: Mono,
    gone: Option<Arc<str>>,
    /// When it got its row.
    placed: Mono,
}

/// From one row to another, or to none: it is over.
pub(super) type Move = (Who, Option<Who>);

/// See the module.
#[derive(Debug)]
pub(super) struct Workloads {
    rows: Vec<Option<Row>>,
    free: Vec<Who>,
    by_name: Map<Written, Who>,
    /// Rows of each namespace and workload.
    groups: Map<(Arc<str>, Arc<str>), Vec<Who>>,
    /// Pods without names, by UID; [`UNKNOWN`] when they were waited for long enough.
    nameless: Map<Arc<str>, Who>,
    containers: Map<ContainerKey, Container>,
    max: usize,
    max_pods: usize,
    with_pods: bool,
    pods: usize,
    /// Counts that went to a row which is not their own, for want of rows of workloads and of pods.
    pub(super) folded: (u64, u64),
}

impl Workloads {
    pub(super) fn new(max: usize, max_pods: usize, with_pods: bool) -> Self {
        let mut table = Self {
            rows: Vec::new(),
            free: Vec::new(),
            by_name: Map::default(),
            groups: Map::default(),
            nameless: Map::default(),
            containers: Map::default(),
            max,
            max_pods,
            with_pods,
            pods: 0,
            folded: (0, 0),
        };
        // In this order: `UNKNOWN`, `OTHER`. Workloads of many namespaces are in the one that is of none of them.
        for (namespace, workload) in [("", "unknown"), (OTHER_TEXT, OTHER_TEXT)] {
            let written = Written {
                namespace: namespace.into(),
                workload: workload.into(),
                pod: "".into(),
                hidden: false,
            };
            let who = table.add(written.clone(), Mono(0));
            table.by_name.insert(written, who);
        }
        table
    }

    /// How a row is written.
    pub(super) fn written(&self, who: Who) -> Option<&Written> {
        let row = self.rows.get(who.0 as usize)?.as_ref()?;
        Some(&row.written)
    }

    /// Something is counted for it.
    pub(super) fn touch(&mut self, who: Who, at: Mono) {
        if let Some(Some(row)) = self.rows.get_mut(who.0 as usize) {
            row.last = row.last.max(at);
        }
    }

    /// The row of a workload. What has to move before anything is counted for it is added to `moves`.
    pub(super) fn who(&mut self, workload: &Arc<Workload>, at: Mono, moves: &mut Vec<Move>) -> Who {
        let Some(key) = workload.container_key() else {
            return self.place(workload, at, moves);
        };
        if let Some(known) = self.containers.get_mut(&key) {
            let same = Arc::ptr_eq(&known.workload, workload) || known.workload == *workload;
            let settled = known.who != OTHER || at.since(known.placed) < AGAIN;
            known.seen = known.seen.max(at);
            let who = known.who;
            if same && settled && self.written(who).is_some() {
                return who;
            }
        }
        let who = self.place(workload, at, moves);
        self.seat(key, workload, who, at);
        who
    }

    /// Whether something was counted for it, or may have been before it had a name.
    pub(super) fn knows(&self, workload: &Workload) -> bool {
        let known = |key| self.containers.contains_key(&key);
        workload.container_key().is_some_and(known)
            || workload
                .pod_uid
                .as_ref()
                .is_some_and(|uid| self.nameless.contains_key(uid))
    }

    /// Remembers where a container belongs.
    fn seat(&mut self, key: ContainerKey, workload: &Arc<Workload>, who: Who, at: Mono) {
        let before = self.containers.remove(&key);
        let ended = before.as_ref().and_then(|before| before.gone.clone());
        // What is heard late of one that has ended does not bring it back; a cgroup below it ended alone.
        let gone = ended.filter(|ended| Some(ended) == workload.cgroup_path.as_ref());
        if let Some(before) = before.filter(|before| before.gone.is_none()) {
            self.leave(before.who, at);
        }
        if gone.is_none()
            && let Some(Some(row)) = self.rows.get_mut(who.0 as usize)
        {
            row.live += 1;
            row.gone = None;
        }
        if self.containers.len() < MAX_CONTAINERS {
            let container = Container {
                workload: Arc::clone(workload),
                who,
                seen: at,
                gone,
                placed: at,
            };
            self.containers.insert(key, container);
        }
    }

    fn leave(&mut self, who: Who, at: Mono) {
        if let Some(Some(row)) = self.rows.get_mut(who.0 as usize) {
            row.live = row.live.saturating_sub(1);
            if row.live == 0 {
                row.gone = Some(at);
            }
        }
    }

    /// A cgroup was removed.
    pub(super) fn gone(&mut self, workload: &Workload, at: Mono) {
        let Some((key, path)) = workload.container_key().zip(workload.cgroup_path.clone()) else {
            return;
        };
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        // A cgroup below the container's own says nothing of the container.
        let own = container.workload.cgroup_path.as_deref();
        if container.gone.is_some() || own.is_some_and(|own| !own.starts_with(&*path)) {
            return;
        }
        container.gone = Some(path);
        let who = container.who;
        self.leave(who, at);
    }

    fn place(&mut self, workload: &Workload, at: Mono, moves: &mut Vec<Move>) -> Who {
        let uid = workload.pod_uid.as_ref();
        if workload.kind == WorkloadKind::Pod && workload.pod.is_none() {
            let Some(uid) = uid else {
                return UNKNOWN;
            };
            return self.nameless(uid, at);
        }
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or_else(|| Arc::from(""), cut);
        let written = Written {
            namespace: text(&workload.namespace),
            workload: cut(&workload.name()),
            pod: if self.with_pods {
                text(&workload.pod)
            } else {
                Arc::from("")
            },
            hidden: false,
        };
        let who = self.named(written, at, moves);
        if let Some(waited) = uid.and_then(|uid| self.nameless.remove(uid))
            && waited != UNKNOWN
        {
            moves.push((waited, Some(who)));
        }
        who
    }

    fn nameless(&mut self, uid: &Arc<str>, at: Mono) -> Who {
        if let Some(who) = self.nameless.get(uid) {
            return *who;
        }
        if self.nameless.len() >= self.max_pods {
            self.folded.0 += 1;
            return UNKNOWN;
        }
        let written = Written {
            namespace: "".into(),
            workload: "unknown".into(),
            pod: Arc::clone(uid),
            hidden: true,
        };
        let who = self.add(written, at);
        self.nameless.insert(Arc::clone(uid), who);
        who
    }

    fn named(&mut self, mut written: Written, at: Mono, moves: &mut Vec<Move>) -> Who {
        if let Some(who) = self.by_name.get(&written) {
            return *who;
        }
        let group = (Arc::clone(&written.namespace), Arc::clone(&written.workload));
        if !self.groups.contains_key(&group) && self.groups.len() >= self.max && !self.evict(at, moves) {
            return OTHER;
        }
        if !written.pod.is_empty() && self.pods >= self.max_pods {
            self.folded.1 += 1;
            written.pod = Arc::from("");
            if let Some(who) = self.by_name.get(&written) {
                return *who;
            }
        }
        if !written.pod.is_empty() {
            self.pods += 1;
        }
        let who = self.add(written.clone(), at);
        self.by_name.insert(written, who);
        self.groups.entry(group).or_default().push(who);
        who
    }

    /// Makes room: the workload that was silent for longest goes, if that is long enough.
    fn evict(&mut self, at: Mono, moves: &mut Vec<Move>) -> bool {
        let last = |rows: &Vec<Who>| {
            rows.iter()
                .filter_map(|who| self.rows.get(who.0 as usize)?.as_ref())
                .map(|row| row.last.max(row.since))
                .max()
                .unwrap_or_default()
        };
        let oldest = self
            .groups
            .iter()
            .map(|(group, rows)| (last(rows), group))
            .min()
            .filter(|(last, _)| at.since(*last) >= IDLE)
            .map(|(_, group)| group.clone());
        let Some(rows) = oldest.and_then(|group| self.groups.remove(&group)) else {
            return false;
        };
        moves.extend(rows.into_iter().map(|who| (who, None)));
        true
    }

    fn add(&mut self, written: Written, at: Mono) -> Who {
        let row = Row {
            written,
            last: at,
            since: at,
            live: 0,
            gone: None,
        };
        if let Some(who) = self.free.pop()
            && let Some(place) = self.rows.get_mut(who.0 as usize)
        {
            *place = Some(row);
            return who;
        }
        self.rows.push(Some(row));
        Who(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
    }

    /// Takes away a row whose numbers have moved.
    pub(super) fn moved(&mut self, (from, to): Move) {
        let Some(row) = self.rows.get_mut(from.0 as usize).and_then(Option::take) else {
            return;
        };
        if self.by_name.get(&row.written) == Some(&from) {
            self.by_name.remove(&row.written);
            if !row.written.pod.is_empty() {
                self.pods = self.pods.saturating_sub(1);
            }
        }
        let group = (row.written.namespace, row.written.workload);
        if let Some(rows) = self.groups.get_mut(&group) {
            rows.retain(|who| *who != from);
            if rows.is_empty() {
                self.groups.remove(&group);
            }
        }
        if let Some(to) = to {
            self.touch(to, row.last);
        }
        self.free.push(from);
        // The number is somebody else's soon: containers look for their row again.
        self.containers.retain(|_, container| container.who != from);
    }

    /// What time brings: pods that are waited for no more, and those that are gone for long enough.
    pub(super) fn second(&mut self, now: Mono, moves: &mut Vec<Move>) {
        let rows = &self.rows;
        for who in self.nameless.values_mut() {
            let row = rows.get(who.0 as usize).and_then(Option::as_ref);
            if *who != UNKNOWN && row.is_none_or(|row| now.since(row.since) >= NAMELESS) {
                moves.push((*who, Some(UNKNOWN)));
                *who = UNKNOWN;
            }
        }
        if self.nameless.len() >= self.max_pods {
            // They are only remembered so that nobody waits for them again.
            self.nameless.retain(|_, who| *who != UNKNOWN);
        }
        let stale = |container: &Container| {
            let silent = now.since(container.seen);
            silent >= FORGOTTEN || (container.gone.is_some() && silent >= POD_GONE)
        };
        let mut left = Vec::new();
        self.containers.retain(|_, container| {
            let stale = stale(container);
            if stale && container.gone.is_none() {
                left.push(container.who);
            }
            !stale
        });
        for who in left {
            self.leave(who, now);
        }
        if self.pods == 0 {
            return;
        }
        let ended = |row: &Row| {
            let gone = row.gone.is_some_and(|gone| now.since(gone) >= POD_GONE);
            gone && row.live == 0 && !row.written.pod.is_empty() && !row.written.hidden
        };
        let rows = (0..).zip(&self.rows);
        let ended = rows.filter(|(_, row)| row.as_ref().is_some_and(ended));
        moves.extend(ended.map(|(who, _)| (Who(who), None)));
    }

    /// Workloads that are told apart.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}

/// A label value that is not too long.
fn cut(text: &Arc<str>) -> Arc<str> {
    if text.len() <= MAX_VALUE {
        return Arc::clone(text);
    }
    Arc::from(
        text.get(..text.floor_char_boundary(MAX_VALUE))
            .unwrap_or_default(),
    )
}
