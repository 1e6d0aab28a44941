"""``/info``, ``/metrics``, ``/ready``: what the models are and what was counted."""

from __future__ import annotations

import asyncio

import pytest

from poolwise.corpus.fingerprint import fingerprint_model
from poolwise.models import build_model
from poolwise.serving import ServedModel, create_app
from served_app import client_of


def get(client, *paths, **settings):
    async def run():
        async with client(**settings) as open_client:
            return [await open_client.get(path) for path in paths]

    return asyncio.run(run())


def test_info_says_what_was_measured(client, library, folder) -> None:
    found = get(client, "/info")[0].json()["models"]["tiny"]
    wanted = fingerprint_model(library, "tiny", "document : ").fingerprint
    assert {name: found[name] for name in ("attention", "pooling", "design", "num_layers", "fingerprint")} == {
        "attention": "causal",
        "pooling": "mean",
        "design": "mean+causal",
        "num_layers": 3,
        "fingerprint": wanted,
    }
    assert (found["width"], found["dimensions"], found["max_tokens"]) == (32, [16, 32], 16)
    assert (found["starts_with"], found["ends_with"]) == (["<bos>"], ["<eos>"])
    assert found["prompts"]["query"] == "query : " and found["source"] == str(folder)
    assert found["layers"] == "all 3 layers causal"


def test_attention_is_measured_and_not_read_from_a_setting(folder) -> None:
    model = build_model("mean+bidirectional", str(folder.parent / "base"), max_tokens=16, precision="fp32")
    model[0].model.config.is_causal = True
    served = ServedModel("wrong", model)
    served.close()
    assert (served.info.attention, served.info.design) == ("causal", "mean+bidirectional")


def test_health_ready_and_metrics(client, served) -> None:
    health, ready, metrics = get(client, "/health", "/ready", "/metrics")
    assert (health.status_code, ready.json()) == (200, {"status": "ready"})
    assert 'poolwise_requests_total{path="/health",status="200"} 1.0' in metrics.text
    assert 'poolwise_queue_tokens{model="tiny"} 0.0' in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_texts_and_tokens_are_counted_and_unknown_paths_are_one_label(client) -> None:
    async def run():
        async with client() as open_client:
            await open_client.post("/v1/embeddings", json={"model": "tiny", "input": ["a dog runs", "a"]})
            await open_client.get("/one")
            await open_client.get("/two")
            return (await open_client.get("/metrics")).text

    found = asyncio.run(run())
    assert 'poolwise_texts_total{model="tiny"} 2.0' in found
    assert 'poolwise_tokens_total{model="tiny"} 8.0' in found
    assert 'poolwise_requests_total{path="other",status="404"} 2.0' in found


def test_a_server_that_drains_is_not_ready(served) -> None:
    app = create_app({"tiny": served})
    app.state.serving.is_draining = True

    async def run():
        async with client_of(app) as open_client:
            return [(await open_client.get(path)).status_code for path in ("/ready", "/health")]

    assert asyncio.run(run()) == [503, 200]


def test_unknown_paths_and_methods(client) -> None:
    async def run():
        async with client() as open_client:
            return [
                await open_client.get("/v1/nothing"),
                await open_client.get("/v1/embeddings"),
                await open_client.get("/v2/embed"),
            ]

    missing, method, cohere = asyncio.run(run())
    assert missing.status_code == 404 and missing.json()["error"]["message"] == "there is no /v1/nothing"
    assert method.status_code == 405 and method.headers["allow"] == "POST"
    assert cohere.status_code == 405 and set(cohere.json()) == {"id", "message"}


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_scripts_of_other_sites(client, path) -> None:
    assert get(client, path)[0].status_code == 404
