"""``HeldBodies``: the bytes of all bodies whose requests are in progress, and no more of them."""

from __future__ import annotations

from typing import Any

HELD = "poolwise.held_bytes"


class HeldBodies:
    """Counts the bytes that requests hold, from when they arrive until the request ends.

    Args:
        most: bytes that all requests together may hold.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.num_bytes = 0

    def take(self, scope: Any, count: int) -> bool:
        """Count more bytes for a request; False if there is no room for them."""
        if self.num_bytes + count > self.most:
            return False
        self.num_bytes += count
        scope[HELD] = scope.get(HELD, 0) + count
        return True

    def release(self, scope: Any) -> None:
        """Forget what a request holds."""
        self.num_bytes -= scope.pop(HELD, 0)


class ReleaseBodies:
    """ASGI middleware that forgets the bytes of a request when it has ended."""

    def __init__(self, app: Any, held: HeldBodies) -> None:
        self._app, self._held = app, held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, then release what it held."""
        try:
            await self._app(scope, receive, send)
        finally:
            self._held.release(scope)
