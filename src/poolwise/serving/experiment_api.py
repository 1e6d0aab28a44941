"""An experiment on a server: requests for its name are answered by the arm of their user, and feedback is logged.

``/v1/embeddings`` takes the experiment's name as the model. The user's key is the header ``X-Poolwise-Key``, or the
field ``user``. The answer names the exposure in the header ``X-Poolwise-Exposure``, which ``/v1/feedback`` refers to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from poolwise.errors import ConfigError, DataError, PoolwiseError
from poolwise.experiments import Analysis, ConflictError, Feedback, UnknownExposureError, analyse
from poolwise.experiments.log import EventLog
from poolwise.experiments.report import experiment_document
from poolwise.report.page import html_document
from poolwise.serving.bodies import Body, read_body, schema_of
from poolwise.serving.context import Choice, context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_model import ServedModel

T = TypeVar("T")
logger = logging.getLogger("poolwise.serving.experiment")
KEY, EXPOSURE, ARM = "X-Poolwise-Key", "X-Poolwise-Exposure", "X-Poolwise-Arm"
MOST_KEY = 512
STATE_SECONDS = 20.0
router = APIRouter(prefix="/v1", tags=["Experiment"])


class FeedbackBody(Body):
    """The body of ``/v1/feedback``. Sending an ``id`` again changes nothing, so a client may repeat a request.

    ``value`` is 1 for a click, and the stars or the amount of a rating or a conversion.
    """

    id: str = Field(min_length=1, max_length=128)
    exposure: str = Field(min_length=1, max_length=128)
    event: Literal["click", "rating", "conversion"]
    value: float = 1.0
    item: str | None = Field(default=None, max_length=512)


@dataclass
class ServedExperiment:
    """The log of an experiment, and the served model of each arm.

    Raises: ConfigError where arms and models do not match.
    """

    log: EventLog
    models: Mapping[str, ServedModel]
    name: str = field(init=False)
    _state: tuple[float, Analysis] | None = field(default=None, init=False)
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.name = self.log.design.name
        arms = [arm.name for arm in self.log.design.arms]
        if sorted(arms) != sorted(self.models):
            raise ConfigError(
                f"--arm names {', '.join(self.models) or 'none'}",
                f"wanted the arms of the design of experiment {self.name}: {', '.join(arms)}",
            )

    @asynccontextmanager
    async def expose(self, request: Request, user: str | None, input_type: str | None) -> AsyncIterator[Choice]:
        """Yield the model of the user's arm; log the exposure with its latency when the block ends.

        A request that fails through no fault of the client counts as an exposure with an error.

        Raises: HttpProblem for a request without a key, or one that embeds documents.
        """
        key = request.headers.get(KEY) or user
        if not key or len(key) > MOST_KEY:
            raise HttpProblem(
                400,
                f"experiment {self.name} needs the user's key, of 1 to {MOST_KEY} characters; wanted the header {KEY} "
                "or the field user",
                param="user",
                code="key_missing",
            )
        if input_type == "document":
            raise HttpProblem(
                400,
                f"documents cannot be embedded by experiment {self.name}: its arms have embeddings that cannot be "
                f"compared; embed them with each of the models {', '.join(self.models)}, and keep one index for each",
                param="input_type",
                code="arms_differ",
            )
        arm = self.log.assign(key).name
        choice = Choice(self.models[arm])
        start = time.perf_counter()
        try:
            yield choice
        except (ConfigError, DataError, HttpProblem):
            raise
        except PoolwiseError:
            await self._log(key, arm, start, is_error=True)
            raise
        choice.headers = {EXPOSURE: await self._log(key, arm, start, is_error=False), ARM: arm}

    async def state(self) -> Analysis:
        """Return the state of the experiment, computed at most every ``STATE_SECONDS``: it reads the whole log."""
        async with self._counting:
            if self._state is None or time.monotonic() - self._state[0] > STATE_SECONDS:
                found = await asyncio.to_thread(analyse, self.log.folder)
                self._state = time.monotonic(), found
            return self._state[1]

    async def _log(self, key: str, arm: str, start: float, *, is_error: bool) -> str:
        latency = round(1000 * (time.perf_counter() - start), 3)
        exposure, _ = await written(lambda: self.log.expose(key, arm, latency=latency, error=is_error))
        return exposure.id


async def written(write: Callable[[], T]) -> T:
    """Return what a call of the log returns, in a thread: the log is flushed to the disk now and then.

    Raises: HttpProblem with status 503 where the disk takes no more.
    """
    try:
        return await asyncio.to_thread(write)
    except OSError as error:
        logger.error("the log of the experiment cannot be written", exc_info=error)
        message = "the log of the experiment cannot be written"
        raise HttpProblem(503, message, code="log_failed", retry_after=60) from error


def _experiment_of(request: Request) -> ServedExperiment:
    found = context_of(request).experiment
    assert found is not None  # the routes are there with an experiment only
    return found


@router.post("/feedback", openapi_extra=schema_of(FeedbackBody))
async def feedback(request: Request) -> dict[str, str]:
    """Log a click, a rating or a conversion; ``status`` is "counted", or "repeated" for an id that is known."""
    body = await read_body(request, FeedbackBody, context_of(request).settings)
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
    return HTMLResponse(html_document(experiment_document(await found.state(), found.log.design)))
