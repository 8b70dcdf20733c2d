//! What the API server has, and what changed: versions count up over all objects, as etcd's revisions do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Changes remembered; a watch that begins before them is told that its version is gone.
const HISTORY: usize = 200_000;

/// Namespace (empty for what has none) and name.
pub(super) type Key = (String, String);

/// A change of an object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Version that it made.
    pub(super) version: u64,
    /// Collection, as `/api/v1/pods`.
    pub(super) collection: String,
    /// What was there before.
    pub(super) before: Option<Arc<Value>>,
    /// What is there now; of a deleted object its last state, under the version of the deletion.
    pub(super) object: Arc<Value>,
    /// Whether it was deleted.
    pub(super) deleted: bool,
}

/// Objects by collection.
#[derive(Debug)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<String, BTreeMap<Key, Arc<Value>>>,
    history: VecDeque<Change>,
    /// No watch can begin before this version.
    oldest: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            // No cluster is as young as its first object.
            version: 1000,
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            oldest: 1000,
        }
    }
}

/// Kinds that the lab knows, and their collections.
const KINDS: [(&str, &str); 13] = [
    ("EndpointSlice", "endpointslices"),
    ("Pod", "pods"),
    ("Service", "services"),
    ("Node", "nodes"),
    ("Namespace", "namespaces"),
    ("Event", "events"),
    ("ReplicaSet", "replicasets"),
    ("Deployment", "deployments"),
    ("StatefulSet", "statefulsets"),
    ("DaemonSet", "daemonsets"),
    ("Job", "jobs"),
    ("CronJob", "cronjobs"),
    ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
];

/// The collection that an object of this kind is in.
///
/// # Errors
/// When the lab does not know the kind.
pub(super) fn collection(api_version: &str, kind: &str) -> Result<String> {
    let Some((_, plural)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        bail!("the lab's API server has no {kind}");
    };
    Ok(match api_version.contains('/') {
        true => format!("/apis/{api_version}/{plural}"),
        false => format!("/api/{api_version}/{plural}"),
    })
}

/// Version and kind of what is in a collection.
pub(super) fn kind(collection: &str) -> (String, &'static str) {
    let (path, plural) = collection.rsplit_once('/').unwrap_or_default();
    let kind = KINDS.iter().find(|(_, known)| *known == plural);
    let version = path.trim_start_matches("/apis/").trim_start_matches("/api/");
    (version.to_owned(), kind.map_or("", |(kind, _)| kind))
}

/// Namespace and name of an object.
fn key(object: &Value) -> Result<Key> {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().context("an object without a name")?;
    Ok((
        meta["namespace"].as_str().unwrap_or_default().to_owned(),
        name.to_owned(),
    ))
}

impl Store {
    /// The version of everything.
    #[must_use]
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The version before which nothing is remembered.
    #[must_use]
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Puts an object in place of the one of its name, if there is one.
    ///
    /// # Errors
    /// When it is no object that the lab knows.
    pub(super) fn apply(&mut self, mut object: Value) -> Result<Arc<Value>> {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let collection = collection(&text("apiVersion"), &text("kind"))?;
        let key = key(&object)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let objects = self.objects.entry(collection.clone()).or_default();
        let before = objects.insert(key, Arc::clone(&object));
        self.remember(Change {
            version: self.version,
            collection,
            before,
            object: Arc::clone(&object),
            deleted: false,
        });
        Ok(object)
    }

    /// Takes an object away. Whether there was one.
    pub(super) fn delete(&mut self, collection: &str, key: &Key) -> bool {
        let Some(before) = self
            .objects
            .get_mut(collection)
            .and_then(|objects| objects.remove(key))
        else {
            return false;
        };
        self.version += 1;
        let mut object = Value::clone(&before);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.remember(Change {
            version: self.version,
            collection: collection.to_owned(),
            before: Some(before),
            object: Arc::new(object),
            deleted: true,
        });
        true
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.oldest = oldest.version;
        }
    }

    /// Forgets what changed until now: whoever is behind has to list again.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.version += 1;
        self.oldest = self.version;
    }

    /// One object.
    #[must_use]
    pub(super) fn get(&self, collection: &str, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(collection)?.get(key).cloned()
    }

    /// Objects of a collection in order, after a key if there is one.
    pub(super) fn list<'a>(
        &'a self,
        collection: &str,
        after: Option<Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.objects
            .get(collection)
            .into_iter()
            .flat_map(move |objects| objects.range((from.clone(), Unbounded)))
    }

    /// Changes of a collection after a version, not more than `most` at a time.
    #[must_use]
    pub(super) fn changes(&self, collection: &str, after: u64, most: usize) -> Vec<Change> {
        let from = self.history.partition_point(|change| change.version <= after);
        self.history
            .range(from..)
            .filter(|change| change.collection == collection)
            .take(most)
            .cloned()
            .collect()
    }
}
