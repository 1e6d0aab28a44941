"""``/info``, ``/health``, ``/ready``, ``/metrics`` and ``/admin/reload``."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request, Response

from poolwise import __version__
from poolwise.errors import PoolwiseError
from poolwise.serving.context import Context, context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_model import ServedModel

logger = logging.getLogger("poolwise.serving.reloads")
router = APIRouter(tags=["Status"])
OPEN_PATHS = frozenset({"/health", "/ready"})
"""Answered without a key: they say nothing of the models."""


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """What each model is, as it was measured."""
    models = context_of(request).models
    return {"poolwise": __version__, "models": {name: model.info.as_dict() for name, model in models.items()}}


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.head("/ready", include_in_schema=False)
@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Whether requests are taken: the models are warm, and the server does not shut down."""
    if context_of(request).is_draining:
        raise HttpProblem(503, "the server shuts down", code="draining")
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The counters, as Prometheus reads them."""
    return Response(context_of(request).counters.as_text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.post("/admin/reload")
async def reload(request: Request, model: str | None = None) -> dict[str, Any]:
    """Load a model again, or all of them; until it is warm, the old one answers. Needs an API key."""
    context = context_of(request)
    if not context.settings.keys:
        raise HttpProblem(403, "the server has no API keys; send it SIGHUP to reload", code="no_keys")
    chosen = [context.model(model)] if model is not None else list(context.models.values())
    try:
        return {"reloaded": {one.name: (await reload_model(context, one)) for one in chosen}}
    except PoolwiseError as error:
        raise HttpProblem(409, f"not reloaded, the old model goes on: {error}", code="reload_failed") from error


async def reload_model(context: Context, model: ServedModel) -> str:
    """Reload a model, count it, log it, and return its fingerprint.

    Raises: PoolwiseError if it cannot be loaded; the old one then goes on.
    """
    try:
        fresh = await model.reload()
    except PoolwiseError as error:
        context.counters.count_reload(model.name, is_done=False)
        logger.error("not reloaded, the old model goes on: %s: %s", model.name, error)
        raise
    context.counters.count_reload(model.name, is_done=True)
    logger.info("reloaded: %s, fingerprint %s", model.name, fresh.fingerprint)
    return fresh.fingerprint
