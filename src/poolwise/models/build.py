"""Designs and folders to models."""

from __future__ import annotations

from collections.abc import Mapping

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

from poolwise.design import Design, parse_design
from poolwise.errors import ModelError
from poolwise.kernels.precision import Precision
from poolwise.models.adapter import add_lora
from poolwise.models.backbone import Backbone, Method
from poolwise.models.bases import load_base, pinned_base
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.pooling import build_pooling
from poolwise.models.seeds import seeded


def build_model(
    design: Design | str,
    base: str,
    *,
    seed: int = 0,
    method: Method = "lora",
    lora_rank: int = 16,
    lora_alpha: int = 32,
    lora_dropout: float = 0.1,
    max_tokens: int = 256,
    precision: Precision = "auto",
    prompts: Mapping[str, str] | None = None,
    gradient_checkpointing: bool = False,
    device: str | None = None,
) -> EmbeddingModel:
    """Return a design on a base, untrained: backbone, pooling, L2 normalisation. Its attention has been probed.

    Adapter and head draw from seeds of their own and the global generator is left alone.

    Args:
        design: a design or its text, such as ``multilayer+bidirectional`` or ``paper:5``.
        base: ``poolwise/nano``, a folder, or a hub id.
        method: what trains beside the head: an adapter, nothing, or the whole base.
        max_tokens: texts are cut to this many tokens, EOS included.
        prompts: texts by name, such as "query", put before a text that is encoded with ``prompt_name``.
        gradient_checkpointing: recompute layers in the backward, for less memory.
        device: where it computes; None takes a GPU if there is one.
    Raises: ConfigError for an unknown design, or one that names layers the base has not; ModelError for a base that
        will not do, or that ignores the attention.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("multilayer+bidirectional", "poolwise/nano")
        >>> model.encode("a search box").shape
        (256,)
    """
    design = parse_design(design) if isinstance(design, str) else design
    model, tokenizer = load_base(base)
    design.require_layers(model.config.num_hidden_layers)
    if method == "lora":
        add_lora(model, rank=lora_rank, alpha=lora_alpha, dropout=lora_dropout, seed=seed)
    else:
        model.requires_grad_(method == "full")
    backbone = Backbone(
        model,
        tokenizer,
        design=design,
        base=pinned_base(base),
        method=method,
        max_tokens=max_tokens,
        precision=precision,
    )
    with seeded(seed, "head"):
        pooling = build_pooling(design, backbone.get_embedding_dimension(), model.config.num_hidden_layers)
    built = EmbeddingModel(modules=[backbone, pooling, Normalize()], prompts=dict(prompts or {}), device=device)
    if gradient_checkpointing:
        # The reentrant kind loses the gradients of what hooks hand out.
        built.gradient_checkpointing_enable({"use_reentrant": False})
    return built


def design_of(model: SentenceTransformer) -> Design:
    """Return the design a model was built with.

    Raises: ModelError where it is not a poolwise model.
    """
    design = getattr(model[0], "design", None)
    if not isinstance(design, str):
        raise ModelError(f"the model starts with {type(model[0]).__name__}", "wanted one built or loaded by poolwise")
    return parse_design(design)
