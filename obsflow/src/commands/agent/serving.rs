//! The thread that serves: one, with a runtime of its own, and one more for health. The pipeline stays on the main thread and hears nothing of it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::health::{Health, Pulse};
use super::metrics::MetricsServer;
use crate::api::{Listener, Publisher};
use crate::session::Stop;

/// Sockets that are served until this goes.
#[derive(Debug)]
pub(super) struct Serving {
    publisher: Arc<Publisher>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    health: Option<HealthThread>,
}

/// Health has a thread of its own: whoever restarts agents that do not answer must not wait behind those who read flows.
#[derive(Debug)]
struct HealthThread {
    thread: JoinHandle<()>,
    /// Ends it by going.
    _end: oneshot::Sender<()>,
}

impl HealthThread {
    fn start(health: Health, pulse: Arc<Pulse>) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let (end, ended) = oneshot::channel::<()>();
        let work = async move {
            tokio::select! {
                served = health.serve(pulse) => if let Err(error) = served {
                    tracing::error!("/healthz and /readyz are served no more: {error}");
                },
                _ = ended => {}
            }
        };
        let thread = thread::Builder::new()
            .name("obsflow-health".to_owned())
            .spawn(move || runtime.block_on(work))
            .context("starting a thread to serve health with")?;
        Ok(Self { thread, _end: end })
    }

    fn end(self) {
        let Self { thread, _end: end } = self;
        drop(end);
        if thread.join().is_err() {
            tracing::error!("the thread that serves health panicked");
        }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("making a runtime to serve with")
}

impl Serving {
    /// Serves what is published; `stop` is told when that fails.
    pub(super) fn start(
        listeners: Vec<Listener>,
        health: Option<Health>,
        metrics: Option<MetricsServer>,
        publisher: Arc<Publisher>,
        pulse: Arc<Pulse>,
        stop: Stop,
    ) -> anyhow::Result<Self> {
        let health = health
            .map(|health| HealthThread::start(health, pulse))
            .transpose()?;
        let runtime = runtime()?;
        let published = Arc::clone(&publisher);
        let work = move || {
            let served = runtime.block_on(serve(listeners, metrics, &published));
            if served.is_err() {
                stop.stop();
            }
            served
        };
        let thread = thread::Builder::new()
            .name("obsflow-api".to_owned())
            .spawn(work)
            .context("starting a thread to serve with")?;
        Ok(Self {
            publisher,
            thread: Some(thread),
            health,
        })
    }

    /// Delivers what was published, closes everything and removes the sockets.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.publisher.end();
        let served = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(served)) => served,
            Some(Err(_)) => Err(anyhow!("the thread that serves panicked")),
            None => Ok(()),
        };
        if let Some(health) = self.health.take() {
            health.end();
        }
        served
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!("{error:#}");
        }
    }
}

async fn serve(
    listeners: Vec<Listener>,
    metrics: Option<MetricsServer>,
    publisher: &Publisher,
) -> anyhow::Result<()> {
    if let Some(metrics) = metrics {
        // Ends with the runtime.
        tokio::spawn(async move {
            if let Err(error) = metrics.serve().await {
                tracing::error!("/metrics is served no more: {error}");
            }
        });
    }
    let mut servers = JoinSet::new();
    for listener in listeners {
        let server = publisher.server();
        servers.spawn(async move { server.serve(&listener).await });
    }
    while let Some(served) = servers.join_next().await {
        served.context("serving")??;
    }
    Ok(())
}
