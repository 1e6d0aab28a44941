"""Eager attention where transformers' sdpa ignores the switch: used, said once, recorded, and kept after a load."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from poolwise.errors import ModelError
from poolwise.models import build_model, load_model
from poolwise.models.families import say_eager
from poolwise.records import Run, RunManifest
from poolwise.study.collect import _kernel_notes
from poolwise.upstream.transformers import attention_in_use
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base


@pytest.fixture(scope="module", params=["stablelm", "nemotron"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"), request.param)


def test_eager_is_used_said_once_and_recorded(base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    say_eager.cache_clear()
    with caplog.at_level(logging.WARNING, logger="poolwise"):
        models = [build_model("mean+bidirectional", base, precision="fp32", max_tokens=32) for _ in range(2)]
    said = [record.message for record in caplog.records if "eager attention" in record.message]
    assert len(said) == 1 and "sdpa kernel is not bidirectional in every batch" in said[0]
    model = models[0]
    assert (model[0].attention_kernel, model[0].notes) == ("eager", said)
    assert model[0].probe.attention == "bidirectional"
    vectors = stock_encode(model, list(TEXTS), convert_to_tensor=True)
    alone = torch.cat([stock_encode(model, [text], convert_to_tensor=True) for text in TEXTS])
    assert (vectors - alone).norm(dim=1).max() < 1e-5
    model.save(str(tmp_path / "m"), create_model_card=False)
    again = load_model(tmp_path / "m", precision="fp32")
    assert again[0].attention_kernel == "eager"
    assert (again.encode(TEXTS) == model.encode(TEXTS)).all()
    causal = build_model("mean+causal", base, precision="fp32", max_tokens=32)
    assert (causal[0].attention_kernel, causal[0].notes) == ("", [])
    assert attention_in_use(causal[0].model.config) == "sdpa"


def test_a_report_names_the_runs() -> None:
    def run(name: str, kernel: str) -> Run:
        manifest = RunManifest(name=name, kind="trained", model="m", attention_kernel=kernel)
        return Run(manifest=manifest, scores={})

    runs = [run("a+bidirectional", "eager"), run("a+bidirectional", "eager"), run("a+causal", "")]
    (note,) = _kernel_notes(runs)
    assert note.endswith(": a+bidirectional") and note.startswith("computed with eager attention")
    assert _kernel_notes(runs[2:]) == []


def test_a_model_that_eager_does_not_help_keeps_its_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_tiny_base(tmp_path, "llama")
    model = build_model("mean+bidirectional", base, precision="fp32", max_tokens=32)
    before = attention_in_use(model[0].model.config)
    monkeypatch.setattr("poolwise.models.backbone.set_attention", lambda model, mode: None)
    model[0].model.config.is_causal = True
    with pytest.raises(ModelError, match="with eager attention too"):
        model[0].on_model_ready(model)
    assert (attention_in_use(model[0].model.config), model[0].packs) == (before, True)


def test_an_architecture_that_fails_with_an_attention_is_one_error(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path, "mpt")
    with pytest.raises(ModelError, match=r"mpt cannot be computed with bidirectional attention: .*another attention"):
        build_model("mean+bidirectional", base, precision="fp32", max_tokens=32)
    assert build_model("mean+causal", base, precision="fp32", max_tokens=32).encode(TEXTS).shape[0] == len(TEXTS)
