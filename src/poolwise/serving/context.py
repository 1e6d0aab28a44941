"""What every route of a server needs: the models, the limits and the counters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request

from poolwise.serving.counters import Counters
from poolwise.serving.held_bodies import HeldBodies
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_experiment import Choice, ServedExperiment
from poolwise.serving.served_indexes import ServedIndex
from poolwise.serving.served_model import Embedded, ServedModel
from poolwise.serving.settings import ServeSettings
from poolwise.serving.turns import Turns

MOST_SEARCHES = 64
"""Searches of ``/v1/search`` at the same time."""


@dataclass
class Context:
    """The models and indexes by name, the limits and the counters of an app.

    Args:
        is_draining: whether it answers no new requests any more.
    """

    models: Mapping[str, ServedModel]
    settings: ServeSettings
    counters: Counters
    indexes: Mapping[str, ServedIndex] = field(default_factory=dict)
    is_draining: bool = False
    experiment: ServedExperiment | None = None
    held: HeldBodies = field(init=False)
    turns: Turns = field(default_factory=lambda: Turns(MOST_SEARCHES, "searches"))

    def __post_init__(self) -> None:
        self.held = HeldBodies(self.settings.max_held_bytes)

    def model(self, name: str) -> ServedModel:
        """Return the model of a name.

        Raises: HttpProblem with status 404, which names those that there are.
        """
        if (found := self.models.get(name)) is not None:
            return found
        served = ", ".join(self.models)
        raise HttpProblem(
            404, f"the model {name[:100]!r} is not served here; served: {served}", param="model", code="model_not_found"
        )

    def index(self, name: str, param: str) -> ServedIndex:
        """Return the index of a name, which the field ``param`` of the body has.

        Raises: HttpProblem with status 404, which names those that there are.
        """
        if (found := self.indexes.get(name)) is not None:
            return found
        known = ", ".join(self.indexes) or "none"
        raise HttpProblem(
            404, f"the index {name[:100]!r} is not here; indexes: {known}", param=param, code="index_not_found"
        )

    @asynccontextmanager
    async def choose(
        self, request: Request, name: str, user: str | None, input_type: str | None
    ) -> AsyncIterator[Choice]:
        """Yield the model of a name, or that of the user's arm for an experiment; headers are set when the block ends.

        Raises: HttpProblem as ``model``, and for a request that an experiment cannot answer.
        """
        if self.experiment is None or name != self.experiment.name:
            yield Choice(self.model(name))
            return
        async with self.experiment.expose(request, user, input_type) as choice:
            yield choice


def context_of(request: Request) -> Context:
    """Return the context of the app that got a request."""
    found: Context = request.app.state.serving
    return found


def note(request: Request, model: str, *embedded: Embedded) -> None:
    """Keep what the log says of a request that was answered; no text is kept.

    Times are those of the slowest, where several models read at the same time.
    """
    request.state.noted = {
        "model": model,
        "texts": sum(len(one.vectors) for one in embedded),
        "tokens": sum(one.num_tokens for one in embedded),
        "queue_ms": round(1000 * max(one.queue_seconds for one in embedded), 2),
        "model_ms": round(1000 * max(one.model_seconds for one in embedded), 2),
    }


async def abandoned(request: Request) -> None:
    """Return once the client has gone; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
