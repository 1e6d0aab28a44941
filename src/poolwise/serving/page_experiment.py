"""``/page/experiment``: the running experiment, drawn by the code of its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request

from poolwise.experiments.report import experiment_document
from poolwise.report.blocks import Document, Folded
from poolwise.report.page import html_block, html_head
from poolwise.serving.context import context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_experiment import STATE_SECONDS

router = APIRouter(prefix="/page", include_in_schema=False)


@router.get("/experiment")
async def experiment(request: Request) -> dict[str, Any]:
    """The report's blocks as HTML, each with a key, at most ``STATE_SECONDS`` old; all text in them is escaped."""
    found = context_of(request).experiment
    if found is None:
        raise HttpProblem(404, "there is no experiment; poolwise serve --experiment DIR gives one", code="not_found")
    document = experiment_document(await found.state(), found.log.design)
    return {"blocks": [{"key": key, "html": html} for key, html in _blocks(document)], "seconds": STATE_SECONDS}


def _blocks(document: Document) -> Iterator[tuple[str, str]]:
    """Yield the parts of a report in order; the page replaces those that have changed. The methods are closed."""
    yield "head", html_head(document)
    for section in document.sections:
        if section.key == "method":
            yield section.key, html_block(Folded(section.title, section.blocks))
        else:
            yield from ((f"{section.key}-{place}", html_block(block)) for place, block in enumerate(section.blocks))
