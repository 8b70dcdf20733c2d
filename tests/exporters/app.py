"""An application with OpenTelemetry for Python, configured by OTEL_* alone, as in a real pod.

Under `opentelemetry-instrument` the SDK is set up by that; started plainly, this sets it up by hand, as most
applications do, and says what became of each export: {"export": "ok", "signal": "traces", "ms": 3}.

It does what its standard input says, line by line:

    work MS [SIGNAL...]   a span, a count and a log record every MS milliseconds (or only some of traces, metrics, logs)
    rest                  nothing more
    instruments           makes an instrument, and records nothing
    shutdown              shuts the SDK down; the process goes on

and ends with it. It prints {"ready": true} once it listens, and {"done": "LINE"} for each line.
"""

import json
import logging
import os
import sys
import threading
import time

from opentelemetry import _logs, metrics, trace


def say(**what):
    # One write: several threads speak.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def told(exporter, signal):
    """Makes an exporter say what became of each export."""
    export = exporter.export

    def telling(*args, **kwargs):
        start = time.monotonic()
        result = export(*args, **kwargs)
        ms = round((time.monotonic() - start) * 1000)
        say(export="ok" if result.name == "SUCCESS" else "failed", signal=signal, ms=ms)
        return result

    exporter.export = telling
    return exporter


def wanted(signal):
    return "otlp" in os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").split(",")


def set_up_by_hand():
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if wanted("traces"):
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(told(OTLPSpanExporter(), "traces")))
        trace.set_tracer_provider(provider)
    if wanted("metrics"):
        reader = PeriodicExportingMetricReader(told(OTLPMetricExporter(), "metrics"))
        metrics.set_meter_provider(MeterProvider([reader]))
    if wanted("logs"):
        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(told(OTLPLogExporter(), "logs")))
        _logs.set_logger_provider(provider)


class Worker:
    def __init__(self):
        self.tracer = trace.get_tracer("lab")
        self.logger = _logs.get_logger("lab")
        self.counter = None
        self.changed = threading.Condition()
        self.every = None
        self.signals = ()
        threading.Thread(target=self.run, daemon=True).start()

    def work(self, every, signals):
        with self.changed:
            self.every, self.signals = every, signals
            self.changed.notify()

    def run(self):
        while True:
            with self.changed:
                self.changed.wait(self.every)
                if self.every is None:
                    continue
                signals = self.signals
            self.unit(signals)

    def instruments(self):
        if self.counter is None:
            self.counter = metrics.get_meter("lab").create_counter("lab.units")
        return self.counter

    def unit(self, signals):
        if "metrics" in signals:
            self.instruments().add(1)
        if "traces" in signals:
            with self.tracer.start_as_current_span("unit"):
                pass
        if "logs" in signals:
            self.logger.emit(_logs.LogRecord(body="a unit of work", severity_text="INFO"))


def main():
    # Exporters explain their failures here; the lab reads it when a scenario fails.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    if "auto_instrumentation" not in os.environ.get("PYTHONPATH", ""):
        set_up_by_hand()
    worker = Worker()
    say(ready=True)
    for line in sys.stdin:
        match line.split():
            case ["work", every, *signals]:
                worker.work(int(every) / 1000, signals or ["traces", "metrics", "logs"])
            case ["rest"]:
                worker.work(None, ())
            case ["instruments"]:
                worker.instruments()
            case ["shutdown"]:
                for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
                    getattr(provider, "shutdown", lambda: None)()
            case words:
                sys.exit(f"what is {words}?")
        say(done=line.strip())
    # Like a process that is killed: what is queued is lost, and no export delays the end.
    os._exit(0)


main()
