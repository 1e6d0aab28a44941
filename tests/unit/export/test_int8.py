"""int8: how drift is measured, when it is refused, and what the README of such an export says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from poolwise.errors import ModelError
from poolwise.export import export_model
from poolwise.export.int8 import LARGEST_DISTANCE, LEAST_AGREEMENT, Drift, measure_drift, require_close
from poolwise.export.targets import load_target, tolerance
from toy_exports import moved_model


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_drift_of_vectors_that_stay() -> None:
    vectors = on_circle(0, 10, 40)
    assert measure_drift(vectors, vectors, vectors) == Drift(
        difference=0,
        distance=pytest.approx(0, abs=1e-12),
        agreement=pytest.approx(1),
        batch_distance=pytest.approx(0, abs=1e-12),
    )


def test_distances_are_of_the_text_that_moved_most() -> None:
    found = measure_drift(on_circle(0, 10, 40), on_circle(0, 10, 100), on_circle(0, 100, 100))
    assert found.distance == pytest.approx(1 - np.cos(np.pi / 3))
    assert found.difference == pytest.approx(np.cos(np.deg2rad(40)) - np.cos(np.deg2rad(100)))
    assert found.batch_distance == pytest.approx(1)


def test_agreement_counts_pairs_in_another_order() -> None:
    # Similarities in fp32: (0,1) most, (1,2), (0,2) least; in int8 the order is the reverse.
    found = measure_drift(on_circle(0, 10, 40), on_circle(0, 90, 30), on_circle(0, 90, 30))
    assert found.agreement == pytest.approx(-1)


@pytest.mark.parametrize(
    ("distance", "agreement"), [(LARGEST_DISTANCE + 0.01, 1.0), (0.0, LEAST_AGREEMENT - 0.01), (float("nan"), 1.0)]
)
def test_too_much_drift_is_refused(distance, agreement) -> None:
    with pytest.raises(ModelError, match=r"int8 moves an embedding by .*export in fp32"):
        require_close(Drift(0.0, distance, agreement, 0.0))


def test_drift_at_the_limits_passes() -> None:
    require_close(Drift(1.0, LARGEST_DISTANCE, LEAST_AGREEMENT, 1.0))


def test_only_int8_has_another_tolerance(tmp_path) -> None:
    target, path = load_target("onnx"), tmp_path / "poolwise_export.json"
    path.write_text("{}")
    assert tolerance(target, tmp_path) == target.TOLERANCE
    path.write_text(json.dumps({"int8": {"difference": 0.01}}))
    assert tolerance(target, tmp_path) == 0.02
    assert tolerance(load_target("merged"), tmp_path) == load_target("merged").TOLERANCE


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "export"
    export_model(moved_model("mean+bidirectional", "poolwise/nano"), "onnx", folder, options={"int8": True})
    return folder


@pytest.mark.slow
def test_the_matrices_are_in_int8(exported) -> None:
    graph = onnx.load(exported / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    weights = [w for w in graph.initializer if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 2]
    # Seven matrices in each of 12 layers.
    assert len(weights) == 84 and kinds.count("MatMulInteger") == 84
    largest = max(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max() for weight in weights)
    assert 60 < largest <= 64  # 7 bits


@pytest.mark.slow
def test_the_readme_says_what_was_measured(exported) -> None:
    settings, text = json.loads((exported / "poolwise_export.json").read_text()), (exported / "README.md").read_text()
    drift = Drift(**settings["int8"])
    assert drift.batch_distance > 0 and 0 < drift.distance <= LARGEST_DISTANCE
    assert settings["batch_size"] == 1 and settings["weights"] == "int8"
    for amount in (f"{drift.distance:.1e}", f"{drift.agreement:.4f}", f"{drift.batch_distance:.1e}"):
        assert amount in text
