"""``/v1/embeddings`` and ``/v1/models``: the embeddings of the library, in OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest

import tiny_models

TEXTS = [*tiny_models.TEXTS, "one two", "a"]
TOLERANCE = 2e-6
"""Batches of other shapes round differently: measured 3e-7 in fp32."""


def post(client, body, path="/v1/embeddings", **settings):
    async def run():
        async with client(**settings) as open_client:
            return await open_client.post(path, json=body)

    return asyncio.run(run())


def vectors(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array([one["embedding"] for one in answer.json()["data"]], np.float32)


def test_a_list_has_the_embeddings_of_encode_and_its_tokens_are_counted(client, library) -> None:
    answer = post(client, {"model": "tiny", "input": TEXTS})
    np.testing.assert_allclose(vectors(answer), library.encode(TEXTS), atol=TOLERANCE)
    found = answer.json()
    num_tokens = sum(len(row) for row in library[0].tokens.encode(TEXTS, "", 16)[0])
    assert found["usage"] == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    assert (found["object"], found["model"]) == ("list", "tiny")
    assert [(one["object"], one["index"]) for one in found["data"]] == [("embedding", n) for n in range(len(TEXTS))]


def test_a_single_text_and_base64(client, library) -> None:
    answer = post(client, {"model": "tiny", "input": TEXTS[0], "encoding_format": "base64", "user": "u"})
    found = np.frombuffer(base64.b64decode(answer.json()["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(found, library.encode(TEXTS[0]), atol=TOLERANCE)


@pytest.mark.parametrize("special", [False, True])
def test_token_ids_have_the_embedding_of_their_text(client, library, special) -> None:
    ids = [library.tokenizer(text, add_special_tokens=special)["input_ids"] for text in TEXTS]
    np.testing.assert_allclose(
        vectors(post(client, {"model": "tiny", "input": ids})), library.encode(TEXTS), atol=TOLERANCE
    )
    np.testing.assert_allclose(
        vectors(post(client, {"model": "tiny", "input": ids[1]}))[0], library.encode(TEXTS[1]), atol=TOLERANCE
    )


def test_token_ids_get_the_prompt_too(client, library) -> None:
    ids = [library.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    answer = post(client, {"model": "tiny", "input": ids, "input_type": "query"})
    np.testing.assert_allclose(vectors(answer), library.encode_query(TEXTS), atol=TOLERANCE)


def test_dimensions_are_the_first_numbers_scaled_to_length_1(client, library) -> None:
    answer = post(client, {"model": "tiny", "input": TEXTS, "dimensions": 16})
    wanted = library.encode(TEXTS, truncate_dim=16, normalize_embeddings=True)
    np.testing.assert_allclose(vectors(answer), wanted, atol=TOLERANCE)
    assert vectors(post(client, {"model": "tiny", "input": TEXTS, "dimensions": 32})).shape == (len(TEXTS), 32)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "tiny", "input": TEXTS, "dimensions": 8}, 400, "was not trained for; wanted one of 16, 32"),
        ({"model": "tiny", "input": []}, 400, "input is empty"),
        ({"model": "tiny", "input": ""}, 400, "input 0 is empty"),
        ({"model": "tiny", "input": ["a", ""]}, 400, "input 1 is empty"),
        ({"model": "tiny", "input": [[1], []]}, 400, "input 1 is empty"),
        ({"model": "tiny", "input": [999_999]}, 400, "token id 999999"),
        ({"model": "tiny", "input": [[-1]]}, 400, "token id -1"),
        ({"model": "tiny", "input": [1.5]}, 400, "input: "),
        ({"model": "tiny", "input": [True]}, 400, "input: "),
        ({"model": "tiny", "input": {"text": "a"}}, 400, "input: "),
        ({"model": "tiny", "input": None}, 400, "input: "),
        ({"model": "tiny"}, 400, "input is missing"),
        ({"input": "a"}, 400, "model is missing"),
        ({"model": 3, "input": "a"}, 400, "model: "),
        ({"model": "tiny", "input": "a", "encoding_format": "hex"}, 400, "'float' or 'base64'"),
        ({"model": "tiny", "input": "a", "dimensions": "16"}, 400, "dimensions: "),
        ({"model": "tiny", "input": "a", "dimensions": 0}, 400, "dimensions: "),
        ({"model": "tiny", "input": "a", "dimension": 16}, 400, "dimension is not a field"),
        ({"model": "tiny", "input": "a", "input_type": "search"}, 400, "input_type is 'search'"),
        ({"model": "gpt", "input": "a"}, 404, "'gpt' is not served here; served: tiny"),
        ([], 400, "the body: "),
    ],
)
def test_bad_bodies_get_one_error_in_the_shape_of_openai(client, body, status, words) -> None:
    answer = post(client, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert words in error["message"]


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"hello", 400, "not JSON"),
        (b'{"model": "tiny", "input": "\\ud800"}', 400, "not JSON"),
        (b'{"model": "tiny", "input": "\xff"}', 400, "not JSON"),
        (b'{"model": "tiny", "input": NaN}', 400, "input: "),
        (b'{"model": "tiny", "input": [NaN]}', 400, "input: "),
        (b'{"model": "tiny", "input": "a", "dimensions": NaN}', 400, "dimensions: "),
        (b'{"model": "tiny", "input": [1e999]}', 400, "input: "),
        (b'{"model": "tiny", "input": [123456789012345678901234567890]}', 400, "token id"),
        (b"[" * 100_000, 400, "not JSON"),
    ],
)
def test_bodies_that_are_no_json_or_no_numbers(client, raw, status, words) -> None:
    async def run():
        async with client() as open_client:
            return await open_client.post("/v1/embeddings", content=raw, headers={"content-type": "application/json"})

    answer = asyncio.run(run())
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_texts_with_nul_and_emoji_are_embedded_as_the_library_does(client, library) -> None:
    odd = ["a\x00dog", "😀 a dog", "\u202e", " "]
    np.testing.assert_allclose(
        vectors(post(client, {"model": "tiny", "input": odd})), library.encode(odd), atol=TOLERANCE
    )


def test_limits(client) -> None:
    assert post(client, {"model": "tiny", "input": ["a"] * 5}, max_texts=4).status_code == 400
    large = post(client, {"model": "tiny", "input": "a" * 5000}, max_body_bytes=4096)
    assert large.status_code == 413 and "4096 bytes" in large.json()["error"]["message"]


def test_models_are_listed(client) -> None:
    async def run():
        async with client() as open_client:
            return [await open_client.get(path) for path in ("/v1/models", "/v1/models/tiny", "/v1/models/other")]

    listed, one, none = asyncio.run(run())
    assert [model["id"] for model in listed.json()["data"]] == ["tiny"]
    assert one.json() == listed.json()["data"][0] and one.json()["object"] == "model"
    assert none.status_code == 404 and none.json()["error"]["code"] == "model_not_found"
