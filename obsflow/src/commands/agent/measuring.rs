//! Metrics of a session: what only it knows is handed to them here.

use crate::config;
use crate::kernel::counters::Forgotten;
use crate::session::{Session, now};
use crate::sinks::metrics::{Metrics, Options, Own, Scraper, metrics};

/// See the module.
#[derive(Debug)]
pub(super) struct Measuring {
    pub(super) metrics: Metrics,
}

impl Measuring {
    /// With the other side, for whoever serves.
    pub(super) fn new(config: &config::Metrics, live: &config::Live) -> (Self, Scraper) {
        let (metrics, scraper) = metrics(Options {
            pod_label: config.pod_label,
            dns_ports: live.dns_ports.clone(),
            ..Options::default()
        });
        (Self { metrics }, scraper)
    }

    /// Once a second.
    pub(super) fn second(&mut self, session: &Session) {
        let now = now();
        self.metrics.ring(session.waiting(), now);
        if let Some(cluster) = session.cluster_handle() {
            self.metrics.cluster(cluster.latest(), now);
        }
        self.metrics.second(now);
    }

    /// What the kernel counted, and what the session says of itself: when somebody scrapes, and before the kernel forgets.
    pub(super) fn counters(&mut self, session: &mut Session, leaving: &Forgotten) {
        // Before they are read: who asks in between gets them the next time.
        let asked = self.metrics.asked();
        let counts = session.counters().counts();
        let mut of = |cgroup| session.workload_of(cgroup);
        let now = now();
        self.metrics.counters(&counts, &mut of, &leaving.cgroups, now);
        self.metrics.tunnels_gone(&leaving.tunnels, now);
        if let Some(asked) = asked {
            self.metrics.own(&own(session));
            self.metrics.answer(asked);
        }
    }
}

fn own(session: &Session) -> Own {
    Own {
        stats: session.stats(),
        recursion_misses: session.recursion_misses(),
        pipeline: session.pipeline().counters(),
        correlation: session.pipeline().correlation(),
        hooks: session.hooks().to_vec(),
        costs: session.costs(),
        ring_bytes: session.ring_bytes(),
        watches: session.watches(),
    }
}
