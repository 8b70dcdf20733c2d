"""A real OpenTelemetry exporter for the lab, configured by OTEL_* alone.

usage: spans.py SPANS INTERVAL_MS

Exports one span after the other, each in a request of its own, and prints a JSON line for each:
{"export": "ok", "ms": 3} or {"export": "failed", "ms": 7012}. Then it waits until standard input closes, so that its
connection stays as long as the lab wants.
"""

import json
import os
import sys
import time

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


class Told(SpanExporter):
    """Says what became of each export."""

    def __init__(self, exporter):
        self.exporter = exporter

    def export(self, spans):
        start = time.monotonic()
        result = self.exporter.export(spans)
        took = round((time.monotonic() - start) * 1000)
        print(json.dumps({"export": "ok" if result is SpanExportResult.SUCCESS else "failed", "ms": took}), flush=True)
        return result

    def shutdown(self):
        self.exporter.shutdown()


def main():
    spans, interval = int(sys.argv[1]), int(sys.argv[2]) / 1000
    provider = TracerProvider(resource=Resource.create())
    provider.add_span_processor(SimpleSpanProcessor(Told(OTLPSpanExporter())))
    tracer = provider.get_tracer("lab")
    for number in range(spans):
        if number:
            time.sleep(interval)
        with tracer.start_as_current_span(f"span {number}"):
            pass
    sys.stdin.read()
    provider.shutdown()


main()
