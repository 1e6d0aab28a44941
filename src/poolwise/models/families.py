"""Architectures of bases: on which the attention can be set, and which can never be bidirectional."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

from transformers import PreTrainedConfig

from poolwise.errors import ModelError

logger = logging.getLogger(__name__)
EAGER = "eager"
_VERIFIED = "transformers 5.23, eager and sdpa, padded and not, tiny random models"
_VERIFIED_EAGER = "transformers 5.23, eager only, tiny random models"
_EAGER = ("gemma2", "bloom", "gptj")
SUPPORTED: Mapping[str, str] = {
    "llama": _VERIFIED,
    "qwen2": _VERIFIED,
    "qwen3": _VERIFIED,
    "qwen3_moe": _VERIFIED,
    "mistral": _VERIFIED,
    "ministral3": _VERIFIED,
    "gemma": _VERIFIED,
    "gemma3_text": _VERIFIED,
    "phi3": _VERIFIED,
    "olmo2": _VERIFIED,
    "smollm3": _VERIFIED,
    "granite": _VERIFIED,
    "gpt_neox": _VERIFIED,
    "gpt2": _VERIFIED,
    "opt": _VERIFIED,
} | dict.fromkeys(_EAGER, _VERIFIED_EAGER)
"""Architectures on which setting the attention was verified, and how. Others are tried, and the probe decides."""

HYBRIDS = frozenset(
    {
        "bailing_hybrid",
        "bamba",
        "falcon_h1",
        "falcon_mamba",
        "granitemoehybrid",
        "jamba",
        "kimi_linear",
        "lfm2",
        "lfm2_moe",
        "lfm3",
        "mamba",
        "mamba2",
        "minimax",
        "nemotron_h",
        "olmo_hybrid",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_next",
        "recurrent_gemma",
        "rwkv",
        "xlstm",
        "zamba",
        "zamba2",
    }
)
"""Architectures with recurrent, convolutional or linear-attention layers."""

_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers")
MOST_LAYERS = 10_000
"""transformers builds every layer before it looks for weights, so a damaged number would never end."""
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


def attention_implementation(model_type: str) -> str | None:
    """Return the attention implementation that an architecture needs; None for transformers' choice."""
    return EAGER if model_type in _EAGER else None


def eager_note(model_type: str, attention: str) -> str:
    """Return the note on a model whose fused attention kernel ignored the attention."""
    return (
        f"{model_type} is computed with eager attention: its sdpa kernel is not {attention} in every batch (probed); "
        "same arithmetic, slower, more memory for long texts"
    )


@cache  # once per process: a study builds many models of one base
def say_eager(model_type: str, attention: str) -> None:
    """Warn that a model uses eager attention because its fused kernel ignored the attention."""
    logger.warning("%s", eager_note(model_type, attention))


def _reason_against(config: PreTrainedConfig) -> str | None:
    text = config.get_text_config()
    if missing := [name for name in _SIZES if getattr(text, name, None) is None]:
        return f"reads no texts: its configuration has no {' and no '.join(missing)}"
    if text.num_hidden_layers > MOST_LAYERS:
        return f"has {text.num_hidden_layers} layers"
    if config.is_encoder_decoder:
        return "is an encoder-decoder"
    other = set(getattr(config, "layer_types", None) or ()) - _ATTENTION_LAYERS
    if other or config.model_type in HYBRIDS:
        kinds = ", ".join(sorted(other)) or "recurrent or convolutional layers"
        return f"is a hybrid: its {kinds} are causal under any attention"
    if getattr(text, "word_embed_proj_dim", text.hidden_size) != text.hidden_size:
        return (
            f"projects its last layer from {text.hidden_size} to {text.word_embed_proj_dim}, unlike the layers before"
        )
    return None


def refuse_unsuitable(config: PreTrainedConfig, name: str) -> None:
    """Raise ModelError with the reason if a base is not a plain decoder with attention in every layer."""
    if reason := _reason_against(config):
        raise ModelError(
            f"base {name!r} ({config.model_type}) {reason}",
            "wanted a decoder-only base with attention in every layer",
            "architectures known to work: " + ", ".join(SUPPORTED),
        )


_ALIBI = ("bloom",)


def refuse_prompt_attention(config: PreTrainedConfig) -> None:
    """Raise ModelError if an architecture cannot take a custom mask, which attention on the prompt needs."""
    if config.model_type in _ALIBI:
        raise ModelError(
            f"{config.model_type} computes its positions from the padding mask",
            "wanted an architecture that takes a mask of queries and keys, for bidirectional(on=prompt)",
            "architectures that do: " + ", ".join(family for family in SUPPORTED if family not in _ALIBI),
        )
