//! The thread that serves: one, with a runtime of its own. The pipeline stays on the main thread and hears nothing of it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("making a runtime to serve with")?;
        let published = Arc::clone(&publisher);
        let work = move || {
            let served = runtime.block_on(serve(listeners, health, metrics, &published, pulse));
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
        })
    }

    /// Delivers what was published, closes everything and removes the sockets.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.publisher.end();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(served)) => served,
            Some(Err(_)) => Err(anyhow!("the thread that serves panicked")),
            None => Ok(()),
        }
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
    health: Option<Health>,
    metrics: Option<MetricsServer>,
    publisher: &Publisher,
    pulse: Arc<Pulse>,
) -> anyhow::Result<()> {
    if let Some(health) = health {
        // Ends with the runtime.
        tokio::spawn(async move {
            if let Err(error) = health.serve(pulse).await {
                tracing::error!("/healthz and /readyz are served no more: {error}");
            }
        });
    }
    if let Some(metrics) = metrics {
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
