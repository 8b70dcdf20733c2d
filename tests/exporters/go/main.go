// image-gallery serves requests. Its build information names OpenTelemetry's exporters, OTEL_* tell it where to export
// to, it says that they are initialized, and, with "forgets" as its argument, it never exports anything.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	metrics "go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	traces "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
)

func main() {
	interval, err := strconv.Atoi(os.Getenv("OTEL_METRIC_EXPORT_INTERVAL"))
	if err != nil {
		interval = 60_000
	}
	endpoints := []string{
		endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.Endpoint),
		endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", metrics.Endpoint),
	}
	if !(len(os.Args) > 1 && os.Args[1] == "forgets") {
		go export(endpoints, time.Duration(interval)*time.Millisecond)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "a picture")
	})
	go func() {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(":8080", nil))
		os.Exit(1)
	}()
	fmt.Println(`{"ready": true, "message": "OpenTelemetry provider initialized"}`)
	// Ends with its standard input.
	io.Copy(io.Discard, os.Stdin)
}

func endpoint(variable, otherwise string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return otherwise
}

// export posts a request without anything in it, which is a message of protobuf of no bytes, once an interval.
func export(endpoints []string, interval time.Duration) {
	client := http.Client{Timeout: 10 * time.Second}
	for range time.Tick(interval) {
		for _, endpoint := range endpoints {
			answer, err := client.Post(endpoint, "application/x-protobuf", bytes.NewReader(nil))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				continue
			}
			// Read to its end, or the connection is not used again.
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	}
}
