//! Names that entries share: most of what happens happens with the same few of them.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::Workload;
use crate::model::cluster::Destination;

/// What an [`Arc`] takes beyond its value: two counts, and what the allocator adds.
const SHARED: usize = 32;

/// What is shared by the entries of one chunk. Each new thing is counted to the entry that brings it: with the chunk goes
/// what it was counted for.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: HashSet<Arc<str>, RandomState>,
    /// Addresses of what entries hold, so that none of them belongs to something else.
    held: HashSet<usize, RandomState>,
    bytes: usize,
}

impl Names {
    /// A chunk begins.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.held.clear();
    }

    /// What was counted since this was asked last.
    pub(super) fn take_bytes(&mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The same text, as an earlier entry has it.
    pub(super) fn text(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        self.bytes += SHARED + text.len();
        self.texts.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// Whether no earlier entry of the chunk holds it.
    pub(super) fn is_new<T>(&mut self, shared: &Arc<T>) -> bool {
        self.held.insert(Arc::as_ptr(shared).addr())
    }

    pub(super) fn workload(&mut self, workload: &Arc<Workload>) -> Arc<Workload> {
        if self.is_new(workload) {
            let len = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| SHARED + text.len());
            let texts = [
                &workload.namespace,
                &workload.pod,
                &workload.pod_uid,
                &workload.container_id,
                &workload.container,
                &workload.unit,
                &workload.cgroup_path,
            ];
            self.bytes += SHARED + size_of::<Workload>() + texts.into_iter().map(len).sum::<usize>();
        }
        Arc::clone(workload)
    }

    /// Its names are those of the cluster's tables, which are there anyway as long as the object is.
    pub(super) fn destination(&mut self, destination: &Arc<Destination>) -> Arc<Destination> {
        if self.is_new(destination) {
            self.bytes += SHARED + size_of::<Destination>();
        }
        Arc::clone(destination)
    }
}
