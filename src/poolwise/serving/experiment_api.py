"""The routes of an experiment: ``/v1/feedback`` logs what users do, ``/v1/experiment`` shows what is decided.

``/v1/embeddings``, ``/v2/embed`` and ``/v1/search`` take the experiment's name. The user's key is the header
``X-Poolwise-Key``, or the field ``user`` where there is one. The answer names the exposure in the header
``X-Poolwise-Exposure``, which feedback refers to.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from poolwise.experiments import ConflictError, Feedback, UnknownExposureError
from poolwise.experiments.report import experiment_document
from poolwise.report.page import html_document
from poolwise.serving.access import REPORT_HEADERS
from poolwise.serving.bodies import Body, read_body, schema_of
from poolwise.serving.context import context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_experiment import ServedExperiment, written

router = APIRouter(prefix="/v1", tags=["Experiment"])


class FeedbackBody(Body):
    """The body of ``/v1/feedback``. Sending an ``id`` again changes nothing, so a client may repeat a request.

    ``value`` is 1 for a click, and the stars or the amount of a rating or a conversion. ``item`` is the id of the row
    that was clicked.
    """

    id: str = Field(min_length=1, max_length=128)
    exposure: str = Field(min_length=1, max_length=128)
    event: Literal["click", "rating", "conversion"]
    value: float = 1.0
    item: str | None = Field(default=None, max_length=512)


def _experiment_of(request: Request) -> ServedExperiment:
    found = context_of(request).experiment
    assert found is not None  # the routes are there with an experiment only
    return found


@router.post("/feedback", openapi_extra=schema_of(FeedbackBody))
async def feedback(request: Request) -> dict[str, str]:
    """Log a click, a rating or a conversion; ``status`` is "counted", or "repeated" for an id that is known."""
    body = await read_body(request, FeedbackBody, context_of(request))
    log = _experiment_of(request).log
    try:
        status = await written(lambda: log.feedback(Feedback(**body.model_dump())))
    except UnknownExposureError as error:
        raise HttpProblem(404, str(error), param="exposure", code="unknown_exposure") from error
    except ConflictError as error:
        raise HttpProblem(409, str(error), param="id", code="id_conflict") from error
    return {"status": status}


@router.get("/experiment")
async def experiment(request: Request) -> dict[str, Any]:
    """The state of the experiment, as ``poolwise experiment DIR --json`` prints it, at most 20 seconds old."""
    return (await _experiment_of(request).state()).model_dump(mode="json")


@router.get("/experiment/report")
async def report(request: Request) -> HTMLResponse:
    """The report of the experiment as a page, at most 20 seconds old."""
    found = _experiment_of(request)
    document = html_document(experiment_document(await found.state(), found.log.design))
    return HTMLResponse(document, headers=REPORT_HEADERS)
