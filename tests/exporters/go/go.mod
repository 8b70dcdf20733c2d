// A service whose build information names OpenTelemetry's exporters, as that of any Go service with OpenTelemetry does.
//
// The modules are replaced by ones beside this file: their own code would need a module proxy at set-up, and
// what the lab looks at is the name in the build information, the environment and the wire.
module github.com/example/image-gallery

go 1.19

require (
	go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp v1.44.0
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.44.0
)

replace (
	go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp => ./metrics
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp => ./traces
)
