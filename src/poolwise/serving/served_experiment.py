"""``ServedExperiment``: which arm answers a request, and the log of what users saw."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request

from poolwise.errors import ConfigError, DataError
from poolwise.experiments import Analysis, analyse, interleave
from poolwise.experiments.events import LARGEST
from poolwise.experiments.log import EventLog
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_indexes import FoundRow, ServedIndex
from poolwise.serving.served_model import AbandonedError, Embedded, ServedModel

T = TypeVar("T")
logger = logging.getLogger("poolwise.serving.experiment")
KEY, EXPOSURE, ARM = "X-Poolwise-Key", "X-Poolwise-Exposure", "X-Poolwise-Arm"
COVARIATE = "X-Poolwise-Covariate"
MOST_KEY = 512
STATE_SECONDS, STATE_SHARE = 20.0, 20.0
"""A state is shown for so long at least, and for so many times as long as it took: the log may have a million lines."""
DOCUMENTS = ("document", "search_document")
"""The input types of documents."""


@dataclass
class Choice:
    """The model that answers a request, and what the answer's headers say of the choice."""

    model: ServedModel
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """The rows that an index has for a query, best first, and how its model embedded the query."""

    rows: Sequence[FoundRow]
    model: str
    embedded: Embedded


Find = Callable[[ServedIndex, ServedModel], Awaitable[Ranking]]


@dataclass(frozen=True)
class ShownList:
    """What a user of a search sees, the rankings that it comes from, and the headers of the answer.

    Args:
        rows: each with its score; None where scores of several models cannot be compared.
    """

    rows: Sequence[tuple[FoundRow, float | None]]
    rankings: Sequence[Ranking]
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ranking: Ranking, headers: dict[str, str] | None = None) -> ShownList:
        """Return one ranking as it is."""
        return cls([(row, row.score) for row in ranking.rows], [ranking], headers or {})


@dataclass
class ServedExperiment:
    """The log of an experiment, the served model of each arm, and for searches the index of each arm.

    Raises: ConfigError where arms do not match models or indexes, or the indexes do not hold the same rows.
    """

    log: EventLog
    models: Mapping[str, ServedModel]
    indexes: Mapping[str, ServedIndex] = field(default_factory=dict)
    name: str = field(init=False)
    _state: tuple[float, Analysis] | None = field(default=None, init=False)  # and until when it is shown
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.name = self.log.design.name
        arms = [arm.name for arm in self.log.design.arms]
        if sorted(arms) != sorted(self.models):
            raise ConfigError(
                f"--arm names {', '.join(self.models) or 'none'}",
                f"wanted the arms of the design of experiment {self.name}: {', '.join(arms)}",
            )
        if self.indexes:
            _require_indexes(self.indexes, self.models)
        self.log.bind({arm: model.info.fingerprint for arm, model in self.models.items()})
        for model in self.models.values():
            model.keep()

    @property
    def is_interleaved(self) -> bool:
        """Whether a search shows both arms in one list: a metric of the design counts preferences."""
        return any(metric.kind == "preference" for metric in self.log.design.metrics)

    @asynccontextmanager
    async def expose(self, request: Request, user: str | None, input_type: str | None) -> AsyncIterator[Choice]:
        """Yield the model of the user's arm; log the exposure with its latency when the block ends.

        A request that fails through no fault of the client counts as an exposure with an error. One whose client did
        not wait for the answer counts with the time that it waited: leaving it out would make a slow arm look faster.

        Raises: HttpProblem for a request without a key, or one that embeds documents.
        """
        key = self._key_of(request, user)
        if input_type in DOCUMENTS:
            raise HttpProblem(
                400,
                f"documents cannot be embedded by experiment {self.name}: its arms have embeddings that cannot be "
                f"compared; embed them with each of the models {', '.join(self.models)}, and keep one index for each",
                param="input_type",
                code="arms_differ",
            )
        async with self._exposed(key, _covariate_of(request)) as choice:
            yield choice

    async def search(self, request: Request, user: str | None, find: Find, k: int) -> ShownList:
        """Return what the user sees: the list of the user's arm, or both arms interleaved; log the exposure.

        An interleaved list is logged with the arm of each row, to which clicks are credited. If one of its arms fails,
        the user sees no list, and nothing is logged.

        Args:
            find: returns the best rows of an index, with its model; at least ``k`` if there are so many.
        Raises: HttpProblem for a request without a key, and where the arms have no indexes; what ``find`` raises.
        """
        key = self._key_of(request, user)
        if not self.indexes:
            raise HttpProblem(
                404,
                f"the arms of experiment {self.name} have no indexes; "
                f"poolwise serve {' '.join(f'--index {arm}=DIR' for arm in self.models)} names them",
                param="index",
                code="index_not_found",
            )
        if not self.is_interleaved:
            async with self._exposed(key, _covariate_of(request)) as choice:
                found = await find(self.indexes[self.log.assign(key).name], choice.model)
            return ShownList.of(found, choice.headers)
        start = time.perf_counter()
        rankings = await asyncio.gather(*(find(self.indexes[arm], model) for arm, model in self.models.items()))
        rows = {arm: {row.id: row for row in one.rows} for arm, one in zip(self.models, rankings, strict=True)}
        exposure = secrets.token_hex(12)
        picked = interleave({arm: list(own) for arm, own in rows.items()}, k, exposure)
        await self._log(key, None, start, exposure=exposure, teams=dict(picked))
        return ShownList([(rows[arm][id], None) for id, arm in picked], rankings, {EXPOSURE: exposure})

    async def state(self) -> Analysis:
        """Return the state of the experiment, computed now and then: it reads the whole log."""
        async with self._counting:
            if self._state is None or time.monotonic() > self._state[0]:
                start = time.monotonic()
                found = await asyncio.to_thread(analyse, self.log.folder)
                end = time.monotonic()
                self._state = end + max(STATE_SECONDS, STATE_SHARE * (end - start)), found
            return self._state[1]

    def _key_of(self, request: Request, user: str | None) -> str:
        key = (_decoded(request.headers.get(KEY, "")) or user or "").strip()
        if not key or len(key) > MOST_KEY:
            raise HttpProblem(
                400,
                f"experiment {self.name} needs the user's key, of 1 to {MOST_KEY} characters; wanted the header {KEY} "
                "or the field user",
                param="user",
                code="key_missing",
            )
        return key

    @asynccontextmanager
    async def _exposed(self, key: str, covariate: float | None) -> AsyncIterator[Choice]:
        arm = self.log.assign(key).name
        choice = Choice(self.models[arm])
        start = time.perf_counter()
        try:
            yield choice
        except (ConfigError, DataError, HttpProblem):
            raise
        except AbandonedError:
            await self._log(key, arm, start, covariate=covariate)
            raise
        except Exception:
            await self._log(key, arm, start, is_error=True, covariate=covariate)
            raise
        choice.headers = {EXPOSURE: await self._log(key, arm, start, covariate=covariate), ARM: arm}

    async def _log(
        self,
        key: str,
        arm: str | None,
        start: float,
        *,
        is_error: bool = False,
        exposure: str | None = None,
        teams: dict[str, str] | None = None,
        covariate: float | None = None,
    ) -> str:
        latency = round(1000 * (time.perf_counter() - start), 3)
        facts: dict[str, Any] = {"latency": latency, "error": is_error, "teams": teams, "covariate": covariate}
        logged, _ = await written(lambda: self.log.expose(key, arm, id=exposure, **facts))
        return logged.id


def _covariate_of(request: Request) -> float | None:
    """Return the number in the header ``COVARIATE``; None without one. Raises: HttpProblem where it is no number."""
    if (text := request.headers.get(COVARIATE)) is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise HttpProblem(400, f"the header {COVARIATE} is {text!r:.60}; wanted a number", code="covariate_wrong")
    return number


def _decoded(header: str) -> str:
    """Return a header in UTF-8, as clients send it; the server reads each byte as a character."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _require_indexes(indexes: Mapping[str, ServedIndex], models: Mapping[str, ServedModel]) -> None:
    if sorted(indexes) != sorted(models):
        raise ConfigError(
            f"indexes of arms are {', '.join(indexes)}", f"wanted one for each arm, or none: {', '.join(models)}"
        )
    for arm, index in indexes.items():
        if not index.is_of(models[arm].info):
            raise ConfigError(
                f"--index {arm} was encoded by model {index.fingerprint}, and arm {arm} is "
                f"{models[arm].info.fingerprint}",
                "wanted an index of the arm's own model",
            )
    if len({index.index.ids_fingerprint for index in indexes.values()}) > 1:
        sizes = ", ".join(f"{arm} {len(index.index):,}" for arm, index in indexes.items())
        raise ConfigError(
            f"the arms' indexes have rows with different ids ({sizes})", "wanted the same corpus for each arm"
        )


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
