"""The pass: what is kept for which designs, and that interrupted or extended passes read no more than is missing."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.design import parse_design
from poolwise.errors import EvalError
from poolwise.screening import StoredEncoder, build_stored_model, capture, disk_bytes, fill_store
from stored_states import toy_needs, toy_store
from tiny_models import HIDDEN, NUM_LAYERS, TEXTS, save_tiny_base

KEYS = [(prompt, text) for prompt in ("", "search query : ") for text in TEXTS]
DESIGNS = ("mean+causal", "latent+causal", "multilayer+causal")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture
def counted(monkeypatch):
    """Counts the texts that the base reads, and stops after ``limit`` of them."""
    seen = {"texts": 0, "limit": 10**9}
    read = capture.states_of

    def states_of(model, prompt, texts, needs):
        if seen["texts"] + len(texts) > seen["limit"]:
            raise KeyboardInterrupt
        seen["texts"] += len(texts)
        return read(model, prompt, texts, needs)

    monkeypatch.setattr(capture, "states_of", states_of)
    return seen


def contents(store):
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


@pytest.mark.parametrize(
    ("designs", "names"),
    [
        (["last+causal", "last(prompt=skip)+causal", "latent(keys=last)+causal", "mlp+causal"], {"final-last"}),
        (["mean+causal", "mlp(tokens=mean)+causal"], {"final-mean-keep"}),
        (["mean(prompt=skip)+causal"], {"final-mean-skip"}),
        (["latent+causal", "latent(prompt=skip)+causal"], {"final-all"}),
        (["multilayer+causal", "layer_mix+causal", "layer_mean+causal"], {"layers-last"}),
        (["multilayer(tokens=mean)+causal", "multilayer+bidirectional"], {"layers-mean-keep"}),
        (["multilayer(layers=last2)+causal", "layer_mean(layers=1)+causal"], {"layers-last"}),
        (["nv_latent+causal"], {"final-all"}),
        (["weighted_mean+bidirectional", "mean+bidirectional(top=1)"], set()),
    ],
)
def test_a_pass_keeps_what_the_designs_of_its_attention_read(designs, names):
    assert {need.name for need in toy_needs("causal", designs)} == names


def test_an_interrupted_pass_goes_on_where_it_was(base, tmp_path, counted, monkeypatch):
    monkeypatch.setattr(capture, "MARK_BATCHES", 1)
    whole = toy_store(base, "causal", KEYS, DESIGNS, tmp_path / "whole", batch_size=2)
    store = toy_store(base, "causal", KEYS, DESIGNS, tmp_path / "cut", fill=False)
    counted.update(texts=0, limit=4)
    with pytest.raises(KeyboardInterrupt):
        fill_store(store, toy_needs("causal", DESIGNS), 2)
    with pytest.raises(EvalError, match="4 of 8 states final-mean-keep"):
        store.reader(toy_needs("causal", ["mean+causal"])[0])
    counted.update(texts=0, limit=10**9)
    assert fill_store(store, toy_needs("causal", DESIGNS), 2) == 4
    assert counted["texts"] == 4
    assert contents(store) == contents(whole)


def test_a_second_pass_adds_what_is_missing_and_a_third_reads_nothing(base, tmp_path, counted):
    store = toy_store(base, "causal", KEYS, ["mean+causal"], tmp_path)
    before = contents(store)
    assert fill_store(store, toy_needs("causal", DESIGNS), 4) == len(KEYS)
    assert before.items() <= contents(store).items()
    assert fill_store(store, toy_needs("causal", DESIGNS), 4) == 0


def test_other_content_takes_another_folder(base, tmp_path):
    first = toy_store(base, "causal", KEYS, [], tmp_path, fill=False)
    for changed in (
        toy_store(base, "bidirectional", KEYS, [], tmp_path, fill=False),
        toy_store(base, "bidirectional(on=prompt)", KEYS, [], tmp_path, fill=False),
        toy_store(base, "causal", KEYS[1:], [], tmp_path, fill=False),
        toy_store(base, "causal", KEYS, [], tmp_path, kept="float16", fill=False),
    ):
        assert changed.folder != first.folder and "(" not in changed.folder.name
    assert toy_store("elsewhere", "causal", KEYS[::-1], [], tmp_path, fill=False).folder == first.folder


def test_disk_is_what_was_announced(base, tmp_path):
    store = toy_store(base, "causal", KEYS, DESIGNS, tmp_path, kept="float16")
    num_tokens = int(store.lengths.num_tokens.sum())
    announced = disk_bytes(toy_needs("causal", DESIGNS), len(KEYS), num_tokens, (NUM_LAYERS, HIDDEN), "float16")
    found = sum(p.stat().st_size for p in store.folder.iterdir() if p.suffix in (".values", ".powers"))
    # Three kinds: one vector a text, one a token, one a text and layer; each with two bytes for its power of two.
    assert announced == found == (2 * HIDDEN + 2) * (len(KEYS) + num_tokens + NUM_LAYERS * len(KEYS))


def test_states_that_are_not_numbers_stop_the_pass(base, tmp_path, monkeypatch):
    read = capture.states_of

    def broken(*args):
        found = read(*args)
        return {need: [np.full_like(state, np.nan) for state in states] for need, states in found.items()}

    monkeypatch.setattr(capture, "states_of", broken)
    with pytest.raises(EvalError, match="NaN or infinite"):
        toy_store(base, "causal", KEYS, ["mean+causal"], tmp_path)


def test_a_text_that_was_not_read_is_named(base, tmp_path):
    store = toy_store(base, "causal", KEYS, ["mean+causal"], tmp_path)
    encoder = StoredEncoder(build_stored_model(parse_design("mean+causal"), store, precision="fp32"))
    assert encoder.encode(TEXTS[:2], "").shape == (2, HIDDEN)
    with pytest.raises(EvalError, match="another text"):
        encoder.encode(["another text"], "")
