"""One line of JSON per request, without its texts and keys, and its count."""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any

from poolwise.serving.counters import Counters

logger = logging.getLogger("poolwise.serving.requests")
MOST_ID = 64


class RequestLog:
    """ASGI middleware that counts and logs each request, and gives each an id (``x-request-id``)."""

    def __init__(self, app: Any, counters: Counters) -> None:
        self._app, self._counters = app, counters

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, and note how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        own = given if 0 < len(given) <= MOST_ID and given.isascii() and given.decode().isprintable() else b""
        request_id = own or b"%032x" % random.getrandbits(128)
        scope.setdefault("state", {})

        async def send_noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            seconds = time.perf_counter() - start
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._counters.count_request(path, status, seconds)
            if logger.isEnabledFor(logging.INFO):
                noted = {
                    "id": request_id.decode(),
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                    **scope["state"].get("noted", {}),
                }
                logger.info("request", extra={"noted": noted})


class JsonLines(logging.Formatter):
    """Formats each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "noted", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def start_logging(level: int) -> None:
    """Write the server's records as JSON lines on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("poolwise.serving", "uvicorn.error", "fastapi"):
        found = logging.getLogger(name)
        found.handlers, found.propagate = [handler], False
        found.setLevel(level)
