"""What a served model is, measured when it is loaded: attention, pooling, layers, prompts, fingerprint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from poolwise.checks.attention import probe_ids
from poolwise.checks.reach import measure_reach
from poolwise.checks.subject import Subject
from poolwise.corpus.fingerprint import document_prompt, fingerprint_model
from poolwise.errors import ModelError
from poolwise.models import Backbone, probe_attention, trained_dimensions


@dataclass(frozen=True)
class ModelInfo:
    """What a model is.

    Args:
        source: where it was loaded from; empty for a loaded model.
        width: numbers of an embedding.
        dimensions: the widths that it was trained for, if there are several.
        max_tokens: texts are truncated there; None without a limit.
        prompts: by name; ``default_prompt_name`` is used where a request names none.
        attention: as the probe measured it; None for a model without a transformer.
        layers: what each layer lets a token see, in words; None if it could not be measured.
        pooling: the name of the pooling, or the classes of the modules after the transformer.
        num_layers: decoder layers; None for a model without a transformer.
        ends_with: the ids that end every text, and as tokens.
        fingerprint: of the model as a corpus encoded with it records it (docs/how-to/encode-a-corpus.md).
    """

    name: str
    source: str
    width: int
    dimensions: tuple[int, ...]
    max_tokens: int | None
    prompts: dict[str, str]
    default_prompt_name: str | None
    attention: str | None
    layers: str | None
    pooling: str
    design: str | None
    num_layers: int | None
    starts_with: list[str]
    ends_with: list[str]
    precision: str
    device: str
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def describe(model: SentenceTransformer, name: str, source: str) -> ModelInfo:
    """Return what a model is, before it is prepared for encoding in place."""
    prompts = {key: text for key, text in dict(model.prompts or {}).items() if isinstance(text, str)}
    found = fingerprint_model(model, name, document_prompt(model, None, None))
    backbone = model[0]
    is_own = isinstance(backbone, Backbone)
    has_transformer = is_own or isinstance(backbone, Transformer)
    starts, ends = _ends(model) if has_transformer else ([], [])
    width = int(model.truncate_dim or model.get_embedding_dimension() or 0)
    return ModelInfo(
        name=name,
        source=source,
        width=width,
        dimensions=tuple(size for size in trained_dimensions(model) if size <= width),
        max_tokens=model.max_seq_length,
        prompts=prompts,
        default_prompt_name=model.default_prompt_name,
        attention=probe_attention(model).attention if has_transformer else None,
        layers=_reach(model) if has_transformer else None,
        pooling=found.pooling if is_own else ", ".join(type(module).__name__ for module in list(model)[1:]),
        design=str(backbone.design) if is_own else None,
        num_layers=_num_layers(model) if has_transformer else None,
        starts_with=starts,
        ends_with=ends,
        precision=found.precision,
        device=str(model.device),
        fingerprint=found.fingerprint,
    )


def _ends(model: SentenceTransformer) -> tuple[list[str], list[str]]:
    """Return the special tokens before and after every text."""
    ids = Subject(model).ids("a")
    special = set(model.tokenizer.all_special_ids)
    tokens = [str(token) for token in model.tokenizer.convert_ids_to_tokens(ids)]
    ordinary = np.flatnonzero([one not in special for one in ids])
    if not len(ordinary):
        return tokens, []
    return tokens[: ordinary[0]], tokens[ordinary[-1] + 1 :]


def _reach(model: SentenceTransformer) -> str | None:
    subject = Subject(model)
    try:
        with torch.no_grad(), subject.in_fp32():
            return str(measure_reach(subject.transformer, probe_ids(subject)))
    except (ModelError, RuntimeError):
        return None


def _num_layers(model: SentenceTransformer) -> int | None:
    config = Subject(model).transformer.config.get_text_config()
    found = getattr(config, "num_hidden_layers", None)
    return None if found is None else int(found)
