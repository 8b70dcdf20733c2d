//! Serves what the pipeline publishes. Readers never hold the pipeline up: it leaves the newest report in one place, from
//! where each of them takes it when it can.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http;
use tonic::{Request, Response, Status as Refusal};
use tonic_health::ServingStatus;

use super::calls::Arrivals;
use super::convert::{report_to, status_to};
use super::hubble::proto::observer::observer_server::ObserverServer;
use super::hubble::proto::peer::peer_server::PeerServer;
use super::hubble::{self, DESCRIPTORS, Observer, Peer};
use super::listener::{Listener, ServeError};
use super::v1::diagnosis_server::{Diagnosis, DiagnosisServer};
use super::{probe, v1};
use crate::model::Clock;
use crate::model::status::Status;
use crate::model::verdict::Report;

/// Streams served at a time: each may hold a report of its own in memory.
const MAX_WATCHERS: usize = 64;
/// Calls served at a time on one connection.
const MAX_CALLS: u32 = 32;
/// Longest request, in bytes: filters, of which nobody has that many.
const MAX_REQUEST: usize = 128 << 10;
/// Longest request about health or the API itself, in bytes: a name.
const MAX_NAME: usize = 4 << 10;
/// Largest headers of a request, in bytes.
const MAX_HEADERS: u32 = 16 << 10;
/// What the observer is called by those who ask for its health: by its own name, and by the one that the `hubble` command has for it.
const OBSERVERS: [&str; 2] = ["observer.Observer", "hubble.server.Observer"];
/// How long readers may take to take the last report, and to close.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a connection is asked whether the other side lives, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A report as it was published.
#[derive(Debug)]
struct Published {
    report: Arc<Report>,
    clock: Clock,
    /// Grows whenever a report says something new.
    revision: u64,
}

/// The newest of everything.
#[derive(Debug, Default)]
struct Newest {
    report: Option<Arc<Published>>,
    status: Option<Arc<Status>>,
    ending: bool,
}

/// Where the pipeline leaves what is to be served.
#[derive(Debug)]
pub struct Publisher {
    newest: watch::Sender<Newest>,
    node: Arc<str>,
    flows: Option<(Observer, Peer)>,
}

impl Publisher {
    /// For the node of this name.
    #[must_use]
    pub fn new(node: impl Into<Arc<str>>) -> Self {
        Self {
            newest: watch::Sender::default(),
            node: node.into(),
            flows: None,
        }
    }

    /// Serves flows, too, and says who else does.
    #[must_use]
    pub fn with_flows(mut self, observer: Observer, peer: Peer) -> Self {
        self.flows = Some((observer, peer));
        self
    }

    /// Replaces the report. Watchers hear of it when it says something new.
    pub fn report(&self, report: Arc<Report>, clock: Clock) {
        self.newest.send_if_modified(|newest| {
            let before = newest.report.as_deref();
            let is_new = before.is_none_or(|before| !says_the_same(&before.report, &report));
            let revision = before.map_or(0, |before| before.revision) + u64::from(is_new);
            newest.report = Some(Arc::new(Published {
                report,
                clock,
                revision,
            }));
            is_new
        });
    }

    /// Replaces the status.
    pub fn status(&self, status: Status) {
        self.newest
            .send_modify(|newest| newest.status = Some(Arc::new(status)));
    }

    /// There will be nothing more: streams end once they have delivered the last report, and servers stop.
    pub fn end(&self) {
        self.newest.send_modify(|newest| newest.ending = true);
    }

    /// What is served; one for each server, which has places of its own for readers.
    #[must_use]
    pub fn server(&self) -> Server {
        Server {
            newest: self.newest.subscribe(),
            node: Arc::clone(&self.node),
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            flows: self
                .flows
                .as_ref()
                .map(|(observer, peer)| (observer.for_others(), peer.for_others())),
        }
    }
}

/// Whether nothing but the time differs.
fn says_the_same(a: &Report, b: &Report) -> bool {
    let facts = |report: &Report| {
        (
            report.watching_since,
            report.events_lost,
            report.exports_forgotten,
        )
    };
    facts(a) == facts(b) && a.exports == b.exports && a.causes == b.causes && a.degraded == b.degraded
}

/// `obsflow.v1.Diagnosis`, and beside it what Hubble's clients ask.
#[derive(Clone, Debug)]
pub struct Server {
    newest: watch::Receiver<Newest>,
    node: Arc<str>,
    watchers: Arc<Semaphore>,
    flows: Option<(Observer, Peer)>,
}

impl Server {
    /// Serves on a socket until [`Publisher::end`], and then until every reader is gone, but no longer than two seconds.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, listener: &Listener) -> Result<(), ServeError> {
        let incoming = listener.incoming()?;
        let (ended, drained) = (self.ended(), self.ended());
        let (observer, peer) = self.flows.clone().unzip();
        let (reporter, health) = tonic_health::server::health_reporter();
        let observers = if observer.is_some() { &OBSERVERS[..] } else { &[] };
        for name in observers {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        let ended = async move {
            ended.await;
            for name in observers.iter().chain([&""]) {
                reporter.set_service_status(name, ServingStatus::NotServing).await;
            }
        };
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Both are made of what was compiled with the program.
        let new = reflection().build_v1().ok();
        let old = reflection().build_v1alpha().ok();
        let diagnosis = listener
            .is_for_known_people()
            .then(|| DiagnosisServer::new(self).max_decoding_message_size(MAX_REQUEST));
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_CALLS)
            .http2_keepalive_interval(Some(PING.0))
            .http2_keepalive_timeout(Some(PING.1))
            .http2_max_header_list_size(MAX_HEADERS)
            .layer(tower::util::MapResponseLayer::new(with_version))
            .layer(Arrivals::default())
            .add_service(health.max_decoding_message_size(MAX_NAME))
            .add_optional_service(new.map(|service| service.max_decoding_message_size(MAX_NAME)))
            .add_optional_service(old.map(|service| service.max_decoding_message_size(MAX_NAME)))
            .add_optional_service(
                observer.map(|observer| ObserverServer::new(observer).max_decoding_message_size(MAX_REQUEST)),
            )
            .add_optional_service(
                peer.map(|peer| PeerServer::new(peer).max_decoding_message_size(MAX_REQUEST)),
            )
            .add_optional_service(diagnosis)
            .serve_with_incoming_shutdown(incoming, ended);
        let drained = async move {
            drained.await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => served.map_err(|source| ServeError::Serve {
                address: listener.address().clone(),
                source,
            }),
            () = drained => Ok(()),
        }
    }

    /// The end of publishing.
    fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut newest = self.newest.clone();
        async move {
            // An error means that the publisher is gone, which is an end, too.
            let _ = newest.wait_for(|newest| newest.ending).await;
        }
    }

    /// What `of` takes out of the newest, as soon as it is there.
    async fn newest<T>(&self, of: impl Fn(&Newest) -> Option<T>) -> Result<T, Refusal> {
        let ended = || Refusal::unavailable("the agent ends");
        let mut newest = self.newest.clone();
        let found = newest
            .wait_for(|newest| newest.ending || of(newest).is_some())
            .await
            .map_err(|_| ended())?;
        of(&found).ok_or_else(ended)
    }

    fn message(&self, published: &Published) -> v1::Report {
        report_to(
            &published.report,
            published.clock,
            &self.node,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// Sends reports until the reader or the agent goes.
    async fn watch(self, reports: mpsc::Sender<Result<v1::Report, Refusal>>, _permit: OwnedSemaphorePermit) {
        let mut newest = self.newest.clone();
        let mut sent = None;
        loop {
            let (published, ending) = {
                let newest = newest.borrow_and_update();
                (newest.report.clone(), newest.ending)
            };
            if let Some(published) = published
                && sent != Some(published.revision)
            {
                sent = Some(published.revision);
                if reports.send(Ok(self.message(&published))).await.is_err() {
                    return;
                }
            }
            if ending {
                return;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = reports.closed() => return,
            }
        }
    }
}

/// Hubble's clients look at the version of whoever answers.
fn with_version(mut response: http::Response<tonic::body::Body>) -> http::Response<tonic::body::Body> {
    response.headers_mut().insert(
        hubble::VERSION_HEADER,
        http::HeaderValue::from_static(hubble::VERSION),
    );
    response
}

#[tonic::async_trait]
impl Diagnosis for Server {
    type WatchReportsStream = Pin<Box<dyn Stream<Item = Result<v1::Report, Refusal>> + Send>>;

    async fn get_report(&self, _: Request<v1::GetReportRequest>) -> Result<Response<v1::Report>, Refusal> {
        let published = self.newest(|newest| newest.report.clone()).await?;
        Ok(Response::new(self.message(&published)))
    }

    async fn watch_reports(
        &self,
        _: Request<v1::WatchReportsRequest>,
    ) -> Result<Response<Self::WatchReportsStream>, Refusal> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            Refusal::resource_exhausted(format!(
                "{MAX_WATCHERS} others watch already, and more are not served; end one of them"
            ))
        })?;
        let (reports, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().watch(reports, permit));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type ProbeStream = Pin<Box<dyn Stream<Item = Result<v1::ProbeEvent, Refusal>> + Send>>;

    async fn probe(
        &self,
        request: Request<v1::ProbeRequest>,
    ) -> Result<Response<Self::ProbeStream>, Refusal> {
        probe::permitted(&request)?;
        let published = self.newest(|newest| newest.report.clone()).await?;
        let id = request.into_inner().export;
        let export = published.report.exports.iter().find(|export| *export.id == id);
        let export = export.ok_or_else(|| {
            Refusal::not_found(format!(
                "there is no exporter {id:?} in the agent's report: it is gone, or never was"
            ))
        })?;
        Ok(Response::new(Box::pin(ReceiverStream::new(probe::start(
            export,
        )?))))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Refusal> {
        let status = self.newest(|newest| newest.status.clone()).await?;
        Ok(Response::new(status_to(&status)))
    }
}
