//! `obsflow agent`: the pipeline as a service. The session runs on the main thread, as with every command; one more thread
//! serves what it publishes.

mod health;
mod measuring;
mod metrics;
mod peers;
mod service;
mod serving;
mod state;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::health::{Health, Pulse};
use self::measuring::Measuring;
use self::metrics::MetricsServer;
use self::peers::PeerList;
use self::serving::Serving;
use self::state::{Loaded, StateFile};
use super::until_signal;
use crate::api::hubble::{Observer, Peer};
use crate::api::{Listener, Publisher};
use crate::config;
use crate::diagnose::{Diagnoser, Saved, ThisNode};
use crate::expect::{self, Expectations};
use crate::kernel::counters::Forgotten;
use crate::kernel::hooks::State;
use crate::model::status::Status;
use crate::model::verdict::{Report, Transition};
use crate::model::{Clock, Lifecycle, Mono, Observation, Workload};
use crate::session::diagnosis::{self, DiagnosisSink, News, Publish};
use crate::session::status::node_name;
use crate::session::{Purpose, Session, Stop, now};
use crate::sinks::doctor;
use crate::sinks::events::Events;
use crate::store::Recorder;

/// How far the wall clock may be set before times that were said already move with it.
const CLOCK_SET: Duration = Duration::from_millis(500);

pub(super) fn run(config: &config::Agent) -> anyhow::Result<()> {
    if config.is_check {
        return super::print(|out| {
            let rules = config.rules.len();
            writeln!(
                out,
                "good: {} sockets, {rules} exporters of the file's own",
                config.listen.len()
            )
        });
    }
    let stop = Stop::default();
    until_signal(&stop, || serve(config, &stop))
}

fn serve(config: &config::Agent, stop: &Stop) -> anyhow::Result<()> {
    // What somebody else may have comes first: it is said before anything is attached.
    let listeners = config
        .listen
        .iter()
        .map(|listen| {
            let bound = Listener::bind(&listen.address);
            match &listen.tls {
                Some(tls) => bound.map(|listener| listener.with_tls(tls.clone())),
                None => bound,
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| (listener.address().clone(), listener.tls().is_some()))
        .collect();
    let health = config.health.map(Health::bind).transpose()?;
    let health_at = health.as_ref().map(Health::address);
    let (measuring, scraper) = config
        .metrics
        .as_ref()
        .map(|metrics| Measuring::new(metrics, &config.live))
        .unzip();
    let metrics = config
        .metrics
        .clone()
        .zip(scraper)
        .map(|(metrics, scraper)| MetricsServer::bind(metrics, scraper));
    let pulse = Arc::new(Pulse::new());
    let node = config.live.cluster.node_name.clone().unwrap_or_else(node_name);
    let recorder = Recorder::new(config.flows.limits, Clock::now(), now());
    let mut peers = PeerList::new(node.as_str(), config.flows.peers.clone(), &listeners);
    let observer = Observer::new(recorder.history(node.as_str()), peers.peers());
    let publisher = Publisher::new(node.as_str()).with_flows(observer, Peer::new(peers.peers()));
    let publisher = Arc::new(publisher);
    let serving = Serving::start(
        listeners,
        health,
        metrics,
        Arc::clone(&publisher),
        Arc::clone(&pulse),
        stop.clone(),
    )?;
    let mut session = Session::open(&config.live, Purpose::Watch)?;
    say_attached(&session);
    let mut diagnoser = Diagnoser::new(diagnosis::config(&session, config.live.payload))
        .with_facts(Box::new(ThisNode::default().with_cluster(session.cluster())));
    let state = config.state.as_deref().and_then(StateFile::open);
    if let Some(loaded) = state.as_ref().and_then(StateFile::load) {
        diagnoser.restore(remembered(loaded));
    }
    let expectations = Expectations::new(expect::Config {
        rules: config.rules.clone(),
        ..expect::Config::default()
    });
    let events = config.events.then(|| events_of(&session, &node)).flatten();
    peers.follow(session.cluster());
    let endpoints_name_it = session.cluster().is_some() && config.live.cluster.agents.is_some();
    if !peers.names_itself() && !endpoints_name_it {
        tracing::warn!(
            "this agent listens at all addresses, and names none of them to whoever asks for peers: a relay that asks it \
             does not ask it for flows; add --peer {node}=ADDRESS:PORT"
        );
    }
    let publishing = Publishing {
        node,
        events,
        publisher: Arc::clone(&publisher),
        pulse: Arc::clone(&pulse),
        clock: Clock::now(),
        state,
        measuring,
        flows: Some((recorder, peers)),
    };
    let mut sink = DiagnosisSink::new(expectations, diagnoser, publishing)
        .within(&session)
        .following(session.cluster());
    for (address, tls) in &addresses {
        tracing::info!(%address, tls, "serving gRPC");
    }
    if let Some(address) = health_at {
        tracing::info!(%address, "serving /healthz and /readyz");
    }
    service::ready();
    let watched = session.run(stop, &mut sink);
    tracing::info!("ending");
    service::ending();
    pulse.end();
    let (report, diagnoser, mut publishing) = sink.finish(now());
    // Whoever follows hears that there is no more.
    publishing.flows = None;
    publisher.status(publishing.status(&session));
    publisher.report(Arc::new(report), publishing.clock);
    let served = serving.end();
    if let Some(state) = publishing.state {
        state.finish(&diagnoser.save());
    }
    say_end(&session);
    watched?;
    served
}

/// Kubernetes Events, if there is anybody to write them.
fn events_of(session: &Session, node: &str) -> Option<Events> {
    let events = session
        .cluster_handle()
        .filter(|cluster| cluster.has_api())
        .and_then(|cluster| Events::start(node.to_owned(), cluster));
    if events.is_none() {
        tracing::warn!(
            "--events: this is no pod of a cluster, and no --kubeconfig leads to one: no Kubernetes Events are written"
        );
    }
    events
}

/// What is still true of what was saved. Kernel time began anew with the machine, and so did everything that failed.
fn remembered(loaded: Loaded<Saved>) -> Saved {
    let mut saved = loaded.saved;
    if loaded.is_of_another_boot {
        for exporter in &mut saved.exporters {
            exporter.last_success_ns = None;
            exporter.verdict = None;
            exporter.flaps = 0;
        }
    }
    saved
}

/// Takes what diagnosis says.
struct Publishing {
    /// This node's name.
    node: String,
    publisher: Arc<Publisher>,
    pulse: Arc<Pulse>,
    clock: Clock,
    state: Option<StateFile>,
    /// Absent without `--metrics`.
    measuring: Option<Measuring>,
    /// Kubernetes Events, if they are wanted.
    events: Option<Events>,
    /// Until the end.
    flows: Option<(Recorder, PeerList)>,
}

impl Publishing {
    /// Follows the wall clock when it is set. Otherwise `since` would be another one, by nanoseconds, in each report.
    fn follow_clock(&mut self) {
        let clock = Clock::now();
        if clock.offset_ns.abs_diff(self.clock.offset_ns) > CLOCK_SET.as_nanos() {
            self.clock = clock;
        }
    }

    fn status(&self, session: &Session) -> Status {
        Status {
            node: self.node.clone(),
            kubernetes_events: self.events.as_ref().map(Events::counts),
            ..session.status()
        }
    }
}

impl Publish for Publishing {
    fn report(&mut self, report: &Arc<Report>, _: News) -> io::Result<ControlFlow<()>> {
        self.follow_clock();
        if let Some(measuring) = &mut self.measuring {
            measuring.metrics.report(report, self.clock);
        }
        self.publisher.report(Arc::clone(report), self.clock);
        if let Some(events) = &mut self.events {
            events.report(report);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn transitions(&mut self, transitions: Vec<Transition>) -> io::Result<()> {
        for transition in &transitions {
            say_transition(transition, self.clock);
        }
        if let Some(events) = &mut self.events {
            events.on(&transitions);
        }
        Ok(())
    }

    fn observed(&mut self, observation: &Observation) {
        if let Some(measuring) = &mut self.measuring {
            measuring.metrics.observe(observation);
        }
        if let Some((recorder, _)) = &mut self.flows {
            recorder.record(observation);
        }
    }

    fn observed_all(&mut self) {
        if let Some((recorder, _)) = &mut self.flows {
            recorder.publish();
        }
    }

    fn lifecycle(&mut self, step: &Lifecycle) {
        if let Some(measuring) = &mut self.measuring {
            measuring.metrics.lifecycle(step);
        }
    }

    fn renamed(&mut self, workloads: &[Arc<Workload>]) {
        if let Some(measuring) = &mut self.measuring {
            measuring.metrics.renamed(workloads, now());
        }
    }

    fn wants_counters(&self) -> bool {
        self.measuring
            .as_ref()
            .is_some_and(|measuring| measuring.metrics.asked().is_some())
    }

    fn counters(&mut self, session: &mut Session, leaving: &Forgotten) {
        if let Some(measuring) = &mut self.measuring {
            measuring.counters(session, leaving);
        }
    }

    fn look(&mut self, session: &Session) {
        if let Some(measuring) = &mut self.measuring {
            measuring.second(session);
        }
        self.publisher.status(self.status(session));
    }

    fn second(&mut self, diagnoser: &Diagnoser, now: Mono) -> io::Result<ControlFlow<()>> {
        self.pulse.beat();
        if let Some(events) = &mut self.events {
            events.second(self.clock, now);
        }
        if let Some((recorder, peers)) = &mut self.flows {
            recorder.second(self.clock, now);
            peers.second(now);
        }
        service::turned();
        if let Some(state) = &mut self.state {
            state.keep(now, || diagnoser.save());
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// One line for a verdict that began or ended.
fn say_transition(transition: &Transition, clock: Clock) {
    let export = &transition.export;
    let since: Timestamp = clock.wall(export.since);
    let what = if transition.opened {
        "verdict opened"
    } else {
        "verdict closed"
    };
    tracing::info!(
        workload = %doctor::workload_name(&export.workload),
        destination = %export.written,
        signal = export.signal.map(|signal| signal.name()),
        verdict = export.verdict.name(),
        reason = export.reason.as_deref(),
        severity = export.severity.name(),
        %since,
        flaps = export.flaps,
        "{what}"
    );
}

fn say_attached(session: &Session) {
    let mut attached = Vec::new();
    for (hook, state) in session.hooks() {
        match state {
            State::Attached(_) => attached.push(hook.name()),
            State::Unavailable(reason) => {
                tracing::warn!(
                    hook = hook.name(),
                    reason,
                    costs = hook.without(),
                    "hook unavailable"
                );
            }
            State::Off(_) => {}
        }
    }
    let cgroups: Vec<String> = session
        .cgroups()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        hooks = attached.join(","),
        cgroups = cgroups.join(","),
        "attached"
    );
}

fn say_end(session: &Session) {
    let counters = session.pipeline().counters();
    tracing::info!(seen = counters.seen, lost = counters.lost, "ended");
}
