"""Who may use a server: API keys, and no requests that a page of another site makes in the user's browser."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from poolwise.errors import ConfigError
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.settings import ServeSettings

KEYS_VARIABLE = "POOLWISE_API_KEYS"
COMMON_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
REPORT_HEADERS = {
    **COMMON_HEADERS,
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups; frame-ancestors 'none'",
}
"""Of a report, which holds its own script: in a sandbox that can neither read from the server nor see the page."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def load_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the API keys of a file, one a line, and of the variable ``POOLWISE_API_KEYS``, separated by commas.

    Lines that are empty or begin with # are left out.

    Raises: ConfigError for a file that cannot be read or has no key.
    """
    keys = [key.strip() for key in environment.get(KEYS_VARIABLE, "").split(",")]
    if path is not None:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read --keys {path}: {error}", "wanted a text file, a key on each line"
            ) from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ConfigError(f"--keys {path} has no key", "wanted a key on each line")
        keys += found
    return tuple(dict.fromkeys(key for key in keys if key))


def is_known(given: str, keys: Sequence[str]) -> bool:
    """Return whether a key is one of several, in a time that does not depend on how much of it is right."""
    # A header comes as one character a byte, and clients send keys as UTF-8 or as latin-1.
    ways = {
        sha256(raw).digest() for raw in (given.encode("utf-8", "surrogateescape"), given.encode("latin-1", "replace"))
    }
    matches = [hmac.compare_digest(digest, sha256(key.encode()).digest()) for key in keys for digest in ways]
    return any(matches)


class Access:
    """ASGI middleware that refuses requests which the settings do not allow.

    Args:
        open_paths: paths that need no key.
    """

    def __init__(self, app: Any, settings: ServeSettings, open_paths: Iterable[str]) -> None:
        self._app, self._settings, self._open_paths = app, settings, frozenset(open_paths)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass an allowed request on."""
        if scope["type"] == "http" and (problem := self._problem(scope)) is not None:
            await problem.as_response(scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _problem(self, scope: Any) -> HttpProblem | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        # A page whose name is made to point here sends its own name as the host.
        if self._settings.is_loopback and not self._settings.keys and _name(host) not in LOOPBACK:
            return HttpProblem(403, f"the host is {host[:60]!r}; wanted localhost", code="wrong_host")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _OTHER_SITE
        if headers.get(b"sec-fetch-site") in ("cross-site", "same-site") and not _is_followed_link(scope, headers):
            return _OTHER_SITE
        if not self._settings.keys or scope["path"] in self._open_paths:
            return None
        scheme, _, key = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer" and is_known(key.strip(), self._settings.keys):
            return None
        got = "the API key is not known" if key else "the API key is missing"
        return HttpProblem(401, f"{got}; wanted the header Authorization: Bearer KEY", code="invalid_api_key")


_OTHER_SITE = HttpProblem(403, "requests of other sites' pages are not allowed", code="wrong_origin")


def _is_followed_link(scope: Any, headers: Mapping[bytes, str]) -> bool:
    """Return whether a browser shows the answer as a page of its own, which the page with the link cannot read."""
    return scope["method"] == "GET" and headers.get(b"sec-fetch-dest") == "document"


def _name(host: str) -> str:
    """Return a host without its port."""
    return (host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]).lower()
