//! Events to the API server, one after the other; those that fail wait beside ([`Waiting`]).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::book::PAUSE;
use super::order::{Order, micro_time};
use super::waiting::{Backoff, Late, Waiting};
use super::{Counts, Queue};
use crate::cluster::{Api, ApiError};

/// Between two requests: a Collector that ends is news of every pod at once, and the API server has other work.
const PACE: Duration = Duration::from_millis(100);
/// How long an API server that forbids them is not asked.
const FORBIDDEN: Duration = Duration::from_mins(1);
/// Events remembered because they could not be written.
const MAX_UNWRITTEN: usize = 1024;
/// Events of runs before this one that are remembered: as many as the book has.
const MAX_BEFORE: usize = 8192;
/// Namespaces of which was said what is wrong with them.
const MAX_SAID: usize = 64;

/// Writes what comes, until nothing more can come.
pub(super) async fn write(api: Rc<Api>, mut queue: Queue) {
    let mut writer = Writer {
        api,
        counts: Arc::clone(&queue.counts),
        said: None,
        said_of: VecDeque::new(),
        forbidden_until: None,
        unwritten: VecDeque::new(),
        before: VecDeque::new(),
        away: Backoff::default(),
        waiting: Waiting::new(),
    };
    let mut is_over = false;
    loop {
        let now = Instant::now();
        let late = match writer.waiting.take(now) {
            Some(late) => late,
            None => {
                let next = writer.waiting.next(now);
                if is_over && next.is_none() {
                    return;
                }
                tokio::select! {
                    order = queue.orders.recv(), if !is_over => match order {
                        Some(order) => match writer.admit(order) {
                            Some(late) => late,
                            None => continue,
                        },
                        None => {
                            is_over = true;
                            continue;
                        }
                    },
                    () = sleep_until(next.unwrap_or(now)), if next.is_some() => continue,
                }
            }
        };
        writer.write(late).await;
        sleep(PACE).await;
    }
}

struct Writer {
    api: Rc<Api>,
    counts: Arc<Counts>,
    /// What is wrong, once said.
    said: Option<String>,
    /// What is wrong with namespaces, once said of each.
    said_of: VecDeque<(Arc<str>, String)>,
    forbidden_until: Option<Instant>,
    /// Names of Events that were left out: their ends are no news.
    unwritten: VecDeque<Arc<str>>,
    /// Events that a run before this one made: how often they had come before the first time that this run knows of.
    before: VecDeque<(Arc<str>, u32)>,
    /// The server itself fails.
    away: Backoff,
    waiting: Waiting,
}

/// What a try came to.
enum Tried {
    /// The API server has it, or had it.
    Written,
    /// The pod's namespace is on its way out: nobody would read it.
    Pointless,
    /// Another try may do.
    Again(ApiError),
    /// No other try will do.
    Never(ApiError),
}

/// An Event that is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Known {
    metadata: KnownMetadata,
    series: Option<KnownSeries>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KnownMetadata {
    creation_timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KnownSeries {
    count: u32,
    last_observed_time: Option<Timestamp>,
}

impl Known {
    /// When it was written last.
    fn last(&self) -> Option<Timestamp> {
        let observed = self.series.as_ref().and_then(|series| series.last_observed_time);
        observed.max(self.metadata.creation_timestamp)
    }

    fn count(&self) -> u32 {
        self.series.as_ref().map_or(1, |series| series.count.max(1))
    }
}

impl Writer {
    /// One that is new; `None` when it has to wait.
    fn admit(&mut self, order: Order) -> Option<Late> {
        let since = Instant::now();
        let waits = self.waiting.concerns(&order, since);
        let late = Late { order, since };
        if !waits {
            return Some(late);
        }
        let left_out = self.waiting.put(late);
        self.left_out(left_out);
        None
    }

    async fn write(&mut self, late: Late) {
        let order = &late.order;
        if order
            .ends
            .as_ref()
            .is_some_and(|name| self.unwritten.contains(name))
        {
            return;
        }
        if self.forbidden_until.is_some_and(|until| Instant::now() < until) {
            self.left_out([late.order]);
            return;
        }
        match self.attempt(order).await {
            Tried::Written => {
                self.counts.written.fetch_add(1, Ordering::Relaxed);
                self.waiting.works(order);
                self.away = Backoff::default();
                if self.said.take().is_some() {
                    tracing::info!("Kubernetes Events are written again");
                }
            }
            Tried::Pointless => self.waiting.works(order),
            Tried::Never(error) => {
                self.waiting.works(order);
                if error.is_forbidden() {
                    self.forbidden_until = Some(Instant::now() + FORBIDDEN);
                }
                self.say(&error);
                self.left_out([late.order]);
            }
            Tried::Again(error) if is_of_the_server(&error) => {
                self.say(&error);
                let left_out = self.waiting.first(late, Instant::now());
                self.left_out(left_out);
                sleep(self.away.next(error.retry_after())).await;
            }
            Tried::Again(error) => {
                self.away = Backoff::default();
                self.say_of(&late.order.event.metadata.namespace, &error);
                let left_out = self.waiting.failed(late, error.retry_after(), Instant::now());
                self.left_out(left_out);
            }
        }
    }

    async fn attempt(&mut self, order: &Order) -> Tried {
        let done = match order.again {
            Some(count) => match self.count(order, count.saturating_add(self.before(order))).await {
                // The server forgot it.
                Err(error) if error.is_absent() => self.create(order).await,
                done => done,
            },
            None => self.create(order).await,
        };
        match done {
            Ok(()) => Tried::Written,
            Err(ApiError::Status { code: 404, .. }) => Tried::Pointless,
            Err(ApiError::Status {
                code: 403, message, ..
            }) if message.contains("being terminated") => Tried::Pointless,
            Err(error @ ApiError::Status { code, .. })
                if (400..500).contains(&code) && !matches!(code, 401 | 408 | 409 | 429) =>
            {
                Tried::Never(error)
            }
            Err(error) => Tried::Again(error),
        }
    }

    /// A new Event. One of this name is of a run of obsflow before this one.
    async fn create(&mut self, order: &Order) -> Result<(), ApiError> {
        let created = self.api.create(&collection(order), &order.event).await;
        if !matches!(created, Err(ApiError::Status { code: 409, .. })) {
            return created;
        }
        let name = &order.event.metadata.name;
        let known: Known = self.api.object(&collection(order), name).await?;
        let pause = known
            .last()
            .and_then(|last| Duration::try_from(Timestamp::now().duration_since(last)).ok());
        if pause.is_some_and(|pause| pause < PAUSE) {
            // What is said of it now was said a moment ago: the book's first time is its latest.
            self.remember(order, known.count() - 1);
            return Ok(());
        }
        self.count(order, known.count().saturating_add(1)).await?;
        self.remember(order, known.count());
        Ok(())
    }

    fn before(&self, order: &Order) -> u32 {
        let name = &order.event.metadata.name;
        let known = self.before.iter().find(|(known, _)| known == name);
        known.map_or(0, |(_, count)| *count)
    }

    fn remember(&mut self, order: &Order, count: u32) {
        let name = &order.event.metadata.name;
        self.before.retain(|(known, _)| known != name);
        if self.before.len() >= MAX_BEFORE {
            self.before.pop_front();
        }
        self.before.push_back((Arc::clone(name), count));
    }

    /// An Event that is there came again.
    async fn count(&self, order: &Order, count: u32) -> Result<(), ApiError> {
        let series = json!({
            "count": count.max(2),
            "lastObservedTime": micro_time(Timestamp::now()),
        });
        let name = &order.event.metadata.name;
        self.api
            .merge(&collection(order), name, json!({ "series": series }))
            .await
    }

    fn left_out(&mut self, orders: impl IntoIterator<Item = Order>) {
        for order in orders {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            if order.ends.is_none() && order.again.is_none() {
                if self.unwritten.len() >= MAX_UNWRITTEN {
                    self.unwritten.pop_front();
                }
                self.unwritten.push_back(order.event.metadata.name);
            }
        }
    }

    /// Says what is wrong, once until something else is.
    fn say(&mut self, error: &ApiError) {
        let text = error.to_string();
        if self.said.as_deref() == Some(&*text) {
            return;
        }
        if error.is_forbidden() {
            tracing::warn!(
                "Kubernetes Events cannot be written: {}; the ClusterRole of obsflow's service account needs: apiGroups \
                 [events.k8s.io], resources [events], verbs [create, get, patch]",
                error.full()
            );
        } else {
            tracing::warn!("Kubernetes Events cannot be written: {}", error.full());
        }
        self.said = Some(text);
    }

    /// Says what is wrong with a namespace, once.
    fn say_of(&mut self, namespace: &Arc<str>, error: &ApiError) {
        let text = error.to_string();
        if self
            .said_of
            .iter()
            .any(|(of, said)| of == namespace && *said == text)
        {
            return;
        }
        tracing::warn!(
            "Kubernetes Events cannot be written into namespace {namespace}, others can: {}",
            error.full()
        );
        if self.said_of.len() >= MAX_SAID {
            self.said_of.pop_front();
        }
        self.said_of.push_back((Arc::clone(namespace), text));
    }
}

/// Whether nothing can be written, whatever it is. Of what is slow, or fails inside the server, a namespace's webhooks may be
/// the reason; they refuse with any status, and the server says that it was they.
fn is_of_the_server(error: &ApiError) -> bool {
    match error {
        ApiError::Status { code, message, .. } => {
            matches!(code, 401 | 429 | 502 | 503) && !message.contains("admission webhook")
        }
        ApiError::Unreachable { .. } | ApiError::Garbage { .. } => true,
        ApiError::Slow { .. } => false,
    }
}

fn collection(order: &Order) -> String {
    format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        order.event.metadata.namespace
    )
}
