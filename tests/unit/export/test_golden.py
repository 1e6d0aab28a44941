"""The probe set: what exports get wrong is in it."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.export.golden import golden_vectors, probe_texts
from tiny_models import save_tiny_base
from toy_exports import moved_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return moved_model("mean+causal", save_tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama"))


def test_the_kinds_of_text(model) -> None:
    texts = {probe.label: probe.text for probe in probe_texts(model) if probe.prompt_name is None}
    rows, _ = model[0].tokens.encode(list(texts.values()), "", 10**6)
    lengths = dict(zip(texts, map(len, rows), strict=True))
    assert lengths["text beyond the maximum length"] > model.max_seq_length
    assert "" in texts.values() and " " in texts.values()
    assert all(token in texts["special tokens of the base"] for token in ("<bos>", "<eos>", "<pad>"))
    assert "</s>" in texts["special tokens of other models"]
    assert any(not text.isascii() for text in texts.values())


def test_each_prompt_is_used(model) -> None:
    assert {probe.prompt_name for probe in probe_texts(model)} == {None, "query", "document"}


def test_vectors_are_those_of_encode_and_have_length_one(model) -> None:
    probes = probe_texts(model)
    vectors = golden_vectors(model, probes)
    prompted = next(place for place, probe in enumerate(probes) if probe.prompt_name == "query")
    assert np.abs(vectors[0] - model.encode(probes[0].text, prompt="")).max() < 1e-6
    assert np.abs(vectors[prompted] - model.encode(probes[prompted].text, prompt_name="query")).max() < 1e-6
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_they_are_computed_in_fp32_whatever_the_models_precision(model, tmp_path) -> None:
    settings = {"precision": "bf16", "base_dtype": "fp32"}
    narrow = moved_model("mean+causal", save_tiny_base(tmp_path / "llama", "llama"), **settings)
    probes = probe_texts(model)
    assert np.abs(golden_vectors(narrow, probes) - golden_vectors(model, probes)).max() < 1e-6
    assert narrow[0].precision == "bf16"
