"""The body of a request: its size, the time that it takes, and its fields."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from poolwise.serving.http_errors import HttpProblem, first_problem
from poolwise.serving.served_model import AbandonedError
from poolwise.serving.settings import ServeSettings

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    """A body in JSON: values have exactly the types that it says, and no field is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


async def read_body(request: Request, kind: type[B], settings: ServeSettings) -> B:
    """Return the body of a request.

    Raises: HttpProblem for another content type, or a body that is too large, too slow or not what ``kind`` says.
    """
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise HttpProblem(415, f"the content type is {content_type[:60]!r}; wanted application/json")
    try:
        async with asyncio.timeout(settings.body_seconds):
            raw = await _read(request, settings.max_body_bytes)
    except TimeoutError as error:
        raise HttpProblem(408, f"the body did not arrive in {settings.body_seconds:g} s", code="timeout") from error
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise first_problem(error.errors(include_url=False, include_input=False)) from None


async def _read(request: Request, limit: int) -> bytes:
    """Return a body; one that is too large is read to its end and dropped, or its sender would not see the answer."""
    parts: list[bytes] = []
    size = 0
    is_whole = False
    while not is_whole:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise AbandonedError
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        is_whole = not message.get("more_body", False)
    if size > limit:
        raise HttpProblem(413, f"the body is larger than {limit} bytes; send fewer texts", code="body_too_large")
    return b"".join(parts)


def schema_of(kind: type[Body]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that ``read_body`` reads."""
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
