"""OpenTelemetry by the usual variables: what they ask for, what is refused, and what a collector gets."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from poolwise.errors import ConfigError
from poolwise.serving.telemetry import telemetry_of
from serving_process import serving

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
NO_COLLECTOR = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
NEEDED = "opentelemetry.exporter.otlp.proto.http"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_without_a_collector_nothing_is_sent_or_needed(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    assert telemetry_of(variables) == NO_COLLECTOR


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'poolwise\[otel\]'"):
        telemetry_of({ENDPOINT: "http://collector:4318"})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "protocol of OpenTelemetry is grpc; wanted http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"}, "http/json"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER is console; wanted otlp or none"),
    ],
)
def test_what_cannot_be_sent_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        telemetry_of({ENDPOINT: "http://collector:4318"} | variables)


def test_one_signal_can_have_a_collector_of_its_own() -> None:
    pytest.importorskip(NEEDED, reason="needs the extra otel: pip install 'poolwise[otel]'")
    found = telemetry_of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"})
    assert found == NO_COLLECTOR | {"auto_configure": True, "tracing": True}


@pytest.mark.slow
def test_a_collector_gets_spans_and_metrics_and_no_text(folder: Path) -> None:
    pytest.importorskip(NEEDED, reason="needs the extra otel: pip install 'poolwise[otel]'")
    got: dict[str, bytes] = {"/v1/traces": b"", "/v1/metrics": b""}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got[self.path] += self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    variables = {ENDPOINT: f"http://127.0.0.1:{collector.server_port}", "OTEL_SERVICE_NAME": "my-server"}
    variables |= {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    try:
        with serving(folder, POOLWISE_API_KEYS="secret-key", **variables) as server:
            body = {"model": "tiny", "input": "confidential words"}
            headers = {"Authorization": "Bearer secret-key"}
            assert httpx.post(f"{server.url}/v1/embeddings", json=body, headers=headers, timeout=60).status_code == 200
            deadline = time.monotonic() + 60
            while not (b"/v1/embeddings" in got["/v1/traces"] and b"http.server" in got["/v1/metrics"]):
                assert time.monotonic() < deadline, got
                time.sleep(0.1)
    finally:
        collector.shutdown()
    sent = b"".join(got.values())
    assert b"POST /v1/embeddings" in sent and b"my-server" in sent
    assert b"confidential" not in sent and b"secret-key" not in sent
