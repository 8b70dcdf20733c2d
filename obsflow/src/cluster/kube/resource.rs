//! What a kind of object is to a watch.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::super::board::State;
use super::access::Api;

/// A kind of object, for requests and for people.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct What {
    /// Its name in the API, and the watch's.
    pub(crate) name: &'static str,
    /// Its API group as RBAC writes it.
    pub(crate) group: &'static str,
    /// What obsflow does with it, as RBAC writes it.
    pub(crate) verbs: &'static str,
    /// What is not known without it.
    pub(crate) without: &'static str,
    /// Path of the whole collection.
    pub(crate) path: &'static str,
    /// Whether only metadata is asked for.
    pub(crate) metadata: bool,
    /// Objects a page: what a page takes in memory while it is decoded is bounded by it.
    pub(crate) page: u32,
    /// Whether the server's cache is good enough for a list, which then comes whole: what it lacks comes with the watch.
    pub(crate) cached: bool,
    /// More objects than this are not kept.
    pub(crate) most: usize,
}

/// Objects of one kind that are followed.
pub(crate) trait Resource {
    /// An object as it is decoded.
    type Object: DeserializeOwned;

    /// The kind.
    const WHAT: What;

    /// How long a list holds, by the number of its objects, for what is not watched; it is asked for again after that, or up to
    /// half as much more.
    const PERIOD: Option<fn(usize) -> Duration> = None;

    /// The kind, to be held on to.
    fn what() -> &'static What;

    /// Its `metadata.resourceVersion`.
    fn version(object: &Self::Object) -> &str;

    /// Selects objects by their fields.
    fn fields(api: &Api) -> Option<String> {
        let _ = api;
        None
    }

    /// Whether it is one of those known.
    fn knows(state: &State, object: &Self::Object) -> bool;

    /// A list is complete.
    fn listed(state: &mut State, api: &Api) {
        let _ = (state, api);
    }

    /// An object is there or has changed: whether that is of interest. `round` counts lists.
    fn apply(state: &mut State, object: Self::Object, round: u32) -> bool;

    /// An object is gone: whether it was known.
    fn remove(state: &mut State, object: &Self::Object) -> bool;

    /// A list is complete: what it did not have is gone.
    fn sweep(state: &mut State, round: u32);

    /// Objects known.
    fn count(state: &State) -> usize;

    /// Marks what is made of them as changed.
    fn touch(state: &mut State);
}
