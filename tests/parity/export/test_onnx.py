"""Each design and architecture as an ONNX graph in onnxruntime, compared with the model of poolwise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from poolwise.design import POOLINGS
from poolwise.errors import ModelError
from poolwise.export import export_model
from poolwise.export import onnx as target
from poolwise.export.golden import golden_vectors, probe_texts, texts_as_json
from poolwise.export.graph import EmbeddingGraph
from poolwise.export.run_onnx import Encoder, embed
from poolwise.models import EmbeddingModel
from tiny_models import TEXTS, save_tiny_base
from toy_exports import moved_model

DESIGNS = (
    "last+causal",
    "mean(skip=bos)+bidirectional",
    "weighted_mean(dim=8)+causal",
    "layer_mean(layers=2)+causal",
    "layer_mix+bidirectional(top=1)",
    "latent+bidirectional",
    "latent(keys=last)+causal",
    "nv_latent+bidirectional",
    "pma(queries=2,dim=16)+causal",
    "multilayer+bidirectional",
    "mlp+bidirectional",
    "soft_tokens(count=3,tokens=mean)+causal",
    "mean(echo=true)+causal",
    "landmark(every=3)+causal",
    "weighted_mean(prompt=skip)+bidirectional(on=prompt)",
)
"""Every pooling, every attention, and every option that changes what is read or pooled."""
"""The designs that every test run exports; the others are slow: ten seconds each."""
ARCHITECTURES = ("qwen3", "mistral", "gemma2", "gpt2", "bloom")
"""Rotary, learned and ALiBi positions, sliding windows, and attention that needs eager."""
TOLERANCE = 1e-5
"""The largest difference was 5e-7 over the designs of this file."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_tiny_base(folder / family, family) for family in ("llama", *ARCHITECTURES)}


def written(model: EmbeddingModel, folder: Path) -> Encoder:
    target.write(model, folder, options={})
    return Encoder(str(folder))


def largest_difference(model: EmbeddingModel, encoder: Encoder, batch_size: int) -> float:
    probes = probe_texts(model)
    found = embed(encoder, json.loads(texts_as_json(probes)), batch_size)
    return float(np.abs(found - golden_vectors(model, probes)).max())


@pytest.mark.parametrize("design", [pytest.param(design, marks=pytest.mark.slow) for design in DESIGNS])
def test_each_design(bases, tmp_path, design) -> None:
    model = moved_model(design, bases["llama"])
    encoder = written(model, tmp_path)
    assert largest_difference(model, encoder, batch_size=1) < TOLERANCE
    assert largest_difference(model, encoder, batch_size=7) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_each_architecture(bases, tmp_path, family) -> None:
    model = moved_model("layer_mean+bidirectional", bases[family])
    assert largest_difference(model, written(model, tmp_path), batch_size=7) < TOLERANCE


def test_every_pooling_is_in_this_file() -> None:
    assert {re.split(r"[(+]", design)[0] for design in DESIGNS} == set(POOLINGS)


@pytest.fixture(scope="module")
def exported(bases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "export"
    model = moved_model("mean+bidirectional", bases["llama"])
    return model, folder, export_model(model, "onnx", folder)


def test_the_check_in_a_fresh_process_passes(exported) -> None:
    assert 0 < exported[2].worst < TOLERANCE


def test_the_block_of_the_readme_runs_without_torch(exported) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (exported[1] / "README.md").read_text(), re.S)
    without = "import sys\nfor name in ('torch', 'transformers', 'poolwise'):\n    sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", without + blocks[0]], cwd=exported[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("(2, 32)")


def test_axes_are_free_and_the_opset_is_stated(exported) -> None:
    graph = onnx.load(exported[1] / "model.onnx")
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", target.OPSET)]
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert sizes == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
        "sentence_embedding": ["batch", 32],
    }


def test_either_padding_side_gives_the_same(exported) -> None:
    model, folder, _ = exported
    encoder = Encoder(str(folder))
    rows = [encoder.row(encoding, "") for encoding in encoder.tokenizer.encode_batch(list(TEXTS))]
    right = encoder.arrays(rows)
    left = {name: np.zeros_like(array) for name, array in right.items()}
    for place, (ids, _) in enumerate(rows):
        for name in left:
            left[name][place, -len(ids) :] = right[name][place, : len(ids)]
    assert not np.array_equal(left["input_ids"], right["input_ids"])
    (padded_left,), (padded_right,) = (encoder.session.run(None, inputs) for inputs in (left, right))
    assert np.abs(padded_left - padded_right).max() < TOLERANCE
    assert np.abs(padded_left - model.encode(list(TEXTS))).max() < TOLERANCE


def test_other_texts_of_a_batch_change_nothing(exported) -> None:
    encoder = Encoder(str(exported[1]))
    texts = [*TEXTS, "", " ".join(TEXTS) * 3]
    together = encoder.encode(texts, batch_size=len(texts))
    alone = encoder.encode(texts, batch_size=1)
    assert np.abs(together - alone).max() < TOLERANCE


def test_truncated_texts_end_in_eos(exported) -> None:
    encoder = Encoder(str(exported[1]))
    ids = encoder.tokenizer.encode("dog " * 100).ids
    assert (len(ids), ids[0], ids[-1]) == (24, 1, 2)
    assert ids.count(2) == 1


def test_a_text_that_ends_in_eos_gets_no_second_one(exported) -> None:
    model, folder, _ = exported
    encoder = Encoder(str(folder))
    text = "a dog <eos> runs <eos><eos>"
    ids, _ = encoder.row(encoder.tokenizer.encode(text), "")
    assert ids == model[0].preprocess([text])["input_ids"][0].tolist()
    assert np.abs(encoder.encode([text]) - model.encode([text])).max() < TOLERANCE


@pytest.mark.slow
def test_a_shortened_model_stays_short(bases, tmp_path) -> None:
    model = moved_model("mean+causal", bases["llama"])
    model.truncate_dim = 8
    encoder = written(model, tmp_path)
    assert encoder.encode(list(TEXTS)).shape == (4, 8)
    assert np.abs(encoder.encode(list(TEXTS)) - model.encode(list(TEXTS))).max() < TOLERANCE


def test_the_graph_as_a_module_equals_the_model(bases) -> None:
    model = moved_model("mean(prompt=skip)+causal", bases["llama"])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    graph = EmbeddingGraph(model)
    features = model[0].preprocess(list(TEXTS), prompt="search : ")
    counts = (features["attention_mask"] - features["pooling_mask"]).sum(dim=1)
    found = graph(features["input_ids"], features["attention_mask"], counts)
    assert np.abs(found.numpy() - model.encode(list(TEXTS), prompt="search : ")).max() < TOLERANCE
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_graph_finds_landmarks_by_their_places(bases, side) -> None:
    model = moved_model("landmark(every=3)+bidirectional(on=prompt)", bases["llama"], split_special_tokens=False)
    model[0].padding_side = side
    texts = [*TEXTS, "", "a <eos> dog runs <eos> in the park"]
    for prompt in ("", "search : "):
        _, counts = model[0].tokens.encode(texts, prompt, 24)
        features = model[0].preprocess(texts, prompt=prompt)
        found = EmbeddingGraph(model)(features["input_ids"], features["attention_mask"], torch.tensor(counts))
        assert np.abs(found.numpy() - model.encode(texts, prompt=prompt)).max() < TOLERANCE


def test_what_torch_cannot_export_is_refused_with_the_reason(bases, tmp_path) -> None:
    scaled = save_tiny_base(
        tmp_path / "dynamic", "llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match=r"torch 2.* cannot export llama to ONNX: \w+: .*wanted an architecture"):
        target.write(moved_model("mean+causal", scaled), tmp_path / "out", options={})
