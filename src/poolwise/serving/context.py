"""What every route of a server needs: the models, the limits and the counters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from poolwise.serving.counters import Counters
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_model import Embedded, ServedModel
from poolwise.serving.settings import ServeSettings

if TYPE_CHECKING:
    from poolwise.serving.experiment_api import ServedExperiment


@dataclass
class Choice:
    """The model that answers a request, and what the answer's headers say of the choice."""

    model: ServedModel
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Context:
    """The models by name, the limits and the counters of an app; ``is_draining`` once it answers no new requests."""

    models: Mapping[str, ServedModel]
    settings: ServeSettings
    counters: Counters
    is_draining: bool = False
    experiment: ServedExperiment | None = None

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


def note(request: Request, model: str, embedded: Embedded) -> None:
    """Keep what the log says of a request that was answered; no text is kept."""
    request.state.noted = {
        "model": model,
        "texts": len(embedded.vectors),
        "tokens": embedded.num_tokens,
        "queue_ms": round(1000 * embedded.queue_seconds, 2),
        "model_ms": round(1000 * embedded.model_seconds, 2),
    }


async def abandoned(request: Request) -> None:
    """Return once the client has gone; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
