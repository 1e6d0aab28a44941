"""``/v2/embed``: prompts by input type, the types of embeddings, and both ends of truncation."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings

import tiny_models

TEXTS = [*tiny_models.TEXTS, "one two"]
LONG = "the old man plays a guitar in the park and sings . how do i sort a list of words"
TOLERANCE = 2e-6


def post(client: Any, status: int = 200, **body: Any) -> Any:
    async def run() -> Any:
        async with client() as open_client:
            return await open_client.post(
                "/v2/embed", json={"model": "tiny", "input_type": "search_document", "texts": TEXTS} | body
            )

    answer = asyncio.run(run())
    assert answer.status_code == status, answer.text
    return answer.json()


def floats(found: Any) -> np.ndarray:
    return np.array(found["embeddings"]["float"], np.float32)


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("search_query", "query : "),
        ("query", "query : "),
        ("search_document", "document : "),
        ("document", "document : "),
        ("classification", ""),
        ("clustering", ""),
    ],
)
def test_the_input_type_chooses_the_prompt_of_the_model(client, library, kind, prompt) -> None:
    np.testing.assert_allclose(
        floats(post(client, input_type=kind)), library.encode(TEXTS, prompt=prompt), atol=TOLERANCE
    )


def test_all_types_come_from_the_same_embeddings(client, library, served) -> None:
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = post(client, embedding_types=kinds)["embeddings"]
    assert list(found) == kinds
    wanted = library.encode_document(TEXTS)
    np.testing.assert_allclose(np.array(found["float"]), wanted, atol=TOLERANCE)
    for kind in ("binary", "ubinary"):
        assert np.array(found[kind]).tolist() == quantize_embeddings(wanted, kind).tolist()
    levels = np.array(found["int8"])
    assert np.array(found["uint8"]).tolist() == (levels + 128).tolist()
    step = served.int8_limit() / 127
    inside = np.abs(wanted) < served.int8_limit()
    assert inside.mean() > 0.9 and np.abs(levels).max() > 60
    assert np.abs(levels * step - wanted)[inside].max() <= step / 2 + 1e-6
    read = [np.frombuffer(base64.b64decode(one), "<f4") for one in found["base64"]]
    np.testing.assert_array_equal(read, np.array(found["float"], np.float32))


def test_int8_of_a_text_does_not_depend_on_the_others(client) -> None:
    together = post(client, embedding_types=["int8"])["embeddings"]["int8"]
    alone = [post(client, embedding_types=["int8"], texts=[text])["embeddings"]["int8"][0] for text in TEXTS]
    assert np.abs(np.array(together) - np.array(alone)).max() <= 1  # a level, where a rounding lies on its edge


def test_bits_need_whole_bytes_and_dimensions_a_training(client, library) -> None:
    found = post(client, output_dimension=16, embedding_types=["float", "ubinary"])["embeddings"]
    wanted = library.encode_document(TEXTS, truncate_dim=16, normalize_embeddings=True)
    np.testing.assert_allclose(np.array(found["float"]), wanted, atol=TOLERANCE)
    assert np.array(found["ubinary"]).shape == (len(TEXTS), 2)
    assert "trained" in post(client, 400, output_dimension=12)["message"]


def test_truncation_at_either_end_and_none(client, library) -> None:
    words = LONG.split()
    room = 16 - 2 - 2  # BOS, EOS, and the two tokens of the prompt
    np.testing.assert_allclose(
        floats(post(client, texts=[LONG])), library.encode_document([" ".join(words[:room])]), atol=TOLERANCE
    )
    np.testing.assert_allclose(
        floats(post(client, texts=[LONG], truncate="START")),
        library.encode_document([" ".join(words[-room:])]),
        atol=TOLERANCE,
    )
    message = post(client, 400, texts=["a", LONG], truncate="NONE")["message"]
    assert message.startswith(f"input 1 has {len(words) + 4} tokens; wanted at most 16")
    post(client, texts=[" ".join(words[:room])], truncate="NONE")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"texts": []}, 400, "texts: "),
        ({"texts": ["a", ""]}, 400, "texts 1 is empty"),
        ({"texts": "a"}, 400, "texts: "),
        ({"texts": ["a"] * 3000}, 400, "3000 texts; wanted at most 2048"),
        ({"input_type": "image"}, 400, "input_type is 'image'"),
        ({"embedding_types": ["float16"]}, 400, "embedding_types: "),
        ({"truncate": "MIDDLE"}, 400, "truncate: "),
        ({"images": ["x"]}, 400, "images is not a field"),
        ({"model": "embed-v4"}, 404, "served: tiny"),
    ],
)
def test_bad_bodies_get_one_error_in_the_shape_of_cohere(client, body, status, words) -> None:
    error = post(client, status, **body)
    assert set(error) == {"id", "message"} and words in error["message"]
