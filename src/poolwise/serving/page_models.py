"""``/page/similarity`` and ``/page/weights``: two served models beside one another on the same texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.errors import DataError, ModelError
from poolwise.models import PoolingWeights, pooling_weights
from poolwise.serving.bodies import Body, read_body
from poolwise.serving.context import Context, abandoned, context_of, note
from poolwise.serving.named_prompts import find_prompt
from poolwise.serving.openai_api import require_few
from poolwise.serving.page_pairs import compare_pairs, cosine_matrix
from poolwise.serving.page_state import state_of
from poolwise.serving.served_model import ServedModel, TimedOutError, require_encodable
from poolwise.serving.turns import RETRY_SECONDS

router = APIRouter(prefix="/page", include_in_schema=False)
MOST_TEXTS = 40
"""Texts of a matrix: a larger one cannot be read."""
MOST_CHARACTERS = 4000
"""Of a text whose tokens are weighed: each of them is drawn."""
DIGITS = 5


class SimilarityBody(Body):
    """The body of ``/page/similarity``; with one model there is nothing to compare."""

    models: list[str] = Field(min_length=1, max_length=2)
    texts: list[str]
    input_type: str | None = None


class WeightsBody(Body):
    """The body of ``/page/weights``."""

    models: list[str] = Field(min_length=1, max_length=2)
    text: str
    input_type: str | None = None


@router.post("/similarity")
async def similarity(request: Request) -> Response:
    """The cosine similarities of texts in each model, and the pairs on which two models disagree most."""
    context = context_of(request)
    body = await read_body(request, SimilarityBody, context)
    models = [context.model(name) for name in body.models]
    require_few(len(body.texts), min(MOST_TEXTS, context.settings.max_texts), "texts")
    if len(body.texts) < 2 or not all(text.strip() for text in body.texts):
        raise DataError(f"texts has {len(body.texts)} texts", "wanted at least two, none of them empty")
    found = await _embed_all(request, models, body.texts, body.input_type)
    matrices = [cosine_matrix(vectors) for vectors in found]
    compared = asdict(compare_pairs(*matrices)) if len(matrices) == 2 else None
    shown = [
        {"name": model.name, "similarity": np.round(matrix, DIGITS)}
        for model, matrix in zip(models, matrices, strict=True)
    ]
    return _json({"models": shown, "compared": compared})


async def _embed_all(
    request: Request, models: Sequence[ServedModel], texts: list[str], input_type: str | None
) -> list[np.ndarray]:
    """Return the embeddings of the same texts by each model, which read them at the same time."""
    # Only one of them may await the end of the client.
    watches = [lambda: abandoned(request), *[None] * (len(models) - 1)]
    waiting = [
        asyncio.ensure_future(model.embed(texts, prompt_name=input_type, is_abandoned=watch))
        for model, watch in zip(models, watches, strict=True)
    ]
    try:
        found = await asyncio.gather(*waiting)
    except BaseException:
        for one in waiting:
            one.cancel()
        raise
    note(request, ", ".join(model.name for model in models), found[0])
    return [one.vectors for one in found]


@router.post("/weights")
async def weights(request: Request) -> Response:
    """What the pooling of each model takes from each token of a text, and from each layer."""
    context = context_of(request)
    body = await read_body(request, WeightsBody, context)
    models = [context.model(name) for name in body.models]
    if not body.text.strip():
        raise DataError("text is empty", "wanted at least one character")
    if len(body.text) > MOST_CHARACTERS:
        raise DataError(f"text has {len(body.text)} characters", f"wanted at most {MOST_CHARACTERS}")
    require_encodable([body.text])
    with state_of(request).turns.take():
        found = await asyncio.gather(*(_weigh(context, model, body.text, body.input_type) for model in models))
    return _json({"models": found})


async def _weigh(context: Context, model: ServedModel, text: str, input_type: str | None) -> dict[str, Any]:
    info = model.info
    prompt = find_prompt(info.prompts, info.default_prompt_name, input_type)
    seconds = context.settings.request_seconds
    try:
        async with asyncio.timeout(seconds):
            (found,) = await model.run(lambda loaded: pooling_weights(loaded, [text], prompt=prompt))
    except TimeoutError as error:
        raise TimedOutError(model.name, seconds, RETRY_SECONDS) from error
    except ModelError as error:
        return {"name": model.name, "problem": str(error)}
    return {"name": model.name, "design": info.design or info.pooling, "told": told(found), **asdict(found)}


def told(found: PoolingWeights) -> list[str]:
    """Return in words what the weights are."""
    words = [_TOLD[found.token_kind]]
    if found.layer_kind is not None:
        words = [_LAYERS_TOLD[found.layer_kind], "Within a layer, the tokens' states are weighed as shown."]
    if found.is_truncated:
        words.append(f"The text is longer than the model reads: only {len(found.tokens)} tokens are read.")
    return words


_TOLD = {
    "exact": "The embedding is the sum of the tokens' states with these weights.",
    "attention": "The attention of the pooling to each token, averaged over its queries and heads.",
    "measured": "Measured: how far the embedding moves when the pooling leaves a token's state out.",
}
_LAYERS_TOLD = {
    "exact": "The embedding is the sum of the layers' normalised states with these weights.",
    "attention": "The attention of the pooling to each layer, averaged over its queries and heads.",
    "measured": "Measured: how far the embedding moves when the pooling leaves a layer's state out.",
}


def _json(content: object) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
