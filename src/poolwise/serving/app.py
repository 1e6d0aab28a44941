"""``create_app``: the web application that serves models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastapi import FastAPI

from poolwise import __version__
from poolwise.serving import cohere_api, experiment_api, openai_api, search_api, status_api
from poolwise.serving.access import Access
from poolwise.serving.context import Context
from poolwise.serving.counters import Counters
from poolwise.serving.held_bodies import ReleaseBodies
from poolwise.serving.http_errors import add_error_handlers
from poolwise.serving.request_log import RequestLog
from poolwise.serving.served_experiment import ServedExperiment
from poolwise.serving.served_indexes import ServedIndex, require_models
from poolwise.serving.served_model import ServedModel
from poolwise.serving.settings import ServeSettings
from poolwise.serving.telemetry import telemetry_of


def create_app(
    models: Mapping[str, ServedModel],
    settings: ServeSettings | None = None,
    *,
    open_paths: Iterable[str] = (),
    experiment: ServedExperiment | None = None,
    indexes: Mapping[str, ServedIndex] | None = None,
) -> FastAPI:
    """Return the application that serves models; include further routers with ``include_router``.

    Routes find the models in ``context_of(request)``. The caller closes the models.

    Args:
        models: by the name that requests give.
        open_paths: further paths that need no API key, such as a page's files.
        experiment: adds its routes; its arms must be among the models.
        indexes: that are searched, by name.
    Raises: ConfigError for an index whose model is not served, and for variables of OpenTelemetry that ask for what
        cannot be sent.
    """
    require_models(chosen_indexes := dict(indexes or {}), models)
    counters = Counters()
    counters.watch(models)
    for model in models.values():
        model.on_batch = counters.count_batch
    chosen = settings or ServeSettings()
    # The pages of the documentation would load scripts from another site.
    app = FastAPI(title="poolwise", version=__version__, docs_url=None, redoc_url=None, telemetry=telemetry_of())
    app.state.serving = context = Context(models, chosen, counters, chosen_indexes, experiment=experiment)
    add_error_handlers(app)
    for api in (openai_api, cohere_api, search_api, status_api, *([experiment_api] if experiment else [])):
        app.include_router(api.router)
    app.add_middleware(Access, settings=chosen, open_paths={*status_api.OPEN_PATHS, *open_paths})
    app.add_middleware(RequestLog, counters=counters)
    app.add_middleware(ReleaseBodies, held=context.held)
    return app
