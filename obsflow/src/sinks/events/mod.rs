//! Kubernetes Events: what fails, on the pod that it fails for, where `kubectl describe pod` shows it.
//!
//! [`Events`] stands on the pipeline's thread: it keeps a book of what was said of which pod and hands what is due to a queue
//! of a fixed length. Whoever speaks to the API server takes it from there. What finds no room is counted and tried again later.

mod book;
mod order;
mod send;
mod waiting;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::cluster;
use crate::model::status::KubernetesEvents;
use crate::model::verdict::{Report, Transition};
use crate::model::{Clock, Mono};

use book::Book;
use order::Order;

/// Events that wait to be written.
const MAX_WAITING: usize = 512;

/// Counts of Events, shared with whoever writes them.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    crowded_out: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn read(&self) -> KubernetesEvents {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        KubernetesEvents {
            written: read(&self.written),
            crowded_out: read(&self.crowded_out),
            failed: read(&self.failed),
        }
    }
}

/// What is to be written, in order.
#[derive(Debug)]
struct Queue {
    orders: mpsc::Receiver<Order>,
    counts: Arc<Counts>,
}

/// Makes Events of verdicts. Never waits.
#[derive(Debug)]
pub struct Events {
    book: Book,
    queue: mpsc::Sender<Order>,
    counts: Arc<Counts>,
    latest: Arc<Report>,
    /// Orders that found no room, said once.
    said_crowded: bool,
}

impl Events {
    /// Events of this node, for whoever speaks to the API server; `None` when nobody does.
    #[must_use]
    pub fn start(node: String, cluster: &cluster::Handle) -> Option<Self> {
        let (events, queue) = Self::new(node);
        cluster
            .run(Box::new(|api| Box::pin(send::write(api, queue))))
            .then_some(events)
    }

    fn new(node: String) -> (Self, Queue) {
        let (queue, orders) = mpsc::channel(MAX_WAITING);
        let counts = Arc::<Counts>::default();
        let events = Self {
            book: Book::new(node),
            queue,
            counts: Arc::clone(&counts),
            latest: Arc::default(),
            said_crowded: false,
        };
        (events, Queue { orders, counts })
    }

    /// What became of them until now.
    #[must_use]
    pub fn counts(&self) -> KubernetesEvents {
        self.counts.read()
    }

    /// Takes verdicts that began or ended to hold.
    pub fn on(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            self.book.on(transition);
        }
    }

    /// Takes the newest report.
    pub fn report(&mut self, report: &Arc<Report>) {
        self.latest = Arc::clone(report);
    }

    /// Hands over what is due; call it once a second.
    pub fn second(&mut self, clock: Clock, now: Mono) {
        let mut crowded_out = std::mem::take(&mut self.book.forgotten);
        let queue = &self.queue;
        self.book.due(&self.latest, clock, now, |order| {
            let taken = queue.try_send(order).is_ok();
            crowded_out += u64::from(!taken);
            taken
        });
        if crowded_out > 0 {
            self.counts.crowded_out.fetch_add(crowded_out, Ordering::Relaxed);
            if !std::mem::replace(&mut self.said_crowded, true) {
                tracing::warn!(
                    "more Kubernetes Events are due than the API server takes; those that wait too long are left out and \
                     counted (obsflow status)"
                );
            }
        }
    }
}
