//! Events to the API server, one after the other.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::book::PAUSE;
use super::order::{Order, micro_time};
use super::{Counts, Queue};
use crate::cluster::{Api, ApiError};

/// Between two requests: a Collector that ends is news of every pod at once, and the API server has other work.
const PACE: Duration = Duration::from_millis(100);
/// Between two tries, the first time and at the most.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// After this an Event that cannot be written is left out.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long an API server that forbids them is not asked.
const FORBIDDEN: Duration = Duration::from_mins(1);
/// Events remembered because they could not be written.
const MAX_UNWRITTEN: usize = 1024;

/// Writes what comes, until nothing more can come.
pub(super) async fn write(api: Rc<Api>, mut queue: Queue) {
    let mut writer = Writer {
        api,
        counts: Arc::clone(&queue.counts),
        said: None,
        forbidden_until: None,
        unwritten: VecDeque::new(),
    };
    while let Some(order) = queue.orders.recv().await {
        writer.write(&order).await;
        sleep(PACE).await;
    }
}

struct Writer {
    api: Rc<Api>,
    counts: Arc<Counts>,
    /// What is wrong, once said.
    said: Option<String>,
    forbidden_until: Option<Instant>,
    /// Names of Events that were left out: their ends are no news.
    unwritten: VecDeque<Arc<str>>,
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
    async fn write(&mut self, order: &Order) {
        if order
            .ends
            .as_ref()
            .is_some_and(|name| self.unwritten.contains(name))
        {
            return;
        }
        if self.forbidden_until.is_some_and(|until| Instant::now() < until) {
            self.left_out(order);
            return;
        }
        let began = Instant::now();
        let [mut wait, longest] = BACKOFF;
        loop {
            match self.attempt(order).await {
                Tried::Written => {
                    self.counts.written.fetch_add(1, Ordering::Relaxed);
                    if self.said.take().is_some() {
                        tracing::info!("Kubernetes Events are written again");
                    }
                    return;
                }
                Tried::Pointless => return,
                Tried::Never(error) => {
                    if error.is_forbidden() {
                        self.forbidden_until = Some(Instant::now() + FORBIDDEN);
                    }
                    self.say(&error);
                    self.left_out(order);
                    return;
                }
                Tried::Again(error) => {
                    self.say(&error);
                    if began.elapsed() >= PATIENCE {
                        self.left_out(order);
                        return;
                    }
                    sleep(error.retry_after().unwrap_or(wait)).await;
                    wait = (wait * 2).min(longest);
                }
            }
        }
    }

    async fn attempt(&self, order: &Order) -> Tried {
        let done = match order.again {
            Some(count) => match self.count(order, count).await {
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
    async fn create(&self, order: &Order) -> Result<(), ApiError> {
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
            return Ok(());
        }
        self.count(order, known.count().saturating_add(1)).await
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

    fn left_out(&mut self, order: &Order) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        if order.ends.is_none() && order.again.is_none() {
            if self.unwritten.len() >= MAX_UNWRITTEN {
                self.unwritten.pop_front();
            }
            self.unwritten.push_back(Arc::clone(&order.event.metadata.name));
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
}

fn collection(order: &Order) -> String {
    format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        order.event.metadata.namespace
    )
}
