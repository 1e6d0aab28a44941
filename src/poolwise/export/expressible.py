"""What a design needs beyond one pooling of the last layer's tokens, which is all that most programs offer."""

from __future__ import annotations

from poolwise.attentions import parse_attention
from poolwise.design import POOLINGS, Design, parse_design
from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel


def extras(design: Design) -> list[str]:
    """Return, in words, what a design needs beyond last, mean or weighted mean with one attention for all tokens.

    A projection (``dim=N``) is not among them.
    """
    spec, attention = POOLINGS[design.pooling], parse_attention(design.attention)
    found = {
        "pools the states of several layers": spec.uses_layers,
        "has a trained head": spec.is_trainable and not spec.uses_layers and not design.num_soft_tokens,
        "reads trained tokens": design.num_soft_tokens > 0,
        "reads landmarks inside of a text": design.landmark_every is not None,
        "reads every text twice": design.echoes,
        "leaves BOS out of the pooling": design.skips_bos,
        # The last token is never the prompt's.
        "leaves the prompt out of the pooling": design.skips_prompt and design.pooling != "last",
        f"has {attention} attention, which is not the same for all layers or tokens": attention.is_partial,
    }
    return [words for words, is_so in found.items() if is_so]


def base_refusal(model: EmbeddingModel) -> str | None:
    """Return why a model's base and tokens cannot be written for other programs; None if they can."""
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    if not all(weight.is_floating_point() for weight in backbone.model.parameters()):
        return "its base is held in 4 bits; load it with base_dtype fp32 or bf16"
    if not backbone.tokenizer.is_fast:
        return "its tokenizer is written in Python and has no tokenizer.json; no target can take it"
    if not backbone.tokens.ends_in_eos:
        return "its texts do not end in EOS (it was imported), and exports add EOS; no target can take it"
    return None


def design_refusal(model: EmbeddingModel, target: str, *, with_projection: bool) -> str | None:
    """Return why a target with a single pooling cannot express a model; None if it can.

    Args:
        with_projection: the target takes ``dim=N``.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    design = parse_design(backbone.design)
    reasons = extras(design)
    if design.width is not None and not with_projection:
        reasons.append("ends in a projection")
    if reasons:
        return f"it {' and '.join(reasons)}, and {target} cannot; give --target sentence-transformers"
    return base_refusal(model)
