"""OpenTelemetry by the usual variables: spans and metrics of requests, and nothing of their bodies."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fastapi.telemetry import TelemetryConfig

from poolwise.errors import ConfigError, needs_extra

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "http/protobuf"


def telemetry_of(environment: Mapping[str, str] = os.environ) -> TelemetryConfig:
    """Return FastAPI's settings: spans and metrics if the variables name a collector for them.

    Log records may have values of a request's body, so there are none.

    Raises: ConfigError where they ask for what cannot be sent, or the extra ``otel`` is missing. FastAPI would serve
        without telemetry then, and only warn.
    """
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    asked = {name: not is_off and _is_asked(name, environment) for name in ("TRACES", "METRICS")}
    if any(asked.values()):
        with needs_extra(f"OpenTelemetry, which {ENDPOINT} asks for,", "otel"):
            # What FastAPI 0.165 imports; without one of them it warns and sends nothing.
            import opentelemetry.exporter.otlp.proto.http._log_exporter
            import opentelemetry.exporter.otlp.proto.http.metric_exporter
            import opentelemetry.exporter.otlp.proto.http.trace_exporter
            import opentelemetry.sdk.trace.export  # noqa: F401
    return {
        "auto_configure": any(asked.values()),
        "tracing": asked["TRACES"],
        "metrics": asked["METRICS"],
        "logs": False,
    }


def _is_asked(signal: str, environment: Mapping[str, str]) -> bool:
    own = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    exporter = (environment.get(f"OTEL_{signal}_EXPORTER") or "otlp").strip().lower()
    if exporter == "none" or not (environment.get(own) or environment.get(ENDPOINT)):
        return False
    if exporter != "otlp":
        raise ConfigError(f"OTEL_{signal}_EXPORTER is {exporter}", "wanted otlp or none")
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    if protocol not in ("", PROTOCOL):
        raise ConfigError(
            f"the protocol of OpenTelemetry is {protocol}",
            f"wanted {PROTOCOL}",
            f"set OTEL_EXPORTER_OTLP_PROTOCOL={PROTOCOL}, and the collector's port for it, such as 4318",
        )
    return True
