"""Keys, hosts and origins."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from poolwise.errors import ConfigError
from poolwise.serving import ServeSettings, create_app
from poolwise.serving.access import is_known, load_keys
from poolwise.serving.server import bind, is_loopback
from served_app import client_of


def get(client, path, headers=None, **settings):
    async def run():
        async with client(**settings) as open_client:
            return await open_client.get(path, headers=headers)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic one", 401),
        ("Bearer one", 200),
        ("bearer two", 200),
        ("Bearer één", 401),
    ],
)
def test_a_request_needs_one_of_the_keys(client, authorization, status) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    answer = get(client, "/v1/models", headers, keys=("one", "two"))
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/info", "/metrics", "/v1/models", "/openapi.json", "/nothing"])
def test_only_health_and_ready_are_open(client, path) -> None:
    assert get(client, path, keys=("one",)).status_code == 401
    assert get(client, "/health", keys=("one",)).status_code == 200
    assert get(client, "/ready", keys=("one",)).status_code == 200


def test_paths_that_a_page_needs_can_be_opened(served) -> None:
    app = create_app({"tiny": served}, ServeSettings(keys=("one",)), open_paths=["/info"])

    async def run():
        async with client_of(app) as opened:
            return [(await opened.get(path)).status_code for path in ("/info", "/metrics")]

    assert asyncio.run(run()) == [200, 401]


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("evil.example", 403), ("", 403)],
)
def test_without_keys_only_this_machines_names_are_answered(client, host, status) -> None:
    assert get(client, "/info", {"host": host}).status_code == status
    assert get(client, "/info", {"host": host}, is_loopback=False).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 200), ("http://evil.example", 403), ("null", 403), ("http://localhost:3000", 403)],
)
def test_pages_of_other_sites_are_refused_and_get_no_cors_headers(client, origin, status) -> None:
    answer = get(client, "/info", {"origin": origin})
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("site", "destination", "status"),
    [
        ("same-origin", "empty", 200),
        ("none", "document", 200),
        ("cross-site", "document", 200),  # a link that the user followed
        ("cross-site", "iframe", 403),
        ("cross-site", "image", 403),
        ("same-site", "empty", 403),  # another port of this machine
    ],
)
def test_what_a_browser_says_of_the_page_that_asks_is_heeded(client, site, destination, status) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-dest": destination}
    assert get(client, "/info", headers).status_code == status


def test_keys_come_from_a_file_and_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours\none\n\n two \n")
    assert load_keys(file, {"POOLWISE_API_KEYS": "three, ,one"}) == ("three", "one", "two")
    assert load_keys(None, {}) == ()
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="has no key"):
        load_keys(file, {})
    with pytest.raises(ConfigError, match="cannot read --keys"):
        load_keys(tmp_path / "missing", {})


def test_keys_may_be_in_any_language(client, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes("\ufeffone\nschlüssel\n".encode())
    keys = load_keys(file, {})
    assert keys == ("one", "schlüssel")
    for sent in ("schlüssel".encode(), "schlüssel".encode("latin-1")):
        assert get(client, "/v1/models", {"authorization": b"Bearer " + sent}, keys=keys).status_code == 200
    assert get(client, "/v1/models", {"authorization": "Bearer schlussel"}, keys=keys).status_code == 401


def test_a_key_matches_only_as_a_whole() -> None:
    assert is_known("one", ["zero", "one"])
    assert not any(is_known(given, ["one"]) for given in ("", "on", "one ", "One", "\udcff"))


def test_keys_and_texts_are_never_logged(client, caplog) -> None:
    async def run():
        async with client(keys=("secret-key",), headers={"authorization": "Bearer secret-key"}) as opened:
            for text in ("hidden words", "", ["hidden words", 3]):
                await opened.post("/v1/embeddings", json={"model": "tiny", "input": text})
            await opened.get("/info?text=hidden", headers={"authorization": "Bearer secret-kez"})

    logging.getLogger("poolwise").propagate, before = True, logging.getLogger("poolwise").propagate
    try:
        with caplog.at_level(logging.DEBUG):
            asyncio.run(run())
    finally:
        logging.getLogger("poolwise").propagate = before
    ours = [record for record in caplog.records if record.name.startswith("poolwise")]
    kept = [f"{record.getMessage()} {vars(record)}" for record in ours]
    assert sum("'tokens': 4" in one for one in kept) == 1
    assert not [one for one in kept if "hidden" in one or "secret" in one]


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback_addresses(host, wanted) -> None:
    assert is_loopback(host) is wanted


def test_a_port_in_use_is_one_error() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1 port"):
            bind("127.0.0.1", first.getsockname()[1])
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_a_preflight_of_another_site_is_refused_and_none_is_allowed(client) -> None:
    async def run(origin: str):
        headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "a"}
        async with client() as opened:
            return await opened.options("/v1/embeddings", headers=headers)

    answers = {origin: asyncio.run(run(origin)) for origin in ("http://evil.example", "http://localhost")}
    assert [answer.status_code for answer in answers.values()] == [403, 405]
    assert not [name for answer in answers.values() for name in answer.headers if name.startswith("access-control")]


def test_the_default_is_this_machine_alone() -> None:
    from inspect import signature

    from poolwise.cli.serve import serve

    assert is_loopback(signature(serve).parameters["host"].default)
    assert ServeSettings().is_loopback and ServeSettings().max_body_bytes <= 2**23


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../etc/passwd",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/page/../../etc/passwd",
        "/%2e%2e/etc/passwd",
    ],
)
def test_paths_that_go_up_reach_no_file(client, path) -> None:
    answer = get(client, path)
    assert answer.status_code == 404 and "root:" not in answer.text


@pytest.mark.parametrize(
    ("path", "query"),
    [("/nothing", b"\xed\xa0\x80"), ("/\udfff", b""), ("/v1/models/\udfff", b"\xff"), ("/" + "x" * 10**5, b"")],
)
def test_addresses_that_are_no_text_are_answered(served, path, query) -> None:
    app, sent = create_app({"tiny": served}), []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "http_version": "1.1"}
    scope |= {"scheme": "http", "root_path": "", "server": ("localhost", 80), "headers": [(b"host", b"localhost")]}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 404 and len(sent[1]["body"]) < 500


def test_a_field_of_a_megabyte_is_not_repeated(client) -> None:
    async def run():
        async with client() as opened:
            return await opened.post("/v1/embeddings", json={"model": "tiny", "input": "a", "x" * 10**6: 1})

    answer = asyncio.run(run())
    assert answer.status_code == 400 and len(answer.content) < 3000
    assert answer.json()["error"]["param"].startswith("xxx")
