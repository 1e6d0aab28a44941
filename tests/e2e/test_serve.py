"""A served model in a process of its own: official clients, signals, slow and rude clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

import poolwise
import tiny_models
from command_line import poolwise as run_poolwise
from poolwise.cli.main import app
from poolwise.errors import ConfigError
from poolwise.models import build_model
from serving_process import Serving, serving

TEXTS = [*tiny_models.TEXTS, "one two"]
TOLERANCE = 2e-6
KEY = "a-key"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    base = tiny_models.save_tiny_base(place / "base", "llama")
    prompts = {"query": "query : ", "document": "document : "}
    for design in ("mean+causal", "last+bidirectional"):
        build_model(design, base, max_tokens=32, precision="fp32", prompts=prompts).save(str(place / design))
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serving]:
    places = [folder / "mean+causal", folder / "last+bidirectional"]
    with serving(*places, "--name", "mean", "--name", "last", "--precision", "fp32", POOLWISE_API_KEYS=KEY) as found:
        yield found


@pytest.fixture(scope="module")
def library(folder: Path) -> dict[str, poolwise.models.EmbeddingModel]:
    return {
        name: poolwise.load_model(folder / design, precision="fp32")
        for name, design in (("mean", "mean+causal"), ("last", "last+bidirectional"))
    }


def test_the_client_of_openai(server, library) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    for name in ("mean", "last"):
        for encoding in ("float", "base64"):
            found = client.embeddings.create(model=name, input=TEXTS, encoding_format=encoding)
            np.testing.assert_allclose(read(found.data[1].embedding), library[name].encode(TEXTS[1]), atol=TOLERANCE)
        found = client.embeddings.create(model=name, input=TEXTS)
        np.testing.assert_allclose([one.embedding for one in found.data], library[name].encode(TEXTS), atol=TOLERANCE)
        assert found.usage.prompt_tokens == found.usage.total_tokens > len(TEXTS)
    assert [model.id for model in client.models.list()] == ["mean", "last"]
    assert client.models.retrieve("last").owned_by == "poolwise"
    with pytest.raises(openai.NotFoundError, match="served: mean, last") as missing:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="was not trained for"):
        client.embeddings.create(model="mean", input="a", dimensions=8)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong").embeddings.create(model="mean", input="a")


def read(embedding: str | list[float]) -> np.ndarray:
    import base64

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4")
    return np.array(embedding)


def test_the_client_of_cohere(server, library) -> None:
    import cohere

    client = cohere.ClientV2(api_key=KEY, base_url=server.url)
    kinds = ["float", "int8", "ubinary"]
    found = client.embed(model="mean", texts=TEXTS, input_type="search_query", embedding_types=kinds)
    np.testing.assert_allclose(found.embeddings.float_, library["mean"].encode_query(TEXTS), atol=TOLERANCE)
    assert np.array(found.embeddings.int8).shape == (len(TEXTS), 32)
    assert np.array(found.embeddings.ubinary).shape == (len(TEXTS), 4)
    assert found.texts == TEXTS and found.meta.billed_units.input_tokens > len(TEXTS)
    with pytest.raises(cohere.NotFoundError, match="served: mean, last"):
        client.embed(model="embed-v4.0", texts=["a"], input_type="search_query")


def test_langchain(server, library) -> None:
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(model="last", base_url=f"{server.url}/v1", api_key=KEY, check_embedding_ctx_length=False)
    np.testing.assert_allclose(client.embed_documents(TEXTS), library["last"].encode(TEXTS), atol=TOLERANCE)
    np.testing.assert_allclose(client.embed_query(TEXTS[0]), library["last"].encode(TEXTS[0]), atol=TOLERANCE)


def post(server: Serving, text: str = "a", **options) -> httpx.Response:
    body = {"model": "mean", "input": text}
    return httpx.post(f"{server.url}/v1/embeddings", json=body, headers=bearer(), timeout=60, **options)


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


def test_a_body_of_10_mb_is_refused_and_the_sender_sees_why(server) -> None:
    answer = post(server, "word " * 2_000_000)
    assert answer.status_code == 413 and "send fewer texts" in answer.json()["error"]["message"]


def test_a_long_text_is_truncated_as_the_library_does(server, library) -> None:
    text = "stocks fell . " * 100_000
    found = post(server, text).json()["data"][0]["embedding"]
    np.testing.assert_allclose(found, library["mean"].encode(text[:2000]), atol=TOLERANCE)


def test_clients_that_leave_or_break_off_harm_nobody(server) -> None:
    where = urlsplit(server.url)
    body = json.dumps({"model": "mean", "input": ["a dog runs"] * 500}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    for sent in (head + body, head + body[:50], head[:30], b"\x00\xff\r\n\r\n"):
        with socket.create_connection((where.hostname, where.port)) as rude:
            rude.sendall(sent)
    assert post(server).status_code == 200
    assert not [line for line in server.lines if line["level"] == "error"]


def test_the_log_has_a_line_of_json_per_request_and_no_text(server) -> None:
    post(server, "a guitar in the park", params={"note": "park"})
    deadline = time.monotonic() + 20
    while not (mine := [line for line in server.lines if line.get("tokens") == 7]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {"model": "mean", "path": "/v1/embeddings", "status": 200, "texts": 1}.items() <= mine[-1].items()
    assert mine[-1]["ms"] >= mine[-1]["model_ms"] > 0
    assert not [line for line in server.lines if "park" in str(line) or KEY in str(line) or line["event"] == "not JSON"]


def test_reload_by_signal_and_by_request_leaves_no_gap(server, folder, library) -> None:
    async def run() -> tuple[list[httpx.Response], httpx.Response]:
        async with httpx.AsyncClient(headers=bearer(), timeout=120, base_url=server.url) as client:
            answers: list[httpx.Response] = []
            server.process.send_signal(signal.SIGHUP)
            reloading = asyncio.create_task(client.post("/admin/reload", params={"model": "last"}))
            while not reloading.done():
                answers.append(await client.post("/v1/embeddings", json={"model": "last", "input": TEXTS[0]}))
                await asyncio.sleep(0.05)
            return answers, await reloading

    answers, reloaded = asyncio.run(run())
    assert list(reloaded.json()["reloaded"]) == ["last"]
    wanted = library["last"].encode(TEXTS[0])
    for answer in answers:
        np.testing.assert_allclose(answer.json()["data"][0]["embedding"], wanted, atol=TOLERANCE)
    deadline = time.monotonic() + 60
    while (count := sum("reloaded: " in line["event"] for line in server.lines)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count == 3  # both models by the signal, one by the request


@pytest.mark.slow
def test_sigterm_answers_every_accepted_request(folder) -> None:
    texts = ["the old man plays a guitar in the park and sings"] * 400

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            body = {"model": "mean+causal", "input": texts}
            sent = [asyncio.create_task(client.post("/v1/embeddings", json=body)) for _ in range(24)]
            async with asyncio.timeout(60):
                while waiting((await client.get("/metrics")).text) < 10_000:
                    await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*sent)
            assert all(len(answer.json()["data"]) == len(texts) for answer in answers)
            return [answer.status_code for answer in answers]

    with serving(folder / "mean+causal", "--max-queue-tokens", "10000000") as server:
        assert asyncio.run(run()) == [200] * 24
        assert server.process.wait(60) == 0
        server.wait_for("stopped; every accepted request was answered")
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


def waiting(metrics: str) -> float:
    return float(metrics.partition('poolwise_queue_tokens{model="mean+causal"} ')[2].partition("\n")[0])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--host", "0.0.0.0", "MODEL"], "--host 0.0.0.0 without API keys; wanted --keys FILE or POOLWISE_API_KEYS"),
        (["MODEL", "MODEL"], "two models are called mean+causal"),
        (["MODEL", "--name", "a", "--name", "b"], "2 --name for 1 models"),
        (["MODEL", "--keys", "nowhere.txt"], "cannot read --keys nowhere.txt"),
    ],
)
def test_options_that_cannot_be_are_one_error(folder, args, words) -> None:
    given = [str(folder / "mean+causal") if one == "MODEL" else one for one in args]
    found = CliRunner().invoke(app, ["serve", *given]).exception
    assert isinstance(found, ConfigError) and words in str(found)


def test_a_model_that_is_not_there_is_one_error(tmp_path) -> None:
    found = run_poolwise("serve", "./missing", "--port", "0", cwd=tmp_path, code=2)
    assert found.stderr.splitlines()[-1].startswith("error: no model './missing'; wanted a folder that exists")


def test_without_its_packages_it_names_the_extra(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "fastapi.py").write_text("raise ImportError('none', name='fastapi')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    found = run_poolwise("serve", folder / "mean+causal", cwd=tmp_path, code=2)
    assert "poolwise serve needs the package fastapi; wanted the extra serve" in found.stderr
