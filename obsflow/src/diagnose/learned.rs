//! Requests: what they say of the exporters of their destination, and exporters that nothing configures, known because a
//! request with an ingest path was seen. A port alone proves nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::model::exchange::{Answer, Dialect, Exchange, Refusal, Request, Signal, TargetForm};
use crate::model::expectation::{ContainerKey, Endpoint, Expectation, Host, Setting, Source, Transport};
use crate::model::observation::Observation;
use crate::model::time::Mono;

use super::exporter::{
    Accepted, Container, Destination, Exporter, MAX_WAITING, Rejection, Waiting, guessed_timeout,
};
use super::hysteresis::Held;
use super::saved::SavedDestination;
use super::{Diagnoser, MAX_EXPORTERS, group, joining};

/// Indices of a container's exporters that a request concerns.
type Concerned = Vec<u8>;

impl Diagnoser {
    /// The head of a request was sent.
    pub(super) fn request(&mut self, observation: &Observation, request: &Arc<Request>) {
        let at = observation.at;
        let cookie = observation.cookie;
        let Some((slot, concerned)) = self.concerned(observation, request) else {
            return;
        };
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        for index in concerned {
            let Some(exporter) = container.exporters.get_mut(usize::from(index)) else {
                continue;
            };
            let accepted = &mut exporter.accepted;
            accepted.asked(request, at);
            if request.form != TargetForm::Origin {
                accepted.proxied.add(at);
                accepted.proxy = observation.remote.or(observation.asked);
            } else if accepted.proxied.any() {
                accepted.proxied.clear();
            }
            accepted
                .waiting
                .retain(|waiting| waiting.cookie != cookie || waiting.stream != request.stream);
            if accepted.waiting.len() < MAX_WAITING {
                accepted.waiting.push(Waiting {
                    cookie,
                    stream: request.stream,
                    at,
                });
            }
        }
    }

    /// A request was answered, or never will be.
    pub(super) fn exchange(&mut self, observation: &Observation, exchange: &Exchange) {
        let Some((slot, concerned)) = self.concerned(observation, &exchange.request) else {
            return;
        };
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let mut answered = None;
        for index in concerned {
            let Some(exporter) = container.exporters.get_mut(usize::from(index)) else {
                continue;
            };
            if exchange.request.form == TargetForm::Authority {
                // The proxy opened a tunnel, or did not: nothing was exported so far.
                exporter
                    .accepted
                    .waiting
                    .retain(|waiting| waiting.cookie != observation.cookie);
                continue;
            }
            let timeout = Timeout {
                after: exporter.timeout,
                is_guessed: exporter.is_timeout_guessed,
            };
            exporter
                .accepted
                .answered(observation.cookie, exchange, timeout, observation.at);
            if exchange.accepted().is_some() {
                answered = exporter.to;
            }
        }
        // Whatever it said, it was said: the two understand each other.
        if let Some(index) = answered
            && let Some(to) = container.destinations.get_mut(usize::from(index))
        {
            to.traffic.resets.clear();
            to.traffic.closed.clear();
            to.traffic.ailing.heard(observation.cookie);
            // A server that wants TLS says so in an answer of HTTP.
            let wants_tls = matches!(
                exchange.answer,
                Answer::Http {
                    refusal: Some(Refusal::WantsTls),
                    ..
                }
            );
            if !wants_tls {
                to.mismatch = None;
                to.tls.failed.clear();
                to.tls.unanswered.clear();
            }
        }
    }

    /// The exporters that a request is of, in which container.
    fn concerned(&mut self, observation: &Observation, request: &Request) -> Option<(u32, Concerned)> {
        let joined = self.destination_of(observation);
        if request.form != TargetForm::Origin {
            return self.concerned_by_proxy(observation, request, joined);
        }
        let Some((slot, to)) = joined else {
            request.ingest?;
            return self.learn(observation, request);
        };
        let room = self.containers.exporters < self.config.max_exporters;
        let container = self.containers.get_mut(slot)?;
        container
            .destinations
            .get_mut(usize::from(to))?
            .wire
            .add(observation.at);
        let before = container.exporters.len();
        let concerned = container.of_request(to, request, room);
        let added = container.exporters.len().saturating_sub(before);
        self.containers.exporters += added;
        Some((slot, concerned))
    }

    /// A request to a proxy concerns the exporters of the destination it names.
    fn concerned_by_proxy(
        &mut self,
        observation: &Observation,
        request: &Request,
        joined: Option<(u32, u8)>,
    ) -> Option<(u32, Concerned)> {
        let default = if request.form == TargetForm::Authority {
            443
        } else {
            80
        };
        let (host, port) = joining::authority(request.authority.as_deref()?, default)?;
        let slot = match joined {
            Some((slot, _)) => slot,
            None => self.containers.of(observation)?,
        };
        let container = self.containers.get_mut(slot)?;
        let to = container
            .destinations
            .iter()
            .position(|to| !to.is_proxy && to.port == port && to.host == host);
        let Some(to) = to.and_then(|to| u8::try_from(to).ok()) else {
            if let Some((_, proxy)) = joined
                && let Some(proxy) = container.destinations.get_mut(usize::from(proxy))
            {
                proxy.foreign.add(observation.at);
            }
            return None;
        };
        if request.form == TargetForm::Authority {
            // What travels in the tunnel is not known.
            let all = container.all_of(to);
            return Some((slot, all));
        }
        let before = container.exporters.len();
        let concerned = container.of_request(to, request, true);
        let added = container.exporters.len().saturating_sub(before);
        self.containers.exporters += added;
        Some((slot, concerned))
    }

    /// The container of an observation, which is added when nothing was known of it.
    pub(super) fn slot_or_add(&mut self, observation: &Observation) -> Option<u32> {
        if let Some(slot) = self.containers.of(observation) {
            return Some(slot);
        }
        let key = observation.workload.container_key()?;
        if self.gone.is_of(observation, &key) {
            return None;
        }
        let added = self
            .containers
            .add(key, &observation.workload, observation.cgroup);
        let Some(slot) = added else {
            self.forgotten += 1;
            return None;
        };
        let began = self.born.get(&observation.cgroup).copied();
        if let Some(container) = self.containers.get_mut(slot) {
            container.began = began;
            if let Some(process) = &observation.process {
                container.pid = process.pid;
            }
        }
        self.recall(slot);
        self.containers.of(observation)
    }

    /// A request with an ingest path to a place that nobody expected.
    fn learn(&mut self, observation: &Observation, request: &Request) -> Option<(u32, Concerned)> {
        if self.containers.exporters >= self.config.max_exporters {
            self.forgotten += 1;
            return None;
        }
        let peer = observation.asked.or(observation.remote)?;
        let slot = self.slot_or_add(observation)?;
        let host = match &observation.remote_name {
            Some(name) => Host::Name(Arc::clone(name)),
            None => Host::Ip(peer.ip().to_canonical()),
        };
        let container = self.containers.get_mut(slot)?;
        let to = container.destination_at(&host, peer.port(), false)?;
        if let Some(destination) = container.destinations.get_mut(usize::from(to)) {
            // The connection was there before anybody knew that it mattered.
            destination.wire.add(observation.at);
            destination.connects.ok.add(observation.at);
            destination.connects.peer = Some(peer);
            if destination.dns.addresses.is_empty() && matches!(host, Host::Name(_)) {
                destination.dns.addresses.push(peer.ip().to_canonical());
            }
        }
        let generation = container.generation;
        let before = container.exporters.len();
        let concerned = container.of_request(to, request, true);
        self.containers.exporters += self
            .containers
            .get(slot)
            .map_or(0, |container| container.exporters.len().saturating_sub(before));
        self.links.insert(observation.cookie, slot, generation, to);
        Some((slot, concerned))
    }
}

impl Exporter {
    /// One that nothing configures.
    pub(super) fn seen(key: &ContainerKey, endpoint: Endpoint, signal: Option<Signal>, to: u8) -> Self {
        let written = group::authority(&endpoint.host, endpoint.port);
        let dialect = match endpoint.transport {
            Transport::Other(dialect) => Some(dialect),
            _ => None,
        };
        Self {
            id: group::export_id(key, Some(&endpoint), "", signal),
            signal,
            written: Arc::from(written.as_str()),
            endpoint: Some(endpoint),
            source: Source::Wire,
            setting: Setting::On,
            interval: None,
            timeout: guessed_timeout(dialect),
            is_timeout_guessed: true,
            to: Some(to),
            proxy: None,
            is_split: false,
            is_learned: true,
            accepted: Accepted::default(),
            sent_before: None,
            held: Held::default(),
        }
    }
}

impl Container {
    /// A request may be seen before the configuration is read: what nothing configured until now, by the name that the search
    /// list made of a configured one, is that one.
    pub(super) fn recognize(&mut self, expectations: &[Expectation]) {
        for endpoint in expectations.iter().filter_map(|it| it.endpoint.as_ref()) {
            let Host::Name(host) = &endpoint.host else {
                continue;
            };
            let same_port = |to: &Destination| !to.is_proxy && to.port == endpoint.port;
            if self
                .destinations
                .iter()
                .any(|to| same_port(to) && to.host == endpoint.host)
            {
                continue;
            }
            let of = |at: usize| {
                let of = move |exporter: &&Exporter| exporter.to.map(usize::from) == Some(at);
                self.exporters.iter().filter(of)
            };
            let found = self.destinations.iter().enumerate().position(|(at, to)| {
                same_port(to)
                    && matches!(&to.host, Host::Name(name) if joining::name_fits(name, host))
                    && of(at).next().is_some()
                    && of(at).all(|exporter| exporter.is_learned)
            });
            if let Some(to) = found.and_then(|at| self.destinations.get_mut(at)) {
                to.host = endpoint.host.clone();
            }
        }
    }

    /// What a state file says that it sent to.
    pub(super) fn learn_again(&mut self, saved: &SavedDestination) {
        if self.exporters.len() >= MAX_EXPORTERS {
            return;
        }
        let (host, signal) = (saved.host(), saved.signal());
        let Some(to) = self.destination_at(&host, saved.port, false) else {
            return;
        };
        if self
            .exporters
            .iter()
            .any(|e| e.to == Some(to) && e.signal == signal)
        {
            return;
        }
        let endpoint = Endpoint {
            host,
            port: saved.port,
            tls: None,
            path: None,
            transport: Transport::Unknown,
        };
        let exporter = Exporter::seen(&self.key, endpoint, signal, to);
        self.exporters.push(exporter);
    }

    /// Every exporter of a destination.
    fn all_of(&self, to: u8) -> Concerned {
        let of = |(index, exporter): (usize, &Exporter)| {
            (exporter.to == Some(to) && !exporter.is_split)
                .then(|| u8::try_from(index).ok())
                .flatten()
        };
        self.exporters.iter().enumerate().filter_map(of).collect()
    }

    /// The exporters that a request to a destination is of; one that is not known yet is added while there is room.
    fn of_request(&mut self, to: u8, request: &Request, room: bool) -> Concerned {
        let signal = request.ingest.and_then(|ingest| ingest.signal);
        match (signal, &request.path, request.ingest) {
            (Some(signal), ..) => self.of_signal(to, signal, request, room),
            // Its path could not be read: it is of any of them.
            (None, None, _) => self.all_of(to),
            (None, Some(_), Some(_)) => {
                let all = self.all_of(to);
                if all.is_empty() && room {
                    self.add_learned(to, None, request).into_iter().collect()
                } else {
                    all
                }
            }
            (None, Some(path), None) => self.of_path(to, path, request),
        }
    }

    fn of_signal(&mut self, to: u8, signal: Signal, request: &Request, room: bool) -> Concerned {
        let known = self.exporters.iter().position(|exporter| {
            exporter.to == Some(to) && exporter.signal == Some(signal) && !exporter.is_split
        });
        if let Some(index) = known {
            return u8::try_from(index).into_iter().collect();
        }
        if room {
            self.add_learned(to, Some(signal), request).into_iter().collect()
        } else {
            self.all_of(to)
        }
    }

    /// A path that is no ingest path of anything known: a wrong one, or no telemetry at all.
    fn of_path(&self, to: u8, path: &str, request: &Request) -> Concerned {
        let all = self.all_of(to);
        let of = |fits: &dyn Fn(&Exporter) -> bool| -> Concerned {
            let fits = |index: &&u8| self.exporters.get(usize::from(**index)).is_some_and(fits);
            all.iter().filter(fits).copied().collect()
        };
        let configured = of(&|exporter| {
            let configured = exporter.endpoint.as_ref().and_then(|to| to.path.as_deref());
            configured == Some(path)
        });
        if !configured.is_empty() {
            return configured;
        }
        if request.method.as_deref() != Some("POST") && request.method.as_deref() != Some("PUT") {
            return Vec::new();
        }
        let named = of(&|exporter| {
            exporter
                .signal
                .is_some_and(|signal| path.rsplit('/').any(|part| part == signal.name()))
        });
        if named.is_empty() { all } else { named }
    }

    /// Adds what nothing configures for this signal: it takes the place of an expectation that is for every signal, or of
    /// one that is switched off and exports all the same.
    fn add_learned(&mut self, to: u8, signal: Option<Signal>, request: &Request) -> Option<u8> {
        if let Some(index) = self.exporters.iter().position(|exporter| {
            exporter.to.is_none()
                && matches!(exporter.setting, Setting::Off(_))
                && (exporter.signal == signal || exporter.signal.is_none())
        }) {
            let exporter = self.exporters.get_mut(index)?;
            exporter.to = Some(to);
            return u8::try_from(index).ok();
        }
        if self.exporters.len() >= MAX_EXPORTERS {
            return None;
        }
        let destination = self.destinations.get(usize::from(to))?;
        let general = self
            .exporters
            .iter_mut()
            .find(|exporter| exporter.to == Some(to) && exporter.signal.is_none());
        let dialect = request.ingest.map(|ingest| ingest.dialect);
        let endpoint = Endpoint {
            host: destination.host.clone(),
            port: destination.port,
            // It could be read.
            tls: Some(false),
            path: request.path.clone(),
            transport: match dialect {
                _ if request.grpc => Transport::Grpc,
                Some(Dialect::Otlp) => Transport::Unknown,
                Some(dialect) => Transport::Other(dialect),
                None => Transport::Unknown,
            },
        };
        let mut exporter = Exporter::seen(&self.key, endpoint, signal, to);
        if let Some(general) = general
            && signal.is_some()
        {
            general.is_split = true;
            exporter.written = Arc::clone(&general.written);
            exporter.source = general.source.clone();
            exporter.setting = general.setting.clone();
            exporter.interval = general.interval;
            exporter.timeout = general.timeout;
            exporter.is_timeout_guessed = general.is_timeout_guessed;
            exporter.proxy = general.proxy;
            if let (Some(mine), Some(theirs)) = (&mut exporter.endpoint, &general.endpoint) {
                mine.tls = theirs.tls;
                mine.transport = theirs.transport;
            }
        }
        self.exporters.push(exporter);
        u8::try_from(self.exporters.len() - 1).ok()
    }
}

/// How long an exporter waits for an answer.
#[derive(Clone, Copy)]
struct Timeout {
    after: Duration,
    /// Nothing tells it.
    is_guessed: bool,
}

/// What a client that gives up waits at least; the Collector's exporters wait 5 s.
const A_WHILE: Duration = Duration::from_secs(4);
/// Requests given up in a row that are no chance.
const GIVEN_UP: u32 = 2;

impl Accepted {
    fn asked(&mut self, request: &Arc<Request>, at: Mono) {
        if self.requests.any() {
            self.gap = self.gap.max(at.since(self.requests.last));
        }
        self.requests.add(at);
        let same = self
            .request
            .as_ref()
            .is_some_and(|known| known.path == request.path && known.user_agent == request.user_agent);
        // A request that could not be read says less than one that could.
        if !same && (request.path.is_some() || self.request.is_none()) {
            self.request = Some(Arc::clone(request));
        }
    }

    fn answered(&mut self, cookie: u64, exchange: &Exchange, timeout: Timeout, at: Mono) {
        let asked_at = exchange.request.at;
        // On one connection an answer to a later request says that the earlier ones are not stuck either: theirs was lost.
        self.waiting
            .retain(|waiting| waiting.cookie != cookie || waiting.at > asked_at);
        if !self.requests.any() {
            self.asked(&exchange.request, asked_at);
        }
        match exchange.accepted() {
            Some(true) => {
                self.ok.add(at);
                self.on = cookie;
                self.rejected.clear();
                self.why = None;
                self.unanswered.clear();
                self.given_up.clear();
                self.cancelled = 0;
                self.status = match exchange.answer {
                    Answer::Http { status, .. } => status,
                    _ => 0,
                };
                if exchange.partial() {
                    self.partial.add(at);
                    self.partial_bytes = match exchange.answer {
                        Answer::Http { body_bytes, .. } => body_bytes.unwrap_or(0),
                        Answer::Grpc { data_bytes, .. } => data_bytes,
                        _ => 0,
                    };
                } else {
                    self.partial.clear();
                }
            }
            Some(false) => {
                self.rejected.add(at);
                self.unanswered.clear();
                self.given_up.clear();
                self.why = Some(Box::new(Rejection {
                    answer: exchange.answer,
                    path: exchange.request.path.clone(),
                }));
            }
            None => {
                // A client that ends a request early has its own reasons: a shutdown, a race with keep-alive.
                // Where nothing tells how long it waits, two in a row after some seconds are no chance.
                if timeout.is_guessed && exchange.took >= A_WHILE {
                    self.given_up.add(at);
                }
                if self.given_up.count >= GIVEN_UP && !self.unanswered.any() {
                    self.unanswered = self.given_up;
                    self.on = 0;
                    self.cancelled = match exchange.answer {
                        Answer::Cancelled(_) => self.given_up.count,
                        _ => 0,
                    };
                } else if exchange.took >= timeout.after.mul_f32(0.8)
                    || self.given_up.count > GIVEN_UP && exchange.took >= A_WHILE
                {
                    self.unanswered.add(at);
                    self.on = 0;
                    if matches!(exchange.answer, Answer::Cancelled(_)) {
                        self.cancelled = self.cancelled.saturating_add(1);
                    }
                }
            }
        }
    }
}
