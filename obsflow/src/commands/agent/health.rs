//! `/healthz` and `/readyz`, for whoever starts and restarts agents.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

/// How old the last turn of the pipeline may be.
const STUCK: Duration = Duration::from_secs(10);

/// [`Pulse`]'s value before the hooks are attached.
const STARTING: u64 = 0;
/// [`Pulse`]'s value when the agent ends.
const ENDING: u64 = u64::MAX;

/// Whether the pipeline turns: written by its thread, read by the one that serves.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// When the pipeline turned last, in milliseconds since `origin`, plus 1.
    last: AtomicU64,
}

/// What to say, and whether it is good.
type Said = (StatusCode, String);

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            last: AtomicU64::new(STARTING),
        }
    }

    /// The pipeline turned.
    pub(super) fn beat(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// It will not turn again.
    pub(super) fn end(&self) {
        self.last.store(ENDING, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).map_or(ENDING - 1, |ms| ms + 1)
    }

    /// Whether there is no reason to restart it. One that starts or ends is left alone.
    fn health(&self, now: u64) -> Said {
        match self.last.load(Ordering::Relaxed) {
            STARTING => (StatusCode::OK, "starting".to_owned()),
            ENDING => (StatusCode::OK, "ending".to_owned()),
            last => self.turned(now, last),
        }
    }

    /// Whether it watches and answers.
    fn readiness(&self, now: u64) -> Said {
        match self.last.load(Ordering::Relaxed) {
            STARTING => (StatusCode::SERVICE_UNAVAILABLE, "attaching hooks".to_owned()),
            ENDING => (StatusCode::SERVICE_UNAVAILABLE, "ending".to_owned()),
            last => self.turned(now, last),
        }
    }

    fn turned(&self, now: u64, last: u64) -> Said {
        let ago = Duration::from_millis(now.saturating_sub(last));
        if ago > STUCK {
            let said = format!("the pipeline turned {} s ago", ago.as_secs());
            return (StatusCode::SERVICE_UNAVAILABLE, said);
        }
        (StatusCode::OK, "ok".to_owned())
    }
}

/// A socket that will serve.
#[derive(Debug)]
pub(super) struct Health {
    listener: TcpListener,
    address: SocketAddr,
}

impl Health {
    pub(super) fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok::<_, std::io::Error>(Self { listener, address })
        };
        bind().with_context(|| {
            format!("cannot serve /healthz at {address}; choose another with --health, or --health off")
        })
    }

    /// Where, with the port that the kernel chose if that was left to it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub(super) async fn serve(self, pulse: Arc<Pulse>) -> std::io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(pulse);
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        axum::serve(listener, router).await
    }
}

async fn healthz(State(pulse): State<Arc<Pulse>>) -> (StatusCode, String) {
    pulse.health(pulse.now())
}

async fn readyz(State(pulse): State<Arc<Pulse>>) -> (StatusCode, String) {
    pulse.readiness(pulse.now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_that_stands_still_is_said() {
        let pulse = Pulse::new();
        let codes = |pulse: &Pulse, now| (pulse.health(now).0.as_u16(), pulse.readiness(now).0.as_u16());
        assert_eq!(codes(&pulse, 60_000), (200, 503));
        pulse.beat();
        let beat = pulse.last.load(Ordering::Relaxed);
        assert_eq!(codes(&pulse, beat), (200, 200));
        assert_eq!(codes(&pulse, beat + 10_000), (200, 200));
        assert_eq!(codes(&pulse, beat + 11_000), (503, 503));
        assert_eq!(pulse.health(beat + 11_000).1, "the pipeline turned 11 s ago");
        pulse.end();
        assert_eq!(codes(&pulse, beat), (200, 503));
    }

    #[test]
    fn an_address_that_is_taken_is_said() {
        let first = Health::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = Health::bind(first.address()).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("choose another with --health"), "{said}");
        assert!(said.contains("in use"), "{said}");
    }
}
