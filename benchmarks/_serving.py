"""Shared by the benchmarks of the server: texts, whole requests, connections, and a server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


def make_texts(count: int, seed: int) -> list[str]:
    """Return short texts of 4 to 20 words, as queries and titles are."""
    draw = random.Random(seed)
    words = [f"word{number}" for number in range(5000)]
    return [" ".join(draw.choices(words, k=draw.randint(4, 20))) for _ in range(count)]


def requests_of(url: str, model: str, texts: Sequence[str], per_request: int) -> list[bytes]:
    """Return whole requests, so that a client spends its time on the network only."""
    where = urlsplit(url)
    made = []
    for start in range(0, len(texts), per_request):
        body = {"model": model, "input": texts[start : start + per_request], "encoding_format": "base64"}
        raw = json.dumps(body).encode()
        head = f"POST {where.path}/embeddings HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
        made.append(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    return made


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Serve a model as ``model`` with poolwise; yield the address of its API and the number of its process."""
    command = [sys.executable, "-m", "poolwise.cli.main", "serve", str(folder), "--name", "model", "--port", "0"]
    command += options
    log = folder.parent / f"{time.time_ns()}.log"
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            while not (urls := re.findall(r'"url": "([^"]+)"', log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield f"{urls[0]}/v1", process.pid
        finally:
            process.kill()


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {"p50_ms": 1000 * cuts[49], "p99_ms": 1000 * cuts[98]}


class Connections:
    """Keep-alive connections to one server; a free one is used again."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.host, self.port = where.hostname, where.port
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and return status and body of the answer."""
        reader, writer = await self._open()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self.free.append((reader, writer))
        return int(head[9:12]), body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.free:
            reader, writer = self.free.pop()
            if not reader.at_eof():  # the server closes what rests for long
                return reader, writer
        return await asyncio.open_connection(self.host, self.port)

    def close(self) -> None:
        """Close the connections that are free."""
        for _, writer in self.free:
            writer.close()


def allow_connections() -> None:
    """Let this process open as many connections as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def memory_of(process: int) -> float:
    """Return the memory of a process that is its own, in MiB: resident, without pages of files.

    The system takes those back when it likes, and they return when they are used: that is no growth.
    """
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def queue_of(url: str) -> float:
    """Return the tokens that wait for the model."""
    text = urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics").read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("poolwise_queue_tokens{"))


@dataclass
class Promises:
    """The table: what was promised, the limit, and what was measured."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def keep(self, promise: str, limit: str, measured: str, is_kept: bool) -> None:
        """Add a row, and print it."""
        self.rows.append((promise, limit, measured, is_kept))
        print(f"{'kept  ' if is_kept else 'BROKEN'}  {promise}: {measured} (wanted {limit})", flush=True)

    @property
    def are_kept(self) -> bool:
        """Whether all of them are."""
        return all(row[3] for row in self.rows)
