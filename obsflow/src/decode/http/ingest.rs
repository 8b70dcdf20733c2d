//! Which paths telemetry is sent to.

use std::borrow::Cow;

use crate::model::exchange::{Dialect, Ingest, Signal};
use crate::model::path::without_keys;

/// How much of a path an entry of [`PATHS`] is about.
#[derive(Clone, Copy)]
enum Place {
    /// The end: products serve a protocol's path below one of their own, and a base URL that already has the path
    /// doubles it (`/v1/traces/v1/traces`).
    End,
    /// The whole path.
    Whole,
    /// The beginning.
    Begin,
}

use Dialect::{Faro, Jaeger, Loki, Otlp, Pyroscope, RemoteWrite, Splunk, Victoria, Zipkin};
use Place::{Begin, End, Whole};
use Signal::{Logs, Metrics, Profiles, Traces};

/// Paths, the first that fits wins.
///
/// Sources: the OTLP specification 1.9 (HTTP paths and gRPC services); Prometheus' remote-write specification, Mimir's,
/// Cortex' and Thanos' HTTP API; Loki's HTTP API; VictoriaMetrics', VictoriaLogs' and VictoriaTraces' documentation of
/// data ingestion; Zipkin's API v1 and v2; Jaeger's collector API; the Faro receiver; Pyroscope's server API; Splunk's
/// HTTP Event Collector and SignalFx ingest endpoints.
const PATHS: &[(Place, &str, Dialect, Option<Signal>)] = &[
    (End, "/v1/traces", Otlp, Some(Traces)),
    (End, "/v1/metrics", Otlp, Some(Metrics)),
    (End, "/v1/logs", Otlp, Some(Logs)),
    (End, "/v1development/profiles", Otlp, Some(Profiles)),
    (End, "/opentelemetry/api/v1/push", Otlp, Some(Metrics)),
    (Begin, "/opentelemetry.proto.collector.trace.", Otlp, Some(Traces)),
    (
        Begin,
        "/opentelemetry.proto.collector.metrics.",
        Otlp,
        Some(Metrics),
    ),
    (Begin, "/opentelemetry.proto.collector.logs.", Otlp, Some(Logs)),
    (
        Begin,
        "/opentelemetry.proto.collector.profiles.",
        Otlp,
        Some(Profiles),
    ),
    (End, "/loki/api/v1/push", Loki, Some(Logs)),
    (Whole, "/logproto.Pusher/Push", Loki, Some(Logs)),
    (End, "/api/v1/write", RemoteWrite, Some(Metrics)),
    (End, "/api/v1/push", RemoteWrite, Some(Metrics)),
    (End, "/api/prom/push", RemoteWrite, Some(Metrics)),
    (End, "/api/v1/receive", RemoteWrite, Some(Metrics)),
    (End, "/api/v2/spans", Zipkin, Some(Traces)),
    (End, "/api/v1/spans", Zipkin, Some(Traces)),
    (End, "/api/traces", Jaeger, Some(Traces)),
    (
        Whole,
        "/jaeger.api_v2.CollectorService/PostSpans",
        Jaeger,
        Some(Traces),
    ),
    (Whole, "/push.v1.PusherService/Push", Pyroscope, Some(Profiles)),
    (End, "/ingest", Pyroscope, Some(Profiles)),
    (Whole, "/collect", Faro, None),
    (Begin, "/collect/", Faro, None),
    (Begin, "/services/collector", Splunk, None),
    (End, "/v2/datapoint", Splunk, Some(Metrics)),
    (End, "/v2/trace", Splunk, Some(Traces)),
    (Begin, "/api/v1/import", Victoria, Some(Metrics)),
    (Begin, "/prometheus/api/v1/import", Victoria, Some(Metrics)),
];

/// What a request's path is for; `None` when it is no telemetry that is known.
pub(super) fn ingest(method: Option<&str>, path: &str) -> Option<Ingest> {
    // Reading is no ingest: Jaeger's and Tempo's queries have the paths of ingest too. Nor is a check of health.
    if method.is_some_and(|method| !matches!(method, "POST" | "PUT" | "PATCH"))
        || path.starts_with("/services/collector/health")
    {
        return None;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let fits = |(place, pattern, _, _): &&(Place, &str, Dialect, Option<Signal>)| match place {
        End => path.ends_with(pattern),
        Whole => path == *pattern,
        Begin => path.starts_with(pattern),
    };
    if let Some((_, _, dialect, signal)) = PATHS.iter().find(fits) {
        return Some(Ingest {
            dialect: *dialect,
            signal: *signal,
        });
    }
    // VictoriaMetrics' cluster names a tenant behind /insert/, VictoriaLogs a protocol.
    let below = path.strip_prefix("/insert/")?;
    Some(Ingest {
        dialect: Victoria,
        signal: Some(if below.starts_with(|c: char| c.is_ascii_digit()) {
            Metrics
        } else {
            Logs
        }),
    })
}

/// What is kept of a path: Faro's collector has the application's key in it, others a token.
pub(super) fn without_key(path: &str) -> Cow<'_, str> {
    if path.starts_with("/collect/") {
        Cow::Borrowed("/collect")
    } else {
        without_keys(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(Dialect, Option<Signal>)> {
        ingest(Some("POST"), path).map(|i| (i.dialect, i.signal))
    }

    #[test]
    fn paths_tell() {
        let table = [
            ("/v1/traces", Otlp, Some(Traces)),
            ("/v1/traces/", Otlp, Some(Traces)),
            ("/v1/traces/v1/traces", Otlp, Some(Traces)),
            ("/otlp/v1/logs", Otlp, Some(Logs)),
            ("/v1development/profiles", Otlp, Some(Profiles)),
            ("/opentelemetry/v1/metrics", Otlp, Some(Metrics)),
            ("/opentelemetry/api/v1/push", Otlp, Some(Metrics)),
            ("/insert/opentelemetry/v1/traces", Otlp, Some(Traces)),
            (
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                Otlp,
                Some(Traces),
            ),
            (
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                Otlp,
                Some(Metrics),
            ),
            (
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                Otlp,
                Some(Logs),
            ),
            (
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
                Otlp,
                Some(Profiles),
            ),
            ("/api/v1/import/prometheus", Victoria, Some(Metrics)),
            ("/insert/jsonline", Victoria, Some(Logs)),
            ("/insert/elasticsearch/_bulk", Victoria, Some(Logs)),
            ("/insert/0/prometheus/api/v1/import", Victoria, Some(Metrics)),
            ("/insert/0/prometheus/api/v1/write", RemoteWrite, Some(Metrics)),
            ("/insert/loki/api/v1/push", Loki, Some(Logs)),
            ("/loki/api/v1/push", Loki, Some(Logs)),
            ("/api/v1/write", RemoteWrite, Some(Metrics)),
            ("/api/v1/push", RemoteWrite, Some(Metrics)),
            ("/api/prom/push", RemoteWrite, Some(Metrics)),
            ("/collect", Faro, None),
            ("/collect/0123456789abcdef", Faro, None),
            ("/api/v2/spans", Zipkin, Some(Traces)),
            ("/api/v1/spans", Zipkin, Some(Traces)),
            ("/api/traces", Jaeger, Some(Traces)),
            ("/jaeger.api_v2.CollectorService/PostSpans", Jaeger, Some(Traces)),
            ("/ingest", Pyroscope, Some(Profiles)),
            ("/push.v1.PusherService/Push", Pyroscope, Some(Profiles)),
            ("/services/collector/event", Splunk, None),
            ("/v2/datapoint", Splunk, Some(Metrics)),
            ("/v2/trace", Splunk, Some(Traces)),
        ];
        for (path, dialect, signal) in table {
            assert_eq!(of(path), Some((dialect, signal)), "{path}");
        }
    }

    #[test]
    fn other_paths_and_readers_are_no_ingest() {
        for path in [
            "/",
            "/api/v1/query",
            "/grpc.health.v1.Health/Check",
            "/v1/tracesx",
            "/collector",
            "/services/collector/health/1.0",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(ingest(Some("GET"), "/api/traces"), None);
        assert!(ingest(None, "/v1/traces").is_some());
    }

    #[test]
    fn an_applications_key_is_cut_off() {
        assert_eq!(without_key("/collect/0123456789abcdef"), "/collect");
        assert_eq!(without_key("/v1/traces"), "/v1/traces");
        let token = "/receiver/v1/otlp/ZaVnC4dhaV1GcMkZ0bRNmWkZm9ARbxy3/v1/traces";
        assert_eq!(without_key(token), "/receiver/v1/otlp/~key/v1/traces");
    }
}
