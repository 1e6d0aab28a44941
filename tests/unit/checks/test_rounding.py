"""Rounding is not taken for a fault, by the doctor or the probe; faults in bf16 are still found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from poolwise.checks import Check, diagnose
from poolwise.models import build_model, probe_attention
from tiny_models import HIDDEN, save_tiny_base


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("deep"), "llama", num_hidden_layers=30)


def stock(base: str, *poolings: torch.nn.Module) -> SentenceTransformer:
    transformer = Transformer(base, model_kwargs={"dtype": torch.bfloat16}, max_seq_length=32)
    return SentenceTransformer(
        modules=[transformer, *(poolings or [Pooling(HIDDEN, "mean"), Normalize()])], device="cpu"
    )


def checks(model: SentenceTransformer) -> dict[str, Check]:
    return {check.name: check for check in diagnose(model)}


@pytest.mark.slow
def test_rounding_of_a_deep_base_is_said_to_be_rounding(deep: str) -> None:
    model = stock(deep)
    before = [(w.dtype, w.data_ptr()) for w in model.parameters()]
    found = checks(model)
    assert found["batch invariance"].status in ("pass", "warn")
    assert "rounding, not padding" in found["batch invariance"].found and "in fp32" in found["batch invariance"].found
    assert "check the attention mask" not in found["batch invariance"].hint
    assert found["padding side"].found == "right; left gives the same embeddings"
    assert found["attention"].found.startswith("causal")
    assert [(w.dtype, w.data_ptr()) for w in model.parameters()] == before
    ours = build_model("mean+causal", deep, method="frozen", precision="bf16", base_dtype="bf16", max_tokens=32)
    assert "fail" not in {check.status for check in diagnose(ours)}
    assert (ours[0].precision, ours[0].base_dtype) == ("bf16", "bf16")


class Unmasked(torch.nn.Module):
    """Means over padding too: a fault that fp32 does not cure."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {**features, "sentence_embedding": features["token_embeddings"].float().mean(dim=1)}


def test_padding_that_leaks_is_still_named_in_bf16(deep: str) -> None:
    found = checks(stock(deep, Unmasked()))["batch invariance"]
    assert found.status == "fail"
    assert found.hint.startswith("padding changes the embeddings") and "rounding" not in found.found


def test_a_small_leak_below_the_rounding_of_bf16_is_found(tmp_path: Path) -> None:
    class Slightly(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            states, mask = features["token_embeddings"].float(), features["attention_mask"][..., None]
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            return {**features, "sentence_embedding": mean * (1 + 1e-3 * (mask == 0).sum(dim=1))}

    assert checks(stock(save_tiny_base(tmp_path, "llama"), Slightly()))["batch invariance"].status == "fail"


def test_a_model_that_cannot_compute_in_fp32_is_not_blamed(deep: str) -> None:
    class NarrowOnly(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            if features["token_embeddings"].dtype != torch.bfloat16:
                raise RuntimeError("expected bf16")
            mask = features["attention_mask"][..., None]
            return {**features, "sentence_embedding": (features["token_embeddings"].float() * mask).sum(dim=1)}

    found = checks(stock(deep, NarrowOnly()))["batch invariance"]
    assert found.status == "warn" and "not repeated in fp32: expected bf16" in found.found
    assert found.hint == "load the model in fp32 and repeat the check"


class _RoundsByBatch(torch.nn.Module):
    """A norm that, in bf16 only, changes a little with the last token, as products of other shapes round."""

    def __init__(self, norm: torch.nn.Module) -> None:
        super().__init__()
        self.norm, self.scale = norm, torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16), requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        found = self.norm(states)
        return found if self.scale.dtype == torch.float32 else found + 1e-2 * states[:, -1:].float().tanh()


def test_the_probe_does_not_take_rounding_for_attention(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path, "llama")
    model = stock(base)
    model[0].model.norm = _RoundsByBatch(model[0].model.norm)
    assert probe_attention(model).attention == "causal"
    ours = build_model("mean+causal", base, method="frozen", precision="bf16", base_dtype="bf16", max_tokens=32)
    ours[0].model.norm = _RoundsByBatch(ours[0].model.norm)
    assert probe_attention(ours).attention == "causal"
    assert ours[0].precision == "bf16"
