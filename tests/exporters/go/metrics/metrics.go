// Package metrics stands for OpenTelemetry's exporter of metrics over HTTP.
package metrics

// Endpoint is where it exports to when nothing is configured.
const Endpoint = "http://localhost:4318/v1/metrics"
