"""A Flask service as people run it: `opentelemetry-instrument gunicorn --workers 2 service:app`. Not a word of
OpenTelemetry in it; spans, metrics and logs come from the instrumentation, configured by OTEL_* alone."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    app.logger.warning("a visitor")
    return "hello\n"
