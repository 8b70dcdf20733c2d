// Package traces stands for OpenTelemetry's exporter of traces over HTTP.
package traces

// Endpoint is where it exports to when nothing is configured.
const Endpoint = "http://localhost:4318/v1/traces"
