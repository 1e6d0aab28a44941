"""Slow and broken connections: heads and bodies that do not come, and a second signal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from poolwise.serving import ServeSettings, create_app, server
from served_app import client_of


def app_server(served: Any, **settings: Any) -> Any:
    app = create_app({"tiny": served}, ServeSettings(**settings))
    return server._Server(uvicorn.Config(app), app.state.serving)


def test_connections_that_send_no_head_are_closed_and_others_are_not(served, monkeypatch) -> None:
    found, closed, now = app_server(served), [], [100.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])

    class Connection:
        def __init__(self, name: str, cycle: Any, keep_alive: Any) -> None:
            self.cycle, self.timeout_keep_alive_task, self.flow = cycle, keep_alive, None
            self.transport = SimpleNamespace(close=lambda: closed.append(name))

    busy, done = SimpleNamespace(response_complete=False), SimpleNamespace(response_complete=True)
    silent = Connection("silent", None, None)
    half = Connection("half of a second head", done, None)
    working, resting = Connection("working", busy, None), Connection("resting", done, "a timer")
    found.server_state.connections = {silent, half, working, resting}
    for seconds, wanted in ((0.0, []), (19.0, []), (2.0, ["half of a second head", "silent"])):
        now[0] += seconds
        assert asyncio.run(found.on_tick(1)) is False
        assert sorted(closed) == wanted


def test_the_collector_is_spared_after_a_model_was_replaced(served, monkeypatch) -> None:
    found = app_server(served)
    calls: list[str] = []
    for name in ("unfreeze", "collect", "freeze"):
        monkeypatch.setattr(server.gc, name, lambda name=name: calls.append(name))
    asyncio.run(found.on_tick(1))
    assert calls == []
    monkeypatch.setattr(served, "num_freed", served.num_freed + 1)
    for _ in range(2):
        asyncio.run(found.on_tick(1))
    assert calls == ["unfreeze", "collect", "freeze"]


def test_answers_that_nobody_takes_are_cut_off_and_slow_ones_are_not(served, monkeypatch) -> None:
    found, aborted, now = app_server(served), [], [100.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])

    class Connection:
        cycle = SimpleNamespace(response_complete=False)
        timeout_keep_alive_task = None

        def __init__(self, name: str, sizes: list[int]) -> None:
            self.flow = SimpleNamespace(write_paused=bool(sizes))
            waiting = iter(sizes)
            self.transport = SimpleNamespace(
                get_write_buffer_size=lambda: next(waiting), abort=lambda: aborted.append(name)
            )

    million = 1_000_000
    never = Connection("never", [million] * 4)
    trickle = Connection("trickle", [million, million - 10, million - 20, million - 30])
    steady = Connection("steady", [million, million - 300_000, million - 600_000, million - 900_000])
    found.server_state.connections = {never, trickle, steady, Connection("at rest", [])}
    for seconds, wanted in ((0.0, []), (12.0, []), (7.0, []), (2.0, ["never", "trickle"])):
        now[0] += seconds
        assert asyncio.run(found.on_tick(1)) is False
        assert sorted(aborted) == wanted


@pytest.mark.slow
def test_the_limit_of_open_files_is_raised_to_what_the_system_allows() -> None:
    code = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (256, r.getrlimit(r.RLIMIT_NOFILE)[1]));"
    code += "from poolwise.serving.server import raise_file_limit; raise_file_limit();"
    code += "assert len({*r.getrlimit(r.RLIMIT_NOFILE)}) == 1"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_first_signal_drains_and_a_second_ends_at_once(served) -> None:
    found = app_server(served)
    found._stop()
    assert (found.should_exit, found.force_exit, found._context.is_draining) == (True, False, True)
    found._stop()
    assert found.force_exit


def ask(served: Any, messages: list[Any], **settings: Any) -> tuple[int, bytes]:
    """Send a request whose body comes in messages, and then nothing; return status and body of the answer."""
    app = create_app({"tiny": served}, ServeSettings(**settings))
    sent: list[Any] = []
    waiting = iter(messages)

    async def receive() -> Any:
        if (message := next(waiting, None)) is None:
            await asyncio.sleep(60)
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [(b"host", b"localhost")]}
    scope |= {"query_string": b"", "raw_path": b"/v1/embeddings", "root_path": "", "http_version": "1.1"}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_stops_is_cut_off(served) -> None:
    status, body = ask(served, [part(b'{"model": ')], body_seconds=0.1)
    assert status == 408 and b"did not arrive in 0.1 s" in body


def test_a_client_that_leaves_within_its_body_is_no_error(served, caplog) -> None:
    status, _ = ask(served, [part(b'{"model": '), {"type": "http.disconnect"}])
    assert status == 499
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_leaves_while_it_waits_frees_the_queue(served) -> None:
    body = b'{"model": "tiny", "input": ["a dog runs"]}'
    gate = threading.Event()
    held = served._live.batcher.call(lambda: gate.wait(20))
    try:
        status, _ = ask(served, [part(body, more=False), {"type": "http.disconnect"}])
        assert (status, served.num_waiting) == (499, 0)
    finally:
        gate.set()
        held.result()


def test_a_large_body_in_parts_is_read_to_its_end_and_refused(served) -> None:
    status, body = ask(served, [*[part(b"x" * 100)] * 20, part(b"", more=False)], max_body_bytes=1000)
    assert status == 413 and b"1000 bytes" in body


def test_bodies_are_refused_while_requests_hold_too_much_and_taken_after(served) -> None:
    body = b'{"model": "tiny", "input": "' + b"a dog " * 100 + b'"}'
    app = create_app({"tiny": served}, ServeSettings(max_held_bytes=1000))
    held = app.state.serving.held
    other: dict[str, Any] = {}
    assert held.take(other, 900)

    async def run() -> list[Any]:
        async with client_of(app) as opened:
            refused = await opened.post("/v1/embeddings", content=body)
            held.release(other)
            return [refused, await opened.post("/v1/embeddings", content=body)]

    refused, taken = asyncio.run(run())
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_bytes")
    assert refused.headers["retry-after"] and taken.status_code == 200
    assert held.num_bytes == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_other_content_types_are_refused(served, kind) -> None:
    async def run() -> Any:
        async with client_of(create_app({"tiny": served})) as opened:
            return await opened.post("/v1/embeddings", content=b"{}", headers={"content-type": kind})

    answer = asyncio.run(run())
    assert answer.status_code == 415 and "wanted application/json" in answer.json()["error"]["message"]
