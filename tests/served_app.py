"""A client that calls a server's app in this process."""

from __future__ import annotations

from typing import Any

import httpx


def client_of(app: Any, **options: Any) -> httpx.AsyncClient:
    """Return a client that calls an app without a network."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)
