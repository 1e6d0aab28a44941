"""Runs an app: binds first, drains on SIGTERM, reloads on SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from poolwise.errors import ConfigError, PoolwiseError
from poolwise.serving.context import Context
from poolwise.serving.status_api import reload_model

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("poolwise.serving.server")
HEAD_SECONDS = 20
"""A client that takes longer to send the head of a request is cut off; uvicorn 0.54 would wait for ever."""
SEND_SECONDS, SEND_BYTES = 20, 1 << 18
"""A client that takes less of a large answer than so many bytes in so many seconds is cut off: what waits is memory."""
KEEP_ALIVE_SECONDS = 75
"""Above the minute that load balancers keep a connection, so that they close it first."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen yet; port 0 takes a free one.

    Raises: ConfigError where the address is not this machine's or is in use.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, proto)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}",
            "wanted an address of this machine and a free port",
            "give another --port",
        ) from error
    return found


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's own address only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ignore_reloads() -> None:
    """Ignore SIGHUP until the server runs: it would end the process, and the models are being loaded anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def raise_file_limit() -> None:
    """Let the process have as many open connections as the system allows it; the usual default is 1,024."""
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses what it calls unlimited
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def spare_the_collector() -> None:
    """Collect garbage, then keep all that is left out of later collections.

    Those would go through the hundreds of thousands of objects of torch and a model again and again, while no thread
    computes: a fifth of what a request costs beside its embedding.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def run_server(app: FastAPI, listening: socket.socket) -> None:
    """Serve an app until SIGTERM or SIGINT; every request that was accepted is answered. A second one ends at once."""
    raise_file_limit()
    spare_the_collector()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="auto",
        ws="none",
    )
    context: Context = app.state.serving
    server = _Server(config, context)
    server.run(sockets=[listening])
    if server.force_exit:
        return
    for model in context.models.values():
        model.close()
    logger.info("stopped; every accepted request was answered")


def _awaits_head(connection: Any) -> bool:
    """Return whether a connection is between two requests and is not one that rests until its keep-alive ends."""
    is_between = connection.cycle is None or connection.cycle.response_complete
    return is_between and connection.timeout_keep_alive_task is None


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn raises them again once it has ended."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context
        self._reloads: set[asyncio.Task[None]] = set()
        self._num_freed = self._count_freed()
        self._silent_since: dict[Any, float] = {}
        self._sending: dict[Any, tuple[float, int]] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where the server listens, once it does."""
        await super().startup(sockets)
        address, port = (sockets or [])[0].getsockname()[:2]
        where = f"[{address}]" if ":" in address else address
        noted = {"url": f"http://{where}:{port}", "models": list(self._context.models)}
        logger.info("serving", extra={"noted": noted})

    async def on_tick(self, counter: int) -> bool:
        """Close connections that are too slow to send a request head or to take an answer; then do as uvicorn does."""
        now = time.monotonic()
        silent = [one for one in self.server_state.connections if _awaits_head(one)]
        self._silent_since = {one: self._silent_since.get(one, now) for one in silent}
        for one, since in self._silent_since.items():
            if now - since > HEAD_SECONDS:
                one.transport.close()
        self._abort_stalled(now)
        if (num_freed := self._count_freed()) != self._num_freed:
            self._num_freed = num_freed
            spare_the_collector()  # else what the old model leaves in cycles would never be freed
        return await super().on_tick(counter)

    def _count_freed(self) -> int:
        return sum(model.num_freed for model in self._context.models.values())

    def _abort_stalled(self, now: float) -> None:
        sending = {}
        connections: Iterable[Any] = self.server_state.connections
        for one in connections:
            if one.flow is None or not one.flow.write_paused:
                continue
            size = one.transport.get_write_buffer_size()
            since, before = self._sending.get(one, (now, size))
            if not before - SEND_BYTES < size <= before:  # it was taken, or another answer came
                since, before = now, size
            if now - since > SEND_SECONDS:
                one.transport.abort()
            else:
                sending[one] = since, before
        self._sending = sending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, reload on SIGHUP."""
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number, old in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, old)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = self._context.is_draining = True

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_all())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_all(self) -> None:
        for model in self._context.models.values():
            with contextlib.suppress(PoolwiseError):  # it is logged
                await reload_model(self._context, model)
