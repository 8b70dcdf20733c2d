//! Watches: what changes after a version, one JSON object a line, until the time asked for is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::answer::status;
use super::orders::{Order, Request};
use super::request::{Selector, Target};
use super::store::{Change, kind};

/// Changes taken at a time.
const MANY: usize = 500;
/// How long a watch lasts when nobody says: real ones take half an hour to an hour.
const LASTS: Duration = Duration::from_secs(1800);

/// A line, or what breaks the connection.
type Line = Result<Bytes, Broken>;

/// Ends an answer in the middle of it.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("told to break the connection")
    }
}

impl std::error::Error for Broken {}

/// Begins a watch.
pub(super) fn watch(
    shared: &Arc<Shared>,
    target: &Target,
    request: &Request,
    selector: Selector,
    order: Option<Order>,
) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(64);
    let text = |key: &str| request.query.get(key).map_or("", String::as_str);
    let lasts = text("timeoutSeconds").parse().map_or(LASTS, Duration::from_secs);
    let lasts = match order {
        Some(Order::EndAfter(time)) => lasts.min(time),
        _ => lasts,
    };
    let watch = Watch {
        shared: Arc::clone(shared),
        collection: target.collection.clone(),
        selector,
        version: text("resourceVersion").parse().unwrap_or(0),
        bookmarks: matches!(text("allowWatchBookmarks"), "true" | "1"),
        until: Instant::now() + lasts,
        sender,
    };
    match order {
        Some(Order::GoneEvent) => {
            tokio::spawn(async move { watch.gone().await });
        }
        Some(Order::Half) => {
            tokio::spawn(async move {
                let half = Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"na");
                let _ = watch.sender.send(Ok(half)).await;
                let _ = watch.sender.send(Err(Broken)).await;
            });
        }
        _ => {
            tokio::spawn(async move { watch.run().await });
        }
    }
    let lines = Lines(receiver);
    let mut response = Response::new(Body::new(lines));
    response.headers_mut().insert(
        "content-type",
        axum::http::HeaderValue::from_static("application/json"),
    );
    response
}

/// The body of a watch.
struct Lines(mpsc::Receiver<Line>);

impl axum::body::HttpBody for Lines {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Broken>>> {
        self.0
            .poll_recv(cx)
            .map(|line| Some(line?.map(http_body::Frame::data)))
    }
}

/// A watch that runs.
struct Watch {
    shared: Arc<Shared>,
    collection: String,
    selector: Selector,
    version: u64,
    bookmarks: bool,
    until: Instant,
    sender: mpsc::Sender<Line>,
}

impl Watch {
    /// Until the time is over, it is told to end, or nobody listens.
    async fn run(mut self) {
        let mut news = self.shared.news.subscribe();
        let mut told = *news.borrow_and_update();
        if self.version == 0 {
            let all: Vec<Value> = {
                let store = self.shared.store();
                self.version = store.version();
                let objects = store.list(&self.collection, None);
                objects.map(|(_, object)| Value::clone(object)).collect()
            };
            for object in all.iter().filter(|object| self.selector.takes(object)) {
                if self.say("ADDED", &self.selector.cut(object)).await.is_none() {
                    return;
                }
            }
        }
        let began = told;
        let mut marked = told.bookmarks;
        loop {
            // Everything until this version was said: no bookmark may promise more.
            let said = loop {
                let (changes, oldest, version) = {
                    let store = self.shared.store();
                    let changes = store.changes(&self.collection, self.version, MANY);
                    (changes, store.oldest(), store.version())
                };
                if self.version < oldest {
                    self.gone().await;
                    return;
                }
                let Some(last) = changes.last() else { break version };
                let last = last.version;
                for change in &changes {
                    if self.change(change).await.is_none() {
                        return;
                    }
                }
                self.version = last;
            };
            if told.bookmarks > marked {
                marked = told.bookmarks;
                if self.bookmark(said).await.is_none() {
                    return;
                }
            }
            if told.ended > began.ended {
                return;
            }
            tokio::select! {
                changed = news.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    told = *news.borrow_and_update();
                }
                () = sleep_until(self.until) => {
                    let _ = self.bookmark(said).await;
                    return;
                }
            }
        }
    }

    /// What a change is to whoever sees only what is selected.
    async fn change(&self, change: &Change) -> Option<()> {
        let was = change
            .before
            .as_ref()
            .is_some_and(|object| self.selector.takes(object));
        let is = !change.deleted && self.selector.takes(&change.object);
        let kind = match (was, is) {
            (false, false) => return Some(()),
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.say(kind, &self.selector.cut(&change.object)).await
    }

    async fn bookmark(&mut self, version: u64) -> Option<()> {
        if !self.bookmarks {
            return Some(());
        }
        self.version = self.version.max(version);
        let (api_version, kind) = match self.selector.metadata_only {
            true => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
            false => kind(&self.collection),
        };
        let metadata = json!({ "resourceVersion": self.version.to_string(), "creationTimestamp": null });
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        self.say("BOOKMARK", &object).await
    }

    async fn gone(&self) {
        let oldest = self.shared.store().oldest();
        let message = format!("too old resource version: {} ({oldest})", self.version);
        let _ = self.say("ERROR", &status(410, "Expired", &message, None)).await;
    }

    async fn say(&self, kind: &str, object: &Value) -> Option<()> {
        let mut line = json!({ "type": kind, "object": object }).to_string();
        line.push('\n');
        self.sender.send(Ok(Bytes::from(line))).await.ok()
    }
}

/// Never ends.
pub(super) async fn never() -> Infallible {
    std::future::pending().await
}
