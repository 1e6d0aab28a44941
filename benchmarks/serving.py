"""A served model at 64 clients against one client, and against ``model.encode`` of the same texts.

python benchmarks/serving.py [--base poolwise/nano] [--texts 1024] [--clients 64] [--repeats 3] [--infinity PYTHON]

Server, clients and library share this machine's cores: the server is a process of its own, all clients are another, and
the library computes in this one while they rest. Every request has one text, or ``--per-request`` of them.

``--infinity`` is the Python of an environment with infinity-emb, which then serves the same model (exported, so that
sentence-transformers loads it) to the same clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from _measure import in_own_process, record, seconds
from _serving import make_texts, percentiles, requests_of, served

TARGET_CLIENTS, TARGET_LIBRARY = 5.0, 0.9
"""Of 64 clients over one, and of the server over ``model.encode``."""
INFINITY_PORT = 7997


async def _client(url: str, waiting: Iterator[bytes], latencies: list[float]) -> None:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    for request in waiting:
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        body = await reader.readexactly(length)
        latencies.append(time.perf_counter() - start)
        assert head.startswith(b"HTTP/1.1 200"), body[:300]
    writer.close()


def load(url: str, model: str, texts: Sequence[str], per_request: int, clients: int) -> tuple[float, list[float]]:
    """Return the seconds for all texts, and the seconds of each request, with so many clients at once."""
    latencies: list[float] = []

    async def run() -> None:
        waiting = iter(requests_of(url, model, texts, per_request))
        await asyncio.gather(*(_client(url, waiting, latencies) for _ in range(clients)))

    return seconds(lambda: asyncio.run(run())), latencies


@contextmanager
def served_by_infinity(python: str, folder: Path) -> Iterator[str]:
    """Serve a model that sentence-transformers loads with infinity-emb, and yield the address of its API."""
    program = str(Path(python).parent / "infinity_emb")
    options = ["--model-id", str(folder), "--served-model-name", "model", "--port", str(INFINITY_PORT)]
    command = [program, "v2", *options, "--device", "cpu", "--engine", "torch"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{INFINITY_PORT}/health")
                    break
                except OSError:
                    assert process.poll() is None, "infinity-emb ended; start it by hand to see why"
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{INFINITY_PORT}"
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="poolwise/nano")
    parser.add_argument("--design", default="mean+causal")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--per-request", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--infinity", help="the Python of an environment with infinity-emb")
    asked = parser.parse_args()

    import poolwise

    what = f"{Path(asked.base).name}, {asked.per_request} text{'s' * (asked.per_request > 1)} a request"
    model = poolwise.build_model(asked.design, asked.base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        model.save(str(folder))
        model.encode(make_texts(256, seed=1))
        many, one, library, theirs, details = [], [], [], [], []
        with served(folder) as (url, _):
            for repeat in range(asked.repeats + 1):  # the first one warms up
                texts = make_texts(asked.texts, seed=2 + repeat)
                few = texts[: max(1, asked.texts // 8)]
                alone, latencies_alone = in_own_process(load, url, "model", few, asked.per_request, 1)
                at_once, latencies = in_own_process(load, url, "model", texts, asked.per_request, asked.clients)
                encoded = seconds(lambda texts=texts: model.encode(texts))
                if not repeat:
                    continue
                many.append((alone / len(few)) / (at_once / len(texts)))
                library.append(encoded / at_once)
                rates = {"texts_per_second": len(texts) / at_once, "alone_per_second": len(few) / alone}
                rates |= {"encode_per_second": len(texts) / encoded, **percentiles(latencies)}
                rates |= {f"alone_{key}": value for key, value in percentiles(latencies_alone).items()}
                details.append(rates)
                print(json.dumps({key: round(value, 1) for key, value in rates.items()}), flush=True)
                one.append(alone)
        if asked.infinity:
            from poolwise.export import export_model

            exported = Path(name) / "exported"
            export_model(str(folder), "sentence-transformers", str(exported))
            for repeat in range(asked.repeats + 1):
                texts = make_texts(asked.texts, seed=2 + repeat)
                with served_by_infinity(asked.infinity, exported) as url:
                    in_own_process(load, url, "model", texts[:64], asked.per_request, asked.clients)
                    other, _ = in_own_process(load, url, "model", texts, asked.per_request, asked.clients)
                with served(folder) as (url, _):
                    in_own_process(load, url, "model", texts[:64], asked.per_request, asked.clients)
                    ours, _ = in_own_process(load, url, "model", texts, asked.per_request, asked.clients)
                if repeat:
                    theirs.append(other / ours)
    settings = {"base": asked.base, "design": asked.design, "clients": asked.clients, "runs": details}
    record(f"serving {asked.clients} clients over one, {what}", many, TARGET_CLIENTS, **settings)
    record(f"serving {asked.clients} clients over model.encode, {what}", library, TARGET_LIBRARY, **settings)
    if theirs:
        record(f"serving {asked.clients} clients over infinity-emb, {what}", theirs, None, **settings)


if __name__ == "__main__":
    main()
