"""``/v2/embed``, as Cohere has it."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.errors import DataError
from poolwise.serving.bodies import Body, read_body, schema_of
from poolwise.serving.context import abandoned, context_of, note
from poolwise.serving.openai_api import as_base64, require_few
from poolwise.serving.quantised import EmbeddingType, as_type

router = APIRouter(prefix="/v2", tags=["Cohere"])


class EmbedBody(Body):
    """The body of ``/v2/embed``; only texts are embedded. ``input_type`` may also be the name of a model's prompt."""

    model: str
    input_type: str
    texts: list[str] = Field(min_length=1)
    embedding_types: list[EmbeddingType] = Field(default=["float"], min_length=1)
    output_dimension: int | None = Field(default=None, ge=1)
    truncate: Literal["NONE", "START", "END"] = "END"
    priority: int | None = None


@router.post("/embed", openapi_extra=schema_of(EmbedBody))
async def embed(request: Request) -> Response:
    """Embeddings of texts, in one or several types."""
    context = context_of(request)
    body = await read_body(request, EmbedBody, context)
    async with context.choose(request, body.model, None, body.input_type) as choice:
        if (empty := next((number for number, text in enumerate(body.texts) if not text), None)) is not None:
            raise DataError(f"texts {empty} is empty", "wanted at least one character")
        require_few(len(body.texts), context.settings.max_texts, "texts")
        found = await choice.model.embed(
            body.texts,
            prompt_name=body.input_type,
            dimensions=body.output_dimension,
            truncate=body.truncate,
            is_abandoned=lambda: abandoned(request),
        )
    note(request, choice.model.name, found)
    limit = choice.model.int8_limit(body.output_dimension)
    answer: dict[str, Any] = {
        "id": str(uuid4()),
        "response_type": "embeddings_by_type",
        "embeddings": {
            kind: as_base64(found.vectors) if kind == "base64" else as_type(found.vectors, kind, limit)
            for kind in dict.fromkeys(body.embedding_types)
        },
        "texts": body.texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": found.num_tokens}},
    }
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, headers=choice.headers, media_type="application/json")
