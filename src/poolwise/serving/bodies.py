"""The body of a request: its size, the time that it takes, and its fields."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from poolwise.serving.http_errors import HttpProblem, first_problem
from poolwise.serving.served_model import AbandonedError
from poolwise.serving.turns import RETRY_SECONDS

if TYPE_CHECKING:
    from poolwise.serving.context import Context

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    """A body in JSON: values have exactly the types that it says, and no field is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


async def read_body(request: Request, kind: type[B], context: Context) -> B:
    """Return the body of a request.

    Raises: HttpProblem for another content type, a body that is too large, too slow or not what ``kind`` says, and
        where the bodies of all requests in progress are too large together.
    """
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise HttpProblem(415, f"the content type is {content_type[:60]!r}; wanted application/json")
    try:
        async with asyncio.timeout(context.settings.body_seconds):
            raw = await _read(request, context)
    except TimeoutError as error:
        seconds = context.settings.body_seconds
        raise HttpProblem(408, f"the body did not arrive in {seconds:g} s", code="timeout") from error
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise first_problem(error.errors(include_url=False, include_input=False)) from None


async def _read(request: Request, context: Context) -> bytes:
    """Return a body; one that is too large is read to its end and dropped, or its sender would not see the answer."""
    limit = context.settings.max_body_bytes
    parts: list[bytes] = []
    size = 0
    has_room = True
    is_whole = False
    while not is_whole:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise AbandonedError
        part = message.get("body", b"")
        size += len(part)
        has_room = has_room and (size > limit or context.held.take(request.scope, len(part)))
        if size <= limit and has_room:
            parts.append(part)
        else:
            parts.clear()
            context.held.release(request.scope)
        is_whole = not message.get("more_body", False)
    if size > limit:
        raise HttpProblem(413, f"the body is larger than {limit} bytes; send fewer texts", code="body_too_large")
    if not has_room:
        raise HttpProblem(
            429,
            f"the bodies of all requests in progress are larger than {context.held.most} bytes; try again in "
            f"{RETRY_SECONDS} s",
            code="too_many_bytes",
            retry_after=RETRY_SECONDS,
        )
    return b"".join(parts)


def schema_of(kind: type[Body]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that ``read_body`` reads."""
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
