//! `/metrics`, for Prometheus.

mod incoming;
mod pages;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::incoming::Incoming;
use self::pages::Pages;
use crate::api::Tls;
use crate::config;
use crate::sinks::metrics::{Format, Scraper};

/// Between two tries to have a port that somebody else has: an agent that ends may still hold it.
const AGAIN: Duration = Duration::from_secs(5);

/// Where metrics will be served, and what.
#[derive(Debug)]
pub(super) struct MetricsServer {
    config: config::Metrics,
    scraper: Scraper,
    listener: Option<TcpListener>,
}

impl MetricsServer {
    /// Takes the port. When it is taken that is said, and tried again later: nothing else depends on it.
    pub(super) fn bind(config: config::Metrics, scraper: Scraper) -> Self {
        let listener = bind(config.address)
            .map_err(|error| {
                tracing::warn!(
                    "cannot serve /metrics at {}: {error}; everything else goes on, and it is tried again every {} s; \
                     choose another address with --metrics, or --metrics off",
                    config.address,
                    AGAIN.as_secs()
                );
            })
            .ok();
        Self {
            config,
            scraper,
            listener,
        }
    }

    /// Serves for ever.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => loop {
                tokio::time::sleep(AGAIN).await;
                if let Ok(listener) = bind(self.config.address) {
                    break listener;
                }
            },
        };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(%address, scheme, "serving /metrics");
        let incoming = Incoming::new(listener, self.config.tls.map(Tls::new));
        axum::serve(incoming, router(Pages::new(self.scraper))).await
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(pages))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::accepted(&accept.join(","));
    match pages.page(format).await {
        Some(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "15")],
            "others read /metrics, and too slowly: there is no room for one more answer\n",
        )
            .into_response(),
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
