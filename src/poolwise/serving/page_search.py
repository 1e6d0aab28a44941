"""``/page/search``: one query in one or two indexes, and what moved between their results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.errors import DataError
from poolwise.serving.bodies import Body, read_body
from poolwise.serving.context import Context, context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.page_indexes import QUERY, FoundRow, PageIndex
from poolwise.serving.page_state import PageState, state_of

router = APIRouter(prefix="/page", include_in_schema=False)
MOST_RESULTS = 50
DEPTH = 5
"""How many times as far the other index is searched for a row that one index shows."""
SHOWN_CHARACTERS = 600


class SearchBody(Body):
    """The body of ``/page/search``."""

    indexes: list[str] = Field(min_length=1, max_length=2)
    query: str
    k: int = Field(default=10, ge=1, le=MOST_RESULTS)


@router.post("/search")
async def search(request: Request) -> Response:
    """The best rows of each index, each with its rank in the other one."""
    context, state = context_of(request), state_of(request)
    body = await read_body(request, SearchBody, context.settings)
    if not body.query.strip():
        raise DataError("query is empty", "wanted at least one character")
    indexes = [_index(state, name) for name in body.indexes]
    with state.turn():
        found = await asyncio.gather(*(_search(context, index, body.query, body.k * DEPTH) for index in indexes))
    ranks = [{row.id: place for place, row in enumerate(rows, start=1)} for rows in found]
    results = [
        {
            "index": index.name,
            "num_rows": len(index.index),
            "depth": len(rows),
            "hits": [
                _shown(row, place, ranks[1 - number].get(row.id) if len(found) == 2 else None)
                for place, row in enumerate(rows[: body.k], start=1)
            ],
        }
        for number, (index, rows) in enumerate(zip(indexes, found, strict=True))
    ]
    shared = len(set.intersection(*({row.id for row in rows[: body.k]} for rows in found)))
    return Response(orjson.dumps({"results": results, "num_shared": shared}), media_type="application/json")


def _index(state: PageState, name: str) -> PageIndex:
    if (found := state.indexes.get(name)) is not None:
        return found
    known = ", ".join(state.indexes) or "none"
    raise HttpProblem(404, f"the index {name[:100]!r} is not here; indexes: {known}", param="indexes")


async def _search(context: Context, index: PageIndex, query: str, k: int) -> Sequence[FoundRow]:
    model = index.model_in(context.models)
    if model is None:
        raise HttpProblem(
            409,
            f"the model of the index {index.name!r} is not served any more; encode its corpus again",
            param="indexes",
        )
    embedded = await model.embed([query], prompt_name=QUERY)
    return await asyncio.to_thread(index.search, embedded.vectors, k)


def _shown(row: FoundRow, rank: int, other: int | None) -> dict[str, Any]:
    """Return a row for the page. ``other`` is its rank in the other index; None if it is not that far up."""
    text = None if row.text is None else row.text[:SHOWN_CHARACTERS]
    is_cut = row.text is not None and len(row.text) > SHOWN_CHARACTERS
    return {"id": row.id, "rank": rank, "other": other, "score": round(row.score, 4), "text": text, "is_cut": is_cut}
