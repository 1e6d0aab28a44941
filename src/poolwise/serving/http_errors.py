"""Errors as HTTP answers: in OpenAI's shape, and below ``/v2`` in Cohere's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from poolwise.errors import ConfigError, DataError, PoolwiseError, shortened
from poolwise.serving.batcher import QueueFullError
from poolwise.serving.served_model import AbandonedError, TimedOutError

logger = logging.getLogger("poolwise.serving.errors")
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""OpenAI's types of errors; others below 500 are ``invalid_request_error``, and from 500 on ``server_error``."""
ABANDONED = 499
"""What web servers log for a client that has gone; nobody reads that answer."""


class HttpProblem(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that gets an error as its answer.

    Args:
        param: the field of the body that is wrong.
        code: a stable word for programs.
        retry_after: after how many seconds to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after
        self.message, self.param = _shown(message, 2000), None if param is None else _shown(param, 200)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def as_body(self, path: str) -> bytes:
        """Return the body of the answer to a request for a path."""
        if path.startswith("/v2/"):
            return orjson.dumps({"id": str(uuid4()), "message": self.message})
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return orjson.dumps({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})

    def as_response(self, path: str) -> Response:
        """Return the answer to a request for a path."""
        return Response(self.as_body(path), self.status, self.headers, media_type="application/json")


def _shown(text: str, most: int) -> str:
    """Return a part of a request as an answer may repeat it: of bounded length, and in characters that UTF-8 has."""
    return shortened(text, most).encode("utf-8", "replace").decode()


def _path(request: Request) -> str:
    """Return the path of a request. ``request.url`` would also read its query and host, which may be no text."""
    return str(request.scope["path"])


def problem_of(error: PoolwiseError) -> HttpProblem:
    """Return an error of the library as an answer."""
    message = str(error)
    if isinstance(error, QueueFullError):
        return HttpProblem(429, message, code="queue_full", retry_after=error.retry_after)
    if isinstance(error, TimedOutError):
        return HttpProblem(503, message, code="timeout", retry_after=error.retry_after)
    is_theirs = isinstance(error, (ConfigError, DataError))
    return HttpProblem(400 if is_theirs else 500, message, code="invalid_value" if is_theirs else "model_error")


def first_problem(errors: Sequence[Any]) -> HttpProblem:
    """Return what is wrong with a body, from pydantic's list; no value of the body is repeated."""
    found = errors[0]
    kind, place = found["type"], [str(part) for part in found["loc"]]
    if kind == "json_invalid":
        return HttpProblem(400, f"the body is not JSON: {found['ctx']['error']}", code="invalid_json")
    # The branches of a union each have an error; the field is what they share.
    param = place[0] if place else None
    messages = dict.fromkeys(str(one["msg"]) for one in errors if not param or str(one["loc"][0]) == param)
    if kind == "extra_forbidden":
        message = f"{param} is not a field of this request"
    elif kind == "missing":
        message = f"{param} is missing"
    else:
        message = f"{param or 'the body'}: {'; or '.join(messages)}"
    return HttpProblem(400, message, param=param, code="invalid_value")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of an app in the shape of the API that was asked."""

    @app.exception_handler(HttpProblem)
    async def _problem(request: Request, problem: HttpProblem) -> Response:
        return problem.as_response(_path(request))

    @app.exception_handler(PoolwiseError)
    async def _error(request: Request, error: PoolwiseError) -> Response:
        return problem_of(error).as_response(_path(request))

    @app.exception_handler(AbandonedError)
    async def _abandoned(request: Request, error: AbandonedError) -> Response:
        return HttpProblem(ABANDONED, "the client has gone").as_response(_path(request))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return first_problem([{**one, "loc": one["loc"][1:]} for one in error.errors()]).as_response(_path(request))

    @app.exception_handler(404)
    async def _not_found(request: Request, error: Exception) -> Response:
        return HttpProblem(404, f"there is no {_path(request)[:100]}", code="not_found").as_response(_path(request))

    @app.exception_handler(405)
    async def _not_allowed(request: Request, error: Any) -> Response:
        problem = HttpProblem(405, f"{request.method} is not allowed here", code="method_not_allowed")
        response = problem.as_response(_path(request))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        logger.error("a bug in poolwise", exc_info=error)
        return HttpProblem(500, "this is a bug in poolwise; its log has the details").as_response(_path(request))
