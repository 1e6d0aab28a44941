"""``create_app``: the web application that serves models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from poolwise import __version__
from poolwise.serving import cohere_api, experiment_api, openai_api, status_api
from poolwise.serving.access import Access
from poolwise.serving.context import Context
from poolwise.serving.counters import Counters
from poolwise.serving.http_errors import add_error_handlers
from poolwise.serving.request_log import RequestLog
from poolwise.serving.served_model import ServedModel
from poolwise.serving.settings import ServeSettings


def _telemetry() -> TelemetryConfig:
    """Return FastAPI's settings of OpenTelemetry: spans and metrics by the usual variables, if any is set.

    Its log records may have values of a request's body, so there are none.
    """
    is_wanted = any(name.startswith("OTEL_") for name in os.environ)
    return {"auto_configure": is_wanted, "tracing": is_wanted, "metrics": is_wanted, "logs": False}


def create_app(
    models: Mapping[str, ServedModel],
    settings: ServeSettings | None = None,
    *,
    open_paths: Iterable[str] = (),
    experiment: experiment_api.ServedExperiment | None = None,
) -> FastAPI:
    """Return the application that serves models; include further routers with ``include_router``.

    Routes find the models in ``context_of(request)``. The caller closes the models.

    Args:
        models: by the name that requests give.
        open_paths: further paths that need no API key, such as a page's files.
        experiment: adds its routes; its arms must be among the models.
    """
    counters = Counters()
    counters.watch(models)
    for model in models.values():
        model.on_batch = counters.count_batch
    chosen = settings or ServeSettings()
    # The pages of the documentation would load scripts from another site.
    app = FastAPI(title="poolwise", version=__version__, docs_url=None, redoc_url=None, telemetry=_telemetry())
    app.state.serving = Context(models, chosen, counters, experiment=experiment)
    add_error_handlers(app)
    for api in (openai_api, cohere_api, status_api, *([experiment_api] if experiment else [])):
        app.include_router(api.router)
    app.add_middleware(Access, settings=chosen, open_paths={*status_api.OPEN_PATHS, *open_paths})
    app.add_middleware(RequestLog, counters=counters)
    return app
