"""``/v1/embeddings`` and ``/v1/models``, as OpenAI has them."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.errors import DataError
from poolwise.serving.bodies import Body, read_body, schema_of
from poolwise.serving.context import abandoned, context_of, note
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.readings import Input
from poolwise.serving.served_model import ServedModel

router = APIRouter(prefix="/v1", tags=["OpenAI"])


class EmbeddingsBody(Body):
    """The body of ``/v1/embeddings``. ``input_type`` is an addition: one of the model's prompts."""

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None
    input_type: str | None = None


def inputs_of(found: str | list[str] | list[int] | list[list[int]]) -> list[Input]:
    """Return the inputs of a body as a list.

    Raises: DataError where there is none, or one is empty.
    """
    inputs: list[Any] = [found] if isinstance(found, str) or (found and isinstance(found[0], int)) else list(found)
    if not inputs:
        raise DataError("input is empty", "wanted at least one text")
    if (empty := next((number for number, one in enumerate(inputs) if not one), None)) is not None:
        raise DataError(f"input {empty} is empty", "wanted at least one character or token")
    return inputs


def require_few(number: int, most: int, field: str) -> None:
    """Raise HttpProblem for more texts than a request may have."""
    if number > most:
        raise HttpProblem(400, f"{field} has {number} texts; wanted at most {most}", param=field, code="too_many_texts")


@router.post("/embeddings", openapi_extra=schema_of(EmbeddingsBody))
async def embeddings(request: Request) -> Response:
    """Embeddings of texts or of token ids."""
    context = context_of(request)
    body = await read_body(request, EmbeddingsBody, context)
    async with context.choose(request, body.model, body.user, body.input_type) as choice:
        inputs = inputs_of(body.input)
        require_few(len(inputs), context.settings.max_texts, "input")
        found = await choice.model.embed(
            inputs,
            prompt_name=body.input_type,
            dimensions=body.dimensions,
            is_abandoned=lambda: abandoned(request),
        )
    note(request, choice.model.name, found)
    rows: list[Any] = as_base64(found.vectors) if body.encoding_format == "base64" else list(found.vectors)
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)],
        "model": choice.model.name,
        "usage": {"prompt_tokens": found.num_tokens, "total_tokens": found.num_tokens},
    }
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, headers=choice.headers, media_type="application/json")


def as_base64(vectors: np.ndarray) -> list[str]:
    """Return each embedding as its float32 numbers, little-endian, in base64."""
    return [base64.b64encode(row.tobytes()).decode() for row in vectors.astype("<f4", copy=False)]


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The models that are served."""
    return {"object": "list", "data": [_listed(model) for model in context_of(request).models.values()]}


@router.get("/models/{name:path}")
async def one_model(request: Request, name: str) -> dict[str, Any]:
    """One of the models."""
    return _listed(context_of(request).model(name))


def _listed(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "poolwise"}
