"""``ServedModel``: the embeddings of ``encode`` alone and under load, reload without a gap, limits of time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poolwise
import tiny_models
from poolwise.errors import ConfigError, DataError, ModelError
from poolwise.models import build_model
from poolwise.serving import ServedModel, ServeSettings
from poolwise.serving.served_model import AbandonedError, TimedOutError

TEXTS = [
    *tiny_models.TEXTS,
    *tiny_models.WORDS,
    "the old man plays a guitar in the park and sings . how do i sort a list of words",
    "",
]
TOLERANCE = 2e-6
"""Of fp32 embeddings in batches of other shapes: measured 3e-7 on these texts."""
DESIGNS = (
    "mean+bidirectional",
    "last(echo=true)+causal",
    "mean(skip=bos)+causal",
    "soft_tokens(count=2)+causal",
    "landmark(every=3)+causal",
    "multilayer+bidirectional(on=prompt)",
)


def embed_all(model: ServedModel, requests: list[dict[str, Any]]) -> list[Any]:
    async def run() -> list[Any]:
        return await asyncio.gather(*(model.embed(**one) for one in requests), return_exceptions=True)

    return asyncio.run(run())


def test_under_load_every_text_has_the_embedding_that_it_has_alone(served, library) -> None:
    random = np.random.default_rng(0)
    names = {None: "", "query": "query : ", "document": "document : "}
    requests = []
    for _ in range(80):
        texts = [TEXTS[i] for i in random.integers(len(TEXTS), size=random.integers(1, 6))]
        requests.append({"texts": texts, "prompt_name": list(names)[random.integers(3)]})
    for request, found in zip(requests, embed_all(served, requests), strict=True):
        wanted = library.encode(request["texts"], prompt=names[request["prompt_name"]])
        np.testing.assert_allclose(found.vectors, wanted, atol=TOLERANCE)
    alone = embed_all(served, [{"texts": [TEXTS[1]]}])[0]
    np.testing.assert_allclose(alone.vectors, library.encode([TEXTS[1]]), atol=TOLERANCE)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_kind_of_design_is_read_as_the_library_reads_it(folder, design) -> None:
    model = build_model(
        design, str(folder.parent / "base"), max_tokens=16, precision="fp32", prompts={"query": "one : "}
    )
    wanted = model.encode(TEXTS), model.encode_query(TEXTS)
    served = ServedModel("one", model)
    try:
        plain, prompted = embed_all(served, [{"texts": TEXTS}, {"texts": TEXTS, "prompt_name": "query"}])
    finally:
        served.close()
    np.testing.assert_allclose(plain.vectors, wanted[0], atol=TOLERANCE)
    np.testing.assert_allclose(prompted.vectors, wanted[1], atol=TOLERANCE)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_is_served_in_the_precision_that_is_asked_for(folder, precision) -> None:
    served = ServedModel("tiny", str(folder), precision=precision)
    try:
        found = embed_all(served, [{"texts": [text]} for text in TEXTS])
    finally:
        served.close()
    assert served.info.precision == precision
    library = poolwise.load_model(folder, precision=precision)
    apart = max(np.abs(one.vectors - library.encode([text])).max() for one, text in zip(found, TEXTS, strict=True))
    assert apart < (TOLERANCE if precision == "fp32" else 0.02)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"texts": ["a", "\ud800"]}, DataError, "input 1 has half of a surrogate pair"),
        ({"texts": ["a"], "prompt_name": "quer"}, ConfigError, "did you mean 'query'"),
        ({"texts": ["a"], "dimensions": 7}, ConfigError, "wanted one of 16, 32"),
        ({"texts": [[3, 10**9]]}, DataError, "token id 1000000000"),
    ],
)
def test_what_cannot_be_embedded_is_one_error(served, request_, error, words) -> None:
    found = embed_all(served, [request_])[0]
    assert isinstance(found, error) and words in str(found)


def test_no_texts_have_no_embeddings(served) -> None:
    assert embed_all(served, [{"texts": [], "dimensions": 16}])[0].vectors.shape == (0, 16)


class Held:
    """Holds the thread of a model inside the block."""

    def __init__(self, model: ServedModel) -> None:
        self._gate = threading.Event()
        self._call = model._live.batcher.call(lambda: self._gate.wait(20))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._gate.set()
        self._call.result()


def test_a_request_that_waits_too_long_or_is_abandoned_is_dropped(folder) -> None:
    model = ServedModel("tiny", str(folder), ServeSettings(request_seconds=0.2))
    try:
        with Held(model):
            late = embed_all(model, [{"texts": ["a"]}])[0]
            assert isinstance(late, TimedOutError) and late.retry_after >= 1
            assert model.num_waiting == 0
            gone = embed_all(model, [{"texts": ["a"], "is_abandoned": lambda: asyncio.sleep(0.01)}])[0]
            assert isinstance(gone, AbandonedError)
            assert model.num_waiting == 0
        assert embed_all(model, [{"texts": ["a"]}])[0].vectors.shape == (1, 32)
    finally:
        model.close()


def test_a_reload_takes_the_new_weights_and_leaves_no_gap(folder, tmp_path: Path) -> None:
    place = tmp_path / "changing"
    designs = [build_model(name, str(folder.parent / "base"), max_tokens=16) for name in ("mean+causal", "last+causal")]
    designs[0].save(str(place))
    model = ServedModel("changing", str(place))
    wanted = [one.encode(TEXTS[:3]) for one in designs]
    before = model.info

    async def run() -> tuple[Any, list[Any]]:
        reloading = asyncio.create_task(model.reload())
        found = []
        while not reloading.done():
            found.append((await model.embed(TEXTS[:3])).vectors)
            await asyncio.sleep(0)
        info = await reloading
        while not model.num_freed:  # the old one is closed once nobody uses it
            await asyncio.sleep(0.001)
        return info, [*found, (await model.embed(TEXTS[:3])).vectors]

    try:
        designs[1].save(str(place))
        after, found = asyncio.run(run())
    finally:
        model.close()
    assert (before.pooling, after.pooling) == ("mean", "last") and before.fingerprint != after.fingerprint
    np.testing.assert_allclose(found[0], wanted[0], atol=TOLERANCE)
    np.testing.assert_allclose(found[-1], wanted[1], atol=TOLERANCE)
    assert len(found) > 2
    assert all(min(np.abs(one - old).max() for old in wanted) < TOLERANCE for one in found)


def test_a_reload_that_fails_keeps_the_old_model(folder, tmp_path: Path) -> None:
    place = tmp_path / "going"
    build_model("mean+causal", str(folder.parent / "base"), max_tokens=16).save(str(place))
    model = ServedModel("going", str(place))
    try:
        (place / "poolwise.json").write_text("{")
        with pytest.raises(ModelError):
            asyncio.run(model.reload())
        assert embed_all(model, [{"texts": ["a"]}])[0].vectors.shape == (1, 32)
    finally:
        model.close()


def test_an_arm_of_an_experiment_does_not_become_another_model(folder, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    designs = [build_model(name, str(folder.parent / "base"), max_tokens=16) for name in ("mean+causal", "last+causal")]
    designs[0].save(str(place))
    model = ServedModel("kept", str(place))
    model.keep()
    try:
        before = asyncio.run(model.reload()).fingerprint  # the same weights again
        designs[1].save(str(place))
        with pytest.raises(ModelError, match=r"is an arm of an experiment, and is model .* now; wanted"):
            asyncio.run(model.reload())
        assert model.info.fingerprint == before and model.info.pooling == "mean"
        assert embed_all(model, [{"texts": ["a"]}])[0].vectors.shape == (1, 32)
    finally:
        model.close()


def test_a_loaded_model_cannot_be_loaded_again(folder) -> None:
    model = ServedModel("given", build_model("mean+causal", str(folder.parent / "base"), max_tokens=16))
    try:
        with pytest.raises(ModelError, match="was given as a loaded model"):
            asyncio.run(model.reload())
    finally:
        model.close()


def test_a_model_whose_embeddings_are_not_finite_is_refused(folder) -> None:
    model = build_model("mean+causal", str(folder.parent / "base"), max_tokens=16)
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        ServedModel("nan", model)
