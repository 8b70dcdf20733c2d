//! Which checks, in which order; what was seen is kept for the conclusion.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::budget::Budget;
use super::export::{self, Answer, Protocol, Way};
use super::pod::Files;
use super::resolve::{self, NotFound, Resolved};
use super::tls::{Handshake, NoTls, Tls, Trust};
use super::wire::{self, Refused};
use super::{Limits, Request};
use crate::model::exchange::Signal;
use crate::model::expectation::{Host, Transport};
use crate::model::probe::{Check, Outcome, Step};

/// OTLP's default ports over gRPC and over HTTP.
const DEFAULT: [u16; 2] = [4317, 4318];
const HTTPS: u16 = 443;

/// Everything the checks showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) name: Name,
    /// The configured port, address by address.
    pub(super) connects: Vec<(SocketAddr, Result<(), Refused>)>,
    pub(super) tls: Option<Result<Handshake, NoTls>>,
    /// In the order of their trial; the first is as configured.
    pub(super) exports: Vec<(Way, Answer)>,
    /// No export was tried because it is not OTLP.
    pub(super) not_otlp: bool,
}

/// What became of the name.
#[derive(Clone, Debug, Default)]
pub(super) enum Name {
    /// A literal address.
    #[default]
    Literal,
    /// It resolves as it is configured.
    AsConfigured,
    /// Only another, full name resolves.
    OnlyAs(Resolved),
    /// Nothing resolves.
    Not(NotFound),
}

/// The checks of one request.
pub(super) struct Plan<'a, T> {
    request: &'a Request,
    files: &'a Files,
    limits: Limits,
    tell: T,
}

impl<'a, T: Fn(Check)> Plan<'a, T> {
    pub(super) fn new(request: &'a Request, limits: &Limits, files: &'a Files, tell: T) -> Self {
        Self {
            request,
            files,
            limits: *limits,
            tell,
        }
    }

    fn tell(&self, step: Step, target: &str, outcome: Outcome, detail: &str, took: Duration) {
        (self.tell)(Check {
            step,
            target: wire::escape(target).into(),
            outcome,
            detail: wire::escape(detail).into(),
            took,
        });
    }

    /// Runs every check.
    pub(super) async fn run(&self) -> Seen {
        let budget = Budget::new(self.limits);
        let mut seen = Seen::default();
        let (name, ips) = self.resolve(&budget).await;
        seen.name = name;
        let endpoint = &self.request.endpoint;
        let addresses: Vec<SocketAddr> = ips
            .into_iter()
            .take(self.limits.addresses)
            .map(|ip| SocketAddr::new(ip, endpoint.port))
            .collect();
        let Some(first) = addresses.first().copied() else {
            self.skip_rest("the name has no address");
            return seen;
        };
        seen.connects = self.connect(&budget, addresses).await;
        let reached = seen
            .connects
            .iter()
            .find(|(_, result)| result.is_ok())
            .map(|(to, _)| *to);
        let tls = Tls::new();
        if let Some(to) = reached
            && self.wants_tls()
        {
            seen.tls = Some(self.tls(&budget, &tls, to).await);
        }
        let Some(protocol) = self.protocol() else {
            seen.not_otlp = true;
            self.skip_rest("not OTLP: a check sends nothing in other protocols");
            return seen;
        };
        let exports = Exports {
            plan: self,
            budget: &budget,
            tls: &tls,
            protocol,
            signal: self.request.signal.unwrap_or(Signal::Traces),
        };
        match reached {
            Some(to) => exports.there(to, &mut seen).await,
            None => exports.elsewhere(first.ip(), &mut seen).await,
        }
        seen
    }

    /// Whether TLS is configured, or the port says so.
    fn wants_tls(&self) -> bool {
        let endpoint = &self.request.endpoint;
        endpoint.tls.unwrap_or(endpoint.port == HTTPS)
    }

    /// The configured protocol; `None` when it is not OTLP.
    fn protocol(&self) -> Option<Protocol> {
        let endpoint = &self.request.endpoint;
        match endpoint.transport {
            Transport::Grpc => Some(Protocol::Grpc),
            Transport::HttpProtobuf => Some(Protocol::HttpProtobuf),
            Transport::HttpJson => Some(Protocol::HttpJson),
            Transport::Unknown if endpoint.port == DEFAULT[0] => Some(Protocol::Grpc),
            Transport::Unknown => Some(Protocol::HttpProtobuf),
            Transport::Other(_) => None,
        }
    }

    fn skip_rest(&self, why: &str) {
        let step = self.protocol().map_or(Step::ExportHttpProtobuf, Protocol::step);
        let target = self.request.endpoint.to_string();
        self.tell(step, &target, Outcome::Skipped, why, Duration::ZERO);
    }

    async fn resolve(&self, budget: &Budget) -> (Name, Vec<IpAddr>) {
        let name = match &self.request.endpoint.host {
            Host::Ip(ip) => {
                let target = ip.to_string();
                let why = "a literal address";
                self.tell(
                    Step::ResolveAsConfigured,
                    &target,
                    Outcome::Skipped,
                    why,
                    Duration::ZERO,
                );
                return (Name::Literal, vec![*ip]);
            }
            Host::Name(name) => name,
        };
        let began = Instant::now();
        let configured = resolve::as_configured(budget, self.files, name).await;
        let took = began.elapsed();
        let step = Step::ResolveAsConfigured;
        match configured {
            Ok(found) => {
                let text = found_text(&found);
                self.tell(step, name, Outcome::Ok, &text, took);
                self.fully_qualified_is_known(name, &found);
                (Name::AsConfigured, found.ips)
            }
            Err(not_found) => {
                self.tell(step, name, Outcome::Failed, &not_found.text(), took);
                self.fully_qualified(budget, name, not_found).await
            }
        }
    }

    /// A name that resolves has its full name already: nothing is asked again.
    fn fully_qualified_is_known(&self, name: &str, found: &Resolved) {
        let step = Step::ResolveFullyQualified;
        let Some(full) = &found.full else {
            let why = "/etc/hosts of the pod has the name";
            self.tell(step, name, Outcome::Skipped, why, Duration::ZERO);
            return;
        };
        let text = match found.in_vain {
            0 => "answers at once".to_owned(),
            1 => "answers, after 1 other name of the search was asked for".to_owned(),
            more => format!("answers, after {more} other names of the search were asked for"),
        };
        self.tell(step, &format!("{full}."), Outcome::Ok, &text, Duration::ZERO);
    }

    async fn fully_qualified(&self, budget: &Budget, name: &str, not_found: NotFound) -> (Name, Vec<IpAddr>) {
        let step = Step::ResolveFullyQualified;
        let target = format!("{name}.");
        if !not_found.answered() {
            let why = "no name server answers";
            self.tell(step, &target, Outcome::Skipped, why, Duration::ZERO);
            return (Name::Not(not_found), Vec::new());
        }
        let began = Instant::now();
        let namespace = self.request.namespace.as_deref();
        let found = resolve::fully_qualified(budget, self.files, name, namespace).await;
        let took = began.elapsed();
        match found {
            Ok(found) => {
                let full = found.full.as_deref().unwrap_or(name);
                self.tell(step, &format!("{full}."), Outcome::Ok, &found_text(&found), took);
                let ips = found.ips.clone();
                (Name::OnlyAs(found), ips)
            }
            Err(also_not) if also_not.0.is_empty() => {
                let why = "every full name was among those asked for";
                self.tell(step, &target, Outcome::Skipped, why, took);
                (Name::Not(not_found), Vec::new())
            }
            Err(also_not) => {
                self.tell(step, &target, Outcome::Failed, &also_not.text(), took);
                (Name::Not(not_found), Vec::new())
            }
        }
    }

    /// Connects to every address at once, and closes again.
    async fn connect(
        &self,
        budget: &Budget,
        addresses: Vec<SocketAddr>,
    ) -> Vec<(SocketAddr, Result<(), Refused>)> {
        let mut connects = Vec::with_capacity(addresses.len());
        let mut attempts = JoinSet::new();
        for (at, to) in addresses.into_iter().enumerate() {
            match budget.connection() {
                Ok(()) => {
                    let wait = self.limits.connect;
                    attempts.spawn(async move {
                        let began = Instant::now();
                        let result = timeout(wait, tokio::net::TcpStream::connect(to)).await;
                        (at, result.map(|stream| stream.map(drop)), began.elapsed())
                    });
                    connects.push((to, None));
                }
                Err(spent) => connects.push((to, Some((Err(Refused::NotTried(spent)), Duration::ZERO)))),
            }
        }
        let all = async {
            while let Some(done) = attempts.join_next().await {
                if let Ok((at, result, took)) = done
                    && let Some((_, slot)) = connects.get_mut(at)
                {
                    *slot = Some((wire::outcome(result, self.limits.connect), took));
                }
            }
        };
        // A little longer than each may take: the end of all time is what this waits for.
        let spent = budget.within(self.limits.connect * 2, all).await.err();
        connects
            .into_iter()
            .map(|(to, result)| {
                let (result, took) = result.unwrap_or_else(|| {
                    let spent = spent.unwrap_or(super::budget::Spent::Total(self.limits.total));
                    (Err(Refused::NotTried(spent)), Duration::ZERO)
                });
                let target = to.to_string();
                match &result {
                    Ok(()) => self.tell(Step::Connect, &target, Outcome::Ok, "connected", took),
                    Err(refused @ Refused::NotTried(_)) => {
                        self.tell(Step::Connect, &target, Outcome::Skipped, &refused.text(), took);
                    }
                    Err(refused) => {
                        self.tell(Step::Connect, &target, Outcome::Failed, &refused.text(), took);
                    }
                }
                (to, result)
            })
            .collect()
    }

    async fn tls(&self, budget: &Budget, tls: &Tls, to: SocketAddr) -> Result<Handshake, NoTls> {
        let began = Instant::now();
        let host = &self.request.endpoint.host;
        let result = match wire::connect(budget, to).await {
            Ok(stream) => tls
                .handshake(budget, stream, host, &["h2", "http/1.1"])
                .await
                .map(|(handshake, _)| handshake),
            Err(refused) => Err(NoTls::Failed {
                text: refused.text(),
                wants_client_certificate: false,
            }),
        };
        let (outcome, detail) = match &result {
            Ok(handshake) => describe(handshake),
            Err(why) => (Outcome::Failed, why.text()),
        };
        let target = format!("{host}:{} at {to}", to.port());
        self.tell(Step::Tls, &target, outcome, &detail, began.elapsed());
        result
    }
}

/// Who has the name.
fn found_text(found: &Resolved) -> String {
    let ips: Vec<String> = found.ips.iter().take(8).map(ToString::to_string).collect();
    let more = if found.ips.len() > ips.len() { ", ..." } else { "" };
    match &found.full {
        Some(full) => format!("{}{more} as {full}", ips.join(", ")),
        None => format!("{}{more} in /etc/hosts of the pod", ips.join(", ")),
    }
}

fn describe(handshake: &Handshake) -> (Outcome, String) {
    let alpn = handshake.alpn.as_deref().unwrap_or("none");
    let (outcome, trust) = match &handshake.trust {
        Trust::Good => (Outcome::Ok, "which this node trusts".to_owned()),
        Trust::NoRoots => (
            Outcome::Ok,
            "not checked: this system has no trusted certificates".to_owned(),
        ),
        Trust::Bad(_, why) => (Outcome::Failed, format!("which this node does not accept: {why}")),
    };
    let client = if handshake.wants_client_certificate {
        "; the server asks for a client certificate"
    } else {
        ""
    };
    let text = format!(
        "{}, ALPN {alpn}; {}, {trust}{client}",
        handshake.version, handshake.certificate
    );
    (outcome, text)
}

/// The exports of a plan.
struct Exports<'a, T> {
    plan: &'a Plan<'a, T>,
    budget: &'a Budget,
    tls: &'a Tls,
    protocol: Protocol,
    signal: Signal,
}

impl<T: Fn(Check)> Exports<'_, T> {
    /// The configured protocol, with the path as configured.
    fn configured(&self, tls: bool) -> Way {
        let endpoint = &self.plan.request.endpoint;
        let mut way = Way::new(self.protocol, tls, endpoint.port, self.signal);
        if self.protocol != Protocol::Grpc
            && let Some(path) = &endpoint.path
            // A key in it is not kept: what is asked without it is the protocol's own path.
            && !path.split('/').any(|segment| segment == crate::model::path::KEY)
        {
            way.path = path.to_string();
        }
        way
    }

    fn other(&self, tls: bool) -> Way {
        Way::new(
            self.protocol.other(),
            tls,
            self.plan.request.endpoint.port,
            self.signal,
        )
    }

    async fn send(&self, to: SocketAddr, way: Way, seen: &mut Seen) {
        let began = Instant::now();
        let host = &self.plan.request.endpoint.host;
        let answer = export::export(self.budget, self.tls, host, to, &way).await;
        let outcome = if answer.arrives() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        let target = format!("{} at {to}", way.url(host));
        self.plan.tell(
            way.protocol.step(),
            &target,
            outcome,
            &answer.text(),
            began.elapsed(),
        );
        seen.exports.push((way, answer));
    }

    /// At the configured port: both protocols; with the other encryption when neither was understood; at the default path
    /// when the configured one is refused; at the other default port when the configured protocol is not spoken here.
    async fn there(&self, to: SocketAddr, seen: &mut Seen) {
        let tls = self.plan.wants_tls();
        let configured = self.configured(tls);
        let path = Way::new(self.protocol, tls, to.port(), self.signal).path;
        let elsewhere = configured.path != path;
        self.send(to, configured, seen).await;
        self.send(to, self.other(tls), seen).await;
        if !seen.exports.iter().any(|(_, answer)| answer.understood()) {
            self.send(to, self.configured(!tls), seen).await;
            if !seen.exports.iter().any(|(_, answer)| answer.understood()) {
                self.send(to, self.other(!tls), seen).await;
            }
        }
        let refused = seen
            .exports
            .iter()
            .find(|(way, _)| way.protocol == self.protocol)
            .is_some_and(|(_, answer)| matches!(answer, Answer::Refused { wrong_path: true, .. }));
        if refused && elsewhere {
            self.send(to, Way::new(self.protocol, tls, to.port(), self.signal), seen)
                .await;
        }
        let spoken = seen
            .exports
            .iter()
            .any(|(way, answer)| way.protocol == self.protocol && answer.understood());
        if !spoken && let Some(port) = other_default(to.port()) {
            // As it is encrypted here, if that is known.
            let tls = seen
                .exports
                .iter()
                .find(|(_, answer)| answer.understood())
                .map_or(tls, |(way, _)| way.tls);
            let way = Way::new(self.protocol, tls, port, self.signal);
            self.send(SocketAddr::new(to.ip(), port), way, seen).await;
        }
    }

    /// Nobody answers at the configured port: is there somebody at the other default one?
    async fn elsewhere(&self, ip: IpAddr, seen: &mut Seen) {
        let Some(port) = other_default(self.plan.request.endpoint.port) else {
            self.plan.skip_rest("nobody takes connections");
            return;
        };
        let to = SocketAddr::new(ip, port);
        let began = Instant::now();
        match wire::connect(self.budget, to).await {
            Ok(_) => {
                let tls = self.plan.wants_tls();
                self.plan.tell(
                    Step::Connect,
                    &to.to_string(),
                    Outcome::Ok,
                    "connected",
                    began.elapsed(),
                );
                self.send(to, Way::new(self.protocol, tls, port, self.signal), seen)
                    .await;
                self.send(to, Way::new(self.protocol.other(), tls, port, self.signal), seen)
                    .await;
            }
            Err(refused) => {
                let outcome = match refused {
                    Refused::NotTried(_) => Outcome::Skipped,
                    _ => Outcome::Failed,
                };
                self.plan.tell(
                    Step::Connect,
                    &to.to_string(),
                    outcome,
                    &refused.text(),
                    began.elapsed(),
                );
                self.plan.skip_rest("nobody takes connections");
            }
        }
    }
}

/// The other one of OTLP's two default ports.
fn other_default(port: u16) -> Option<u16> {
    match DEFAULT {
        [grpc, http] if port == grpc => Some(http),
        [grpc, http] if port == http => Some(grpc),
        _ => None,
    }
}
