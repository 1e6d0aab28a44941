"""The page at ``/``: similarities of two models, what their poolings weigh, searches, and the running experiment.

Its files are plain HTML, CSS and JavaScript. They need no API key; what they ask for does.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse

from poolwise import __version__
from poolwise.serving import page_experiment, page_models, page_search
from poolwise.serving.access import COMMON_HEADERS, REPORT_HEADERS, is_known
from poolwise.serving.context import context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.page_state import PageState, find_report, state_of
from poolwise.serving.served_model import ServedModel

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
SCRIPTS = ("main", "dom", "server", "similarity", "grid", "weights", "search", "experiment")
ASSETS: Mapping[str, tuple[str, str]] = {
    "/": ("poolwise.serving.assets", "page.html"),
    # The page has the look of the study's report.
    "/page/report.css": ("poolwise.report", "page.css"),
    **{
        f"/page/{name}": ("poolwise.serving.assets", name) for name in ("page.css", *(f"{part}.js" for part in SCRIPTS))
    },
}
"""The files of the page by path, as package and name."""
REPORT_PATH = "/page/report"
PAGE_PATHS = frozenset({*ASSETS, REPORT_PATH})
"""Answered without a key; the report's route asks for a key or a ticket itself."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


def add_page(app: FastAPI, *, report: Path | None = None) -> None:
    """Add the page to an app that ``create_app`` returned with ``open_paths=PAGE_PATHS``.

    Args:
        report: a study's report, or the folder that has it.
    Raises: ConfigError where there is no report.
    """
    app.state.page = PageState(find_report(report))
    for part in (router, page_models.router, page_search.router, page_experiment.router):
        app.include_router(part)


async def _asset(request: Request) -> Response:
    """One of the files of the page."""
    package, name = ASSETS[request.scope["path"]]
    content = files(package).joinpath(name).read_bytes()
    kind = TYPES[name.rpartition(".")[2]]
    return Response(content, media_type=kind, headers={**COMMON_HEADERS, "Content-Security-Policy": _POLICY})


for _path in ASSETS:
    router.add_api_route(_path, _asset, methods=["GET", "HEAD"])


@router.get("/page/state")
async def state(request: Request) -> dict[str, Any]:
    """What the page offers: models, indexes, the report, the experiment and limits."""
    context, page = context_of(request), state_of(request)
    indexes = [
        {"name": name, "num_rows": len(one.index), "model": getattr(one.model_in(context.models), "name", None)}
        for name, one in context.indexes.items()
    ]
    return {
        "poolwise": __version__,
        "models": [_told(model) for model in context.models.values()],
        "indexes": indexes,
        "has_report": page.report is not None,
        "experiment": context.experiment.name if context.experiment else None,
        "most_texts": min(page_models.MOST_TEXTS, context.settings.max_texts),
        "most_characters": page_models.MOST_CHARACTERS,
    }


def _told(model: ServedModel) -> dict[str, Any]:
    info = model.info
    keys = ("name", "design", "pooling", "attention", "layers", "num_layers", "width", "max_tokens")
    prompts = [name for name, prompt in info.prompts.items() if prompt]
    return {**{key: getattr(info, key) for key in keys}, "prompts": prompts}


@router.post("/page/ticket")
async def ticket(request: Request) -> dict[str, str]:
    """An address of the report that a browser can open once, without a key."""
    page = state_of(request)
    if page.report is None:
        raise _no_report()
    return {"url": f"{REPORT_PATH}?ticket={page.tickets.issue()}"}


@router.get(REPORT_PATH)
async def report(request: Request, ticket: str = "") -> Response:
    """The study's report."""
    page, keys = state_of(request), context_of(request).settings.keys
    if page.report is None:
        raise _no_report()
    key = request.headers.get("authorization", "").partition(" ")[2].strip()
    if keys and not is_known(key, keys) and not page.tickets.take(ticket):
        raise HttpProblem(401, "the link is used up or too old; open the report from the page", code="invalid_ticket")
    return FileResponse(page.report, headers=REPORT_HEADERS)


def _no_report() -> HttpProblem:
    return HttpProblem(404, "there is no report; poolwise serve --report PATH gives one", code="not_found")
