//! Active checks of one exporter's destination, from inside its pod's network namespace.
//!
//! Everything else in obsflow only watches. This sends: a few DNS queries, TCP connections, a TLS handshake, and empty
//! OTLP exports, when a person asks for it. It sees what the pod would see - its network namespace, its `resolv.conf` and
//! `/etc/hosts` - and uses nothing else of the container: no program, no library, no credential, no certificate.
//!
//! What it sends is bounded ([`Limits`]), runs once at a time, and is marked: the thread is called
//! [`THREAD`], requests carry [`USER_AGENT`], and the process is obsflow's own.

mod budget;
mod conclude;
mod dns;
mod export;
mod hosts;
mod own;
mod plan;
mod pod;
mod process;
mod resolv_conf;
mod resolve;
mod tls;
mod wire;

pub use own::is_own;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::exchange::Signal;
use crate::model::expectation::Endpoint;
use crate::model::probe::{Check, Findings};

/// Name of the thread that checks; traces of its connections show it as the process's name.
pub const THREAD: &str = "obsflow-probe";

/// `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("obsflow-probe/", env!("CARGO_PKG_VERSION"));

/// Where processes are.
pub const PROC: &str = "/proc";

/// What to check.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where processes are, `/proc`.
    pub proc: PathBuf,
    /// A process of the container: its network namespace, and its root folder for `/etc/resolv.conf` and `/etc/hosts`.
    pub pid: u32,
    /// Where the container exports to.
    pub endpoint: Endpoint,
    /// Which signal an empty export is of; traces when it is not known.
    pub signal: Option<Signal>,
    /// The pod's Kubernetes namespace: it completes the name of a Service.
    pub namespace: Option<Arc<str>>,
    /// The proxy that the exporter goes through, `host:port`. Checks go past it, and say so.
    pub proxy: Option<Arc<str>>,
}

/// How much a check may send, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All of it.
    pub total: Duration,
    /// Everything that is asked of name servers for one name.
    pub resolve: Duration,
    /// One query to one name server.
    pub query: Duration,
    /// One TCP connection.
    pub connect: Duration,
    /// One TLS handshake, and one request with its answer.
    pub exchange: Duration,
    /// Addresses that are connected to.
    pub addresses: usize,
    /// TCP connections to destinations.
    pub connections: u32,
    /// Names that are asked for, each in both families.
    pub names: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(15),
            resolve: Duration::from_secs(5),
            query: Duration::from_millis(1500),
            connect: Duration::from_secs(3),
            exchange: Duration::from_secs(3),
            addresses: 4,
            connections: 12,
            names: 16,
        }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is nothing to check, or nowhere to check it from.
    #[error("{0}")]
    NoTarget(&'static str),
    /// Checks run one after the other.
    #[error("another check runs on this node: try again when it is done")]
    Busy,
    /// The process is gone, or may not be looked at.
    #[error("cannot look into process {pid} ({what}): {source}; checks need root and a container that runs")]
    Process {
        /// The process.
        pid: u32,
        /// What of it.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// `setns(2)` failed.
    #[error("entering the network namespace of process {pid} (needs CAP_SYS_ADMIN): {source}")]
    Enter {
        /// The process.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// No thread or no event loop.
    #[error("starting a thread for checks: {0}")]
    Start(std::io::Error),
    /// It should have ended long ago: something of the container does not answer, as a file that nobody serves.
    #[error("the check did not end in {0:?}: a file or a device of the container does not answer")]
    Stuck(Duration),
}

/// Only one at a time: held by the thread that checks, even when nobody waits for it any more.
static RUNNING: AtomicBool = AtomicBool::new(false);

struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!RUNNING.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Release);
    }
}

/// Checks a destination and waits for the end; `on` hears of each check when it is done.
///
/// # Errors
/// When another check runs, the process is gone, or its namespace cannot be entered.
pub fn run(request: &Request, limits: &Limits, mut on: impl FnMut(&Check)) -> Result<Findings, ProbeError> {
    /// Beyond the limit on everything: opening files, and the last answer on its way here.
    const GRACE: Duration = Duration::from_secs(2);
    let turn = Turn::take().ok_or(ProbeError::Busy)?;
    let (tell, told) = mpsc::channel();
    let deadline = Instant::now() + limits.total + GRACE;
    let (request, limits) = (request.clone(), *limits);
    // A thread of its own, which ends with this: it changes its namespace and must never do anything else.
    thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || {
            let result = inside(&request, &limits, &tell);
            drop(turn);
            // Nobody listens when this came too late.
            let _ = tell.send(Told::End(result));
        })
        .map_err(ProbeError::Start)?;
    let mut checks = Vec::new();
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Told::Check(check)) => {
                on(&check);
                checks.push(check);
            }
            Ok(Told::End(result)) => {
                let conclusion = result?;
                return Ok(Findings {
                    checks,
                    works: conclusion.works,
                    conclusion: conclusion.says,
                });
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(ProbeError::Stuck(limits.total + GRACE));
            }
        }
    }
}

/// What the thread tells.
enum Told {
    Check(Check),
    End(Result<conclude::Conclusion, ProbeError>),
}

/// Everything that happens on the thread.
fn inside(
    request: &Request,
    limits: &Limits,
    tell: &mpsc::Sender<Told>,
) -> Result<conclude::Conclusion, ProbeError> {
    let pod = pod::Pod::open(&request.proc, request.pid)?;
    let files = pod.files()?;
    pod.enter()?;
    // Made inside the namespace, with this thread alone: every socket is born there.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ProbeError::Start)?;
    let plan = plan::Plan::new(request, limits, &files, |check| {
        let _ = tell.send(Told::Check(check));
    });
    let seen = runtime.block_on(plan.run());
    // Connections that still close are cut: nothing of a check outlives it.
    runtime.shutdown_background();
    Ok(conclude::conclude(request, &seen))
}

#[cfg(test)]
mod tests;
