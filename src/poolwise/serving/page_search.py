"""``/page/search``: one query in one or two indexes, and what moved between their results."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from poolwise.serving.bodies import Body, read_body
from poolwise.serving.context import abandoned, context_of
from poolwise.serving.page_state import state_of
from poolwise.serving.search_api import MOST_RESULTS, find_rows, require_query
from poolwise.serving.served_indexes import FoundRow

router = APIRouter(prefix="/page", include_in_schema=False)
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
    context = context_of(request)
    body = await read_body(request, SearchBody, context)
    require_query(body.query)
    indexes = [context.index(name, "indexes") for name in body.indexes]
    with state_of(request).turns.take():
        depth = body.k * DEPTH
        asked = (
            find_rows(index, index.model_in(context.models), body.query, depth, lambda: abandoned(request))
            for index in indexes
        )
        found = [one.rows for one in await asyncio.gather(*asked)]
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


def _shown(row: FoundRow, rank: int, other: int | None) -> dict[str, Any]:
    """Return a row for the page. ``other`` is its rank in the other index; None if it is not that far up."""
    text = None if row.text is None else row.text[:SHOWN_CHARACTERS]
    is_cut = row.text is not None and len(row.text) > SHOWN_CHARACTERS
    return {"id": row.id, "rank": rank, "other": other, "score": round(row.score, 4), "text": text, "is_cut": is_cut}
