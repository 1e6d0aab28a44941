"""Build an untrained model from a design and a base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

from poolwise.base_dtypes import BaseDtype, Precision
from poolwise.design import Design, parse_design
from poolwise.errors import ModelError, require_choice
from poolwise.kernels.devices import require_device
from poolwise.models.adapter import add_lora
from poolwise.models.backbone import Backbone, Method
from poolwise.models.base_dtype import hold_base_in
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
    base_dtype: BaseDtype = "auto",
    prompts: Mapping[str, str] | None = None,
    split_special_tokens: bool = True,
    gradient_checkpointing: bool = False,
    device: str | None = None,
) -> EmbeddingModel:
    """Return an untrained model of a design: backbone, pooling, L2 normalisation. Its attention has been verified.

    Adapter and head have their own seeds; the global random generator is not changed.

    Args:
        design: a design or its text, such as ``multilayer+bidirectional`` or ``paper:5``.
        base: ``poolwise/nano``, ``poolwise/smollm2``, a folder, a GGUF file, or a hub id.
        seed: of the adapter's and the head's start.
        method: what is trained besides the head: "lora" an adapter, "frozen" nothing, "full" the whole base.
        lora_rank: rank of the adapter.
        lora_alpha: the update of the adapter is scaled by alpha / rank.
        lora_dropout: dropout probability in front of the adapter.
        max_tokens: texts are truncated to this many tokens, EOS included.
        precision: of matrix products: "fp32", "bf16", or "auto" for bf16 where it is fast.
        base_dtype: of a frozen base's weights: "fp32", "bf16" (half the memory), "nf4" (4 bits, on a GPU, needs the
            package bitsandbytes), or "auto" for bf16 where products are in bf16. What is trained is always in fp32.
        prompts: prompts by name, such as "query"; ``prompt_name`` in ``encode`` selects one to put before each text.
        split_special_tokens: a special token that is spelled in a text, such as ``<|eos|>``, is read as its characters;
            False lets it act as the special token, as stock sentence-transformers does.
        gradient_checkpointing: recompute layers in the backward to save memory.
        device: where it computes; None takes a GPU if there is one.
    Raises: ConfigError for an unknown design, method, precision or device, layers that the base does not have, a
        prompt that spells a special token, or a ``base_dtype`` that method, precision or device do not allow;
        ModelError for a base that is unsuitable, or ignores the attention.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("multilayer+bidirectional", "poolwise/nano")
        >>> model.encode("a search box").shape
        (256,)
    """
    require_choice("method", method, get_args(Method))
    require_choice("precision", precision, get_args(Precision))
    require_choice("base_dtype", base_dtype, get_args(BaseDtype))
    require_device(device)
    design = parse_design(design) if isinstance(design, str) else design
    held = hold_base_in(base_dtype, method=method, precisions={"precision": precision}, device=device)
    model, tokenizer = load_base(base, held, device)
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
        base_dtype=held,
        split_special_tokens=split_special_tokens,
    )
    for prompt in (prompts or {}).values():
        backbone.tokens.require_prompt(prompt)
    with seeded(seed, "head"):
        pooling = build_pooling(design, backbone.get_embedding_dimension(), model.config.num_hidden_layers)
    built = EmbeddingModel(modules=[backbone, pooling, Normalize()], prompts=dict(prompts or {}), device=device)
    if gradient_checkpointing:
        # Reentrant checkpoints lose the gradients of states that hooks collect.
        built.gradient_checkpointing_enable({"use_reentrant": False})
    return built


def trained_dimensions(model: SentenceTransformer) -> tuple[int, ...]:
    """Return the dimensions that a model was trained with as embeddings of their own (``train.matryoshka``), ascending.

    Empty for a model that was trained at its full width only: then no shorter embedding is known to be good.
    """
    return tuple(getattr(model[0], "matryoshka", ()))


def design_of(model: SentenceTransformer) -> Design:
    """Return the design a model was built with.

    Raises: ModelError if it is not a poolwise model.
    """
    design = getattr(model[0], "design", None)
    if not isinstance(design, str):
        raise ModelError(f"the model starts with {type(model[0]).__name__}", "wanted a poolwise model")
    return parse_design(design)
