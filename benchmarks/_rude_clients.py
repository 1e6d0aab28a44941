"""Clients that cancel, flood, dawdle or say nothing, and a polite one that asks meanwhile."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

from _serving import Connections, Promises, allow_connections, memory_of, queue_of, requests_of

T = TypeVar("T")
HEAD_SECONDS = 20
"""After which the server closes a connection that has sent no whole head; docs/how-to/serve.md says so."""
PATIENCE = 60.0
SLACK = 10.0
"""Seconds that an answer may take, and that a limit may be late, on a machine that clients keep busy too."""


async def polite(url: str, request: bytes, seconds: float) -> list[float]:
    """Ask now and then, again where the server is busy; return the seconds to each answer, -1 for none."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        connections = Connections(url)
        try:
            async with asyncio.timeout(PATIENCE):
                while (status := (await connections.ask(request))[0]) == 429:
                    await asyncio.sleep(0.5)
            found.append(time.perf_counter() - start if status == 200 else -1.0)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            found.append(-1.0)
        connections.close()
        await asyncio.sleep(0.2)
    return found


def head_of(url: str, length: int) -> bytes:
    where = urlsplit(url)
    return (
        f"POST {where.path}/embeddings HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def with_body(url: str, body: bytes) -> bytes:
    return head_of(url, len(body)) + body


async def cancelled(url: str, requests: Sequence[bytes]) -> None:
    """Send requests and leave before the answer."""
    where = urlsplit(url)
    for request in requests:
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(request)
        await writer.drain()
        writer.close()


async def statuses_of(url: str, bodies: Sequence[bytes]) -> list[int]:
    """Return the status of each body's answer."""
    connections = Connections(url)
    found = [(await connections.ask(with_body(url, body)))[0] for body in bodies]
    connections.close()
    return found


async def until_closed(url: str, pieces: Sequence[bytes], pause: float, limit: float) -> tuple[float, bytes]:
    """Send pieces with a pause between them; return the seconds until the server closes, and what it said."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    start = time.perf_counter()

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    said = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(limit):
            while part := await reader.read(4096):
                said += part
    taken = time.perf_counter() - start
    sending.cancel()
    writer.close()
    return taken, said


async def never_read(url: str, request: bytes, count: int, seconds: float) -> int:
    """Ask for large answers in turn and read none; return how many connections are cut off after a while."""
    where = urlsplit(url)
    held = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((where.hostname, where.port))
        one.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(one, request)
        held.append(one)
        await asyncio.sleep(1)
        while await asyncio.to_thread(queue_of, url):  # a full queue would refuse the next one
            await asyncio.sleep(0.5)
    await asyncio.sleep(seconds)
    cut = 0
    for attempt in range(2):
        # A connection that was closed answers what is sent with a reset, and the next time there is an error.
        for one in held:
            try:
                one.send(b"x")
            except OSError:
                cut += attempt
        await asyncio.sleep(1)
    for one in held:
        one.close()
    return cut


async def stay_silent(url: str, count: int, seconds: float) -> tuple[int, int, float]:
    """Open connections that say nothing; return how many opened, how many the server closed, and after how long."""
    where = urlsplit(url)
    opened = []
    for _ in range(count):
        try:
            opened.append(await asyncio.open_connection(where.hostname, where.port))
        except OSError:
            break
    start = time.perf_counter()
    ends = await asyncio.gather(
        *(asyncio.wait_for(reader.read(), seconds) for reader, _ in opened), return_exceptions=True
    )
    taken = time.perf_counter() - start
    for _, writer in opened:
        writer.close()
    return len(opened), sum(end == b"" or isinstance(end, ConnectionError) for end in ends), taken


class Beside:
    """Runs rude clients while a polite one asks, and keeps the promise that the polite one is answered."""

    def __init__(self, url: str, request: bytes, promises: Promises) -> None:
        self._url, self._request, self._promises = url, request, promises

    def run(self, what: str, work: Awaitable[T], seconds: float) -> T:
        """Return what some work returns; the polite client asks for so many seconds."""

        async def both() -> tuple[T, list[float]]:
            asking = asyncio.create_task(polite(self._url, self._request, seconds))
            return await work, await asking

        result, waits = asyncio.run(both())
        lost, worst = sum(wait < 0 for wait in waits), max(waits, default=-1.0)
        told = f"{lost} of {len(waits)} answers lost, the slowest after {worst:.2f} s"
        self._promises.keep(
            f"{what}: a polite client", f"none lost, at most {SLACK:g} s", told, not lost and worst <= SLACK
        )
        return result


def rude(url: str, process: int, texts: Sequence[str], per_request: int, idle: int) -> Promises:
    """Be rude in one way after the other, and return what the server promised meanwhile."""
    kept = Promises()
    requests = requests_of(url, "model", texts, per_request)
    allow_connections()
    before = memory_of(process)
    beside = Beside(url, requests[0], kept)
    _cancelled(url, requests, beside, kept)
    _bad_bodies(url, beside, kept)
    _slow(url, beside, kept)
    _unread(url, beside, kept)
    _silent(url, idle, beside, kept)
    size = memory_of(process)
    kept.keep(
        "memory of the server after all of it", "<= 1.5x", f"{size / before:.2f}x, {size:.0f} MiB", size <= 1.5 * before
    )
    return kept


def _cancelled(url: str, requests: Sequence[bytes], beside: Beside, kept: Promises) -> None:
    many = [requests[number % len(requests)] for number in range(500)]
    beside.run("500 cancelled requests", cancelled(url, many), 5)
    time.sleep(1)
    left = queue_of(url)
    kept.keep("tokens that wait after cancelled requests", "0", f"{left:.0f}", left == 0)


def _bad_bodies(url: str, beside: Beside, kept: Promises) -> None:
    huge = b'{"model": "model", "input": "' + b"a " * (32 << 20) + b'"}'
    statuses = beside.run("a body of 64 MiB", statuses_of(url, [huge]), 3)
    kept.keep("a body of 64 MiB", "413", f"{statuses}", statuses == [413])
    start = b'{"model": "model", "input": '
    bad = [b"\xff\xfe{", start + b'"\xff"}', b"[" * 100_000, start + b"NaN}", b"", start + b'["a", 1]}']
    statuses = beside.run("bodies that are no JSON or no UTF-8", statuses_of(url, bad), 2)
    kept.keep("bodies that are no JSON, no UTF-8, or deeply nested", "400 each", f"{statuses}", set(statuses) == {400})


def _slow(url: str, beside: Beside, kept: Promises) -> None:
    body = b'{"model": "model", "input": "a text"}'

    async def slow() -> tuple[list[tuple[float, bytes]], list[tuple[float, bytes]]]:
        pieces = [bytes([byte]) for byte in head_of(url, 9)], [head_of(url, len(body)), *(bytes([b]) for b in body)]
        found = [asyncio.gather(*(until_closed(url, part, 1.0, 60) for _ in range(100))) for part in pieces]
        heads, bodies = await asyncio.gather(*found)
        return heads, bodies

    heads, bodies = beside.run("200 clients that send a byte a second", slow(), HEAD_SECONDS)
    last, most = max(seconds for seconds, _ in heads), HEAD_SECONDS + SLACK
    kept.keep("heads that come byte by byte are cut off", f"<= {most:g} s", f"{last:.0f} s", last <= most)
    told = sum(b" 408 " in said[:20] for _, said in bodies)
    kept.keep("bodies that come byte by byte get 408", "all of 100", f"{told}", told == 100)


def _unread(url: str, beside: Beside, kept: Promises) -> None:
    many = json.dumps({"model": "model", "input": [f"text {n}" for n in range(2048)]}).encode()
    count, most = 5, 2 * HEAD_SECONDS + SLACK
    cut = beside.run(
        "clients that never read answers of some MiB", never_read(url, with_body(url, many), count, most), most
    )
    kept.keep("clients that never read are cut off", f"all of {count}", f"{cut}", cut == count)


def _silent(url: str, idle: int, beside: Beside, kept: Promises) -> None:
    idle = min(idle, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000)  # of files that the system lets us open
    work = stay_silent(url, idle, HEAD_SECONDS + 3 * SLACK)
    opened, closed, taken = beside.run(f"{idle:,} silent connections", work, HEAD_SECONDS)
    kept.keep("silent connections that opened", f">= {0.95 * idle:,.0f}", f"{opened:,}", opened >= 0.95 * idle)
    most = HEAD_SECONDS + 2 * SLACK
    is_kept = closed == opened and taken <= most
    kept.keep("silent connections are closed", f"all, in {most:g} s", f"{closed:,} in {taken:.0f} s", is_kept)
