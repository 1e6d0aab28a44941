"""Texts that are no prose: finite embeddings of length 1, or one error, from the library, a corpus and a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from corpus_folder import stored
from poolwise import encode_corpus
from poolwise.errors import DataError
from poolwise.models import EmbeddingModel, build_model
from poolwise.serving import ServedModel, ServeSettings, create_app
from served_app import client_of

TEXTS = {
    "a space": " ",
    "white space": " \t\r\n\u00a0\u2003\u3000",
    "NUL": "\0",
    "NUL inside": "a\0b",
    "right to left": "שלום \u202eabc\u202c مرحبا",
    "combining marks": "e" + "\u0301" * 500,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 20,
    "no white space": "x" * 20_000,
    "CRLF": "a dog\r\nruns\r\n",
    "byte-order marks": "\ufeffa dog\ufeff",
    "not a character": "\uffff\U0010ffff",
    "control characters": "".join(map(chr, range(1, 32))),
    "Latin-1 read as UTF-8": "a d\ufffdg",
}
HALF = "a \ud800 dog"


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    """A model with words as tokens, to most of which these texts are unknown, and one with bytes as tokens."""
    base = tiny_models.save_tiny_base(tmp_path_factory.mktemp("base"), request.param)
    return build_model("mean+causal", base, max_tokens=16, precision="fp32", prompts={"query": "query : "})


def require_unit(vectors: np.ndarray, count: int) -> None:
    assert vectors.shape == (count, tiny_models.HIDDEN)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_library_embeds_each_of_them_alone_as_beside_the_others(model: EmbeddingModel) -> None:
    texts = ["", *TEXTS.values()]
    for prompt in (None, "query"):
        found = model.encode(texts, prompt_name=prompt)
        require_unit(found, len(texts))
        for text, row in zip(texts, found, strict=True):
            np.testing.assert_allclose(model.encode([text], prompt_name=prompt)[0], row, atol=1e-5)


def test_a_text_of_a_megabyte_is_truncated(model: EmbeddingModel) -> None:
    text = "a dog runs " * 95_000
    assert len(text) > 2**20 - 10_000
    np.testing.assert_allclose(model.encode([text]), model.encode(["a dog runs " * 10]), atol=1e-5)


def test_half_a_surrogate_pair_is_one_error_of_the_library(model: EmbeddingModel) -> None:
    for texts in ([HALF], ["a dog", HALF]):
        with pytest.raises(DataError, match="half a surrogate pair"):
            model.encode(texts)


def test_a_corpus_sets_aside_what_is_no_text(model: EmbeddingModel, tmp_path: Path) -> None:
    kept = {name: text for name, text in TEXTS.items() if text.strip()}
    rows = [{"_id": name, "text": text} for name, text in {**TEXTS, "empty": "", "half": HALF}.items()]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_bytes(
        b'\xef\xbb\xbf{"_id": "mark", "text": "a dog"}\r\n{"_id": "latin", "text": "d\xf6g"}\n'
    )
    (tmp_path / "c.csv").write_bytes("id,text\r\nc1,a dög\r\n".encode("latin-1") + b"c2,a dog\r\n")
    (tmp_path / "d.txt").write_bytes("a dog\r\nö\r\n".encode("utf-16"))
    encode_corpus(model, str(tmp_path), tmp_path / "out")
    found = dict(stored(tmp_path / "out"))
    assert {*kept, "mark", "c2"} <= found.keys()
    require_unit(np.array(list(found.values())), len(found))
    reasons = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    by_id = {row["id"]: row["reason"] for row in reasons if row["id"]}
    assert by_id["empty"] == by_id["a space"] == by_id["white space"] == "empty text"
    assert by_id["half"].startswith("not UTF-8 in 'text'") and by_id["c1"].startswith("not UTF-8 in 'text'")
    places = [(Path(row["source"]).name, row["line"]) for row in reasons if "not UTF-8" in row["reason"]]
    assert ("b.jsonl", 2) in places and ("d.txt", 1) in places


def test_a_server_answers_each_of_them(model: EmbeddingModel) -> None:
    served = ServedModel("tiny", model)
    texts = list(TEXTS.values())

    async def ask() -> None:
        async with client_of(create_app({"tiny": served}, ServeSettings())) as client:
            answer = await client.post("/v1/embeddings", json={"model": "tiny", "input": texts})
            assert answer.status_code == 200
            found = np.array([row["embedding"] for row in answer.json()["data"]], np.float32)
            np.testing.assert_allclose(found, model.encode(texts), atol=1e-5)
            body = {"model": "tiny", "texts": texts, "input_type": "query", "embedding_types": ["int8", "ubinary"]}
            assert (await client.post("/v2/embed", json=body)).status_code == 200
            for raw in (b'"a \\ud800 dog"', b'"\xff"', b'""', "ö".encode("utf-16"), b"[]", b'"a\0b"'):
                answer = await client.post(
                    "/v1/embeddings",
                    content=b'{"model": "tiny", "input": ' + raw + b"}",
                    headers={"content-type": "application/json"},
                )
                assert answer.status_code == 400 and len(answer.json()["error"]["message"]) < 300, raw

    asyncio.run(ask())
    served.close()
