"""``tokenizer.json`` of an export: it writes BOS and EOS itself, and EOS stays when a text is truncated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from poolwise.models.backbone import Backbone

_OFFSETS = "ByteLevel"
"""The post-processor that leaves spaces out of a token's offsets; prompts are counted by offsets, so it is kept."""


def tokenizer_json(backbone: Backbone) -> str:
    """Return the content of a ``tokenizer.json`` that gives the ids that poolwise reads: BOS, text, EOS.

    Trained tokens follow EOS. The library truncates a text before it adds these ids, so they are always there. Padding
    is on the side of the model. Other than poolwise, it does not remove EOS from the end of a text.
    """
    found: dict[str, Any] = json.loads(backbone.tokenizer.backend_tokenizer.to_str())
    tokens = backbone.tokens
    suffix = [tokens.eos_id, *tokens.soft_ids]
    found["post_processor"] = _with_template(found.get("post_processor"), _template(backbone, suffix))
    found["truncation"] = {
        "direction": "Right",
        "max_length": backbone.max_tokens + len(tokens.soft_ids),
        "strategy": "LongestFirst",
        "stride": 0,
    }
    found["padding"] = {
        "strategy": "BatchLongest",
        "direction": backbone.padding_side.capitalize(),
        "pad_to_multiple_of": None,
        "pad_id": tokens.pad_id,
        "pad_type_id": 0,
        "pad_token": _name(backbone, tokens.pad_id),
    }
    return json.dumps(found, ensure_ascii=False)


def _template(backbone: Backbone, suffix: Sequence[int]) -> dict[str, Any]:
    prefix = backbone.tokens.prefix
    start, end = ([{"SpecialToken": {"id": _name(backbone, i), "type_id": 0}} for i in ids] for ids in (prefix, suffix))
    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [*start, texts[0], *end],
        "pair": [*start, *texts, *end],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]}
            for number in [*prefix, *suffix]
            if (name := _name(backbone, number))
        },
    }


def _name(backbone: Backbone, number: int) -> str:
    if number >= backbone.tokens.vocab_size:
        return f"<trained_{number - backbone.tokens.vocab_size + 1}>"
    return str(backbone.tokenizer.convert_ids_to_tokens(number))


def _with_template(old: dict[str, Any] | None, template: dict[str, Any]) -> dict[str, Any]:
    """Return a post-processor that computes offsets as the old one did and writes the ids of ``template``."""
    parts = [] if old is None else old["processors"] if old["type"] == "Sequence" else [old]
    offsets = [_offsets_of(part) for part in parts if part["type"] in (_OFFSETS, "RobertaProcessing")]
    if not offsets:
        return template
    return {"type": "Sequence", "processors": [*offsets, template]}


def _offsets_of(part: dict[str, Any]) -> dict[str, Any]:
    # RobertaProcessing is a template and ByteLevel in one.
    return {
        "type": _OFFSETS,
        "add_prefix_space": part["add_prefix_space"],
        "trim_offsets": part["trim_offsets"],
        "use_regex": part.get("use_regex", True),
    }
