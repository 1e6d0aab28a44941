"""What every route of a server needs: the models, the limits and the counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from poolwise.serving.counters import Counters
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_model import Embedded, ServedModel
from poolwise.serving.settings import ServeSettings


@dataclass
class Context:
    """The models by name, the limits and the counters of an app; ``is_draining`` once it answers no new requests."""

    models: Mapping[str, ServedModel]
    settings: ServeSettings
    counters: Counters
    is_draining: bool = False

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
