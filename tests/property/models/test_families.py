"""Attention and padding side on the other architectures that are listed as supported."""

from __future__ import annotations

import pytest
import torch

from poolwise.design import ATTENTIONS
from poolwise.models import build_model, probe_attention
from poolwise.models.families import SUPPORTED
from reference_loop import stock_encode
from tiny_models import FAMILIES, TEXTS, save_tiny_base


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", [family for family in SUPPORTED if family not in FAMILIES])
def test_family_obeys_and_padding_side_changes_nothing(family, attention, tmp_path):
    model = build_model(f"layer_mean+{attention}", save_tiny_base(tmp_path, family), max_tokens=32, precision="fp32")
    assert probe_attention(model).attention == attention
    vectors = {}
    for side in ("left", "right"):
        model[0].padding_side = side
        vectors[side] = stock_encode(model, list(TEXTS), convert_to_tensor=True)
    worst = (vectors["left"] - vectors["right"]).norm(dim=1).max()
    assert worst < 1e-5 * torch.pdist(vectors["right"]).mean()
