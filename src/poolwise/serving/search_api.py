"""``/v1/search``: the best rows of an index for a query, or for an experiment's user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.errors import DataError
from poolwise.serving.bodies import Body, read_body, schema_of
from poolwise.serving.context import abandoned, context_of, note
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_experiment import Ranking, ShownList
from poolwise.serving.served_indexes import QUERY, ServedIndex
from poolwise.serving.served_model import ServedModel

router = APIRouter(prefix="/v1", tags=["Search"])
MOST_RESULTS = 50


class SearchBody(Body):
    """The body of ``/v1/search``. ``index`` may be the name of the experiment; ``user`` is then its user's key."""

    index: str
    query: str
    k: int = Field(default=10, ge=1, le=MOST_RESULTS)
    user: str | None = None


@router.post("/search", openapi_extra=schema_of(SearchBody))
async def search(request: Request) -> Response:
    """The best rows of an index. For an experiment, those of the user's arm, or of both arms interleaved.

    ``score`` is null in an interleaved list: scores of two models cannot be compared.
    """
    context = context_of(request)
    body = await read_body(request, SearchBody, context)
    require_query(body.query)
    experiment = context.experiment if context.experiment and body.index == context.experiment.name else None

    async def find(index: ServedIndex, model: ServedModel | None) -> Ranking:
        return await find_rows(index, model, body.query, body.k, lambda: abandoned(request))

    with context.turns.take():
        if experiment is None:
            index = context.index(body.index, "index")
            shown = ShownList.of(await find(index, index.model_in(context.models)))
        else:
            shown = await experiment.search(request, body.user, find, body.k)
    note(request, ", ".join(one.model for one in shown.rankings), *(one.embedded for one in shown.rankings))
    data = [
        {"rank": rank, "id": row.id, "score": score, "text": row.text}
        for rank, (row, score) in enumerate(shown.rows, start=1)
    ]
    content = orjson.dumps({"object": "list", "index": body.index, "data": data})
    return Response(content, headers=shown.headers, media_type="application/json")


def require_query(query: str) -> None:
    """Raise DataError for a query without a character."""
    if not query.strip():
        raise DataError("query is empty", "wanted at least one character")


async def find_rows(
    index: ServedIndex,
    model: ServedModel | None,
    query: str,
    k: int,
    is_abandoned: Callable[[], Awaitable[None]],
) -> Ranking:
    """Return the best rows of an index for a query, which the model of its corpus embeds.

    Raises: HttpProblem with status 409 where there is no such model any more; what ``ServedModel.embed`` raises.
    """
    if model is None or not index.is_of(model.info):
        raise HttpProblem(
            409,
            f"the model of the index {index.name!r} is not served any more; encode its corpus again",
            code="model_changed",
        )
    embedded = await model.embed([query], prompt_name=QUERY, is_abandoned=is_abandoned)
    return Ranking(await asyncio.to_thread(index.search, embedded.vectors, k), model.name, embedded)
