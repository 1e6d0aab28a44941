"""Target ``sentence-transformers``: stock modules where they can express the design, else one bundled file of code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from poolwise.design import parse_design
from poolwise.export.code import BUNDLED, MODULES_WITH_CODE, SOURCE, STOCK
from poolwise.export.expressible import base_refusal, extras
from poolwise.export.plain_folder import (
    backbone_of,
    kernel_of,
    special_tokens_limit,
    write_plain,
    write_settings,
)
from poolwise.layer_subsets import LayerSubset
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.families import EAGER
from poolwise.models.pooling.base import Pooling
from poolwise.models.pooling.landmark import LandmarkPooling
from poolwise.models.pooling.soft_tokens import SoftTokensPooling

RUNNER = str(Path(__file__).with_name("run_sentence_transformers.py"))
TOLERANCE = 1e-5
"""Measured: 6.6e-7 at most over tiny random bases, 2e-7 on poolwise/nano; deep bases and other CPUs round more."""
OPTIONS: tuple[str, ...] = ()

_MODES = {"last": "lasttoken", "mean": "mean", "weighted_mean": "weightedmean"}
_OLD_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_SETTINGS_OF_HEADS = ("latents", "heads", "head_dim", "keys", "layer_embedding", "input", "width", "queries", "tokens")


def refusal(model: EmbeddingModel) -> str | None:
    """Return why the model cannot be written; None for every design on a base that transformers can save."""
    return base_refusal(model)


def write(model: EmbeddingModel, folder: Path, *, options: Mapping[str, object]) -> None:
    """Write the model as a folder that ``SentenceTransformer`` loads without poolwise."""
    write_plain(model, folder)
    _write_settings(model, folder)
    if needs_code(model):
        _write_bundle(model, folder)
    else:
        _write_stock(model, folder)


def needs_code(model: EmbeddingModel) -> bool:
    """Return whether stock modules cannot express the design, so that a file with code is bundled."""
    return bool(extras(parse_design(backbone_of(model).design)))


def _write_settings(model: EmbeddingModel, folder: Path) -> None:
    settings: dict[str, Any] = {
        "model_type": "SentenceTransformer",
        "prompts": dict(model.prompts),
        "default_prompt_name": model.default_prompt_name,
        "similarity_fn_name": "cosine",
    }
    required = {}
    if not backbone_of(model).attention_mode.ends_causal:
        required["transformers"] = {"specifier": ">=5.2", "reason": "older versions ignore config.is_causal"}
    if needs_code(model):
        required["sentence-transformers"] = {"specifier": ">=6.2", "reason": "the bundled modules were tested with it"}
    write_settings(
        folder / "config_sentence_transformers.json", settings | ({"requirements": required} if required else {})
    )


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    rows = [
        {"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(modules)
    ]
    write_settings(folder / "modules.json", rows)


def _write_stock(model: EmbeddingModel, folder: Path) -> None:
    backbone, pooling = backbone_of(model), model[1]
    assert isinstance(pooling, Pooling)
    # The oldest form of this file: every version reads it, and takes a model without modalities for one of plain texts.
    reading: dict[str, Any] = {"max_seq_length": backbone.max_tokens, "do_lower_case": False}
    if kernel_of(backbone) == EAGER:
        reading["model_args"] = {"attn_implementation": EAGER}
    write_settings(folder / "sentence_bert_config.json", reading)
    mode = _MODES[parse_design(backbone.design).pooling]
    width = backbone.get_embedding_dimension()
    modules = [("", f"{STOCK}.Transformer"), ("1_Pooling", f"{STOCK}.Pooling")]
    (folder / "1_Pooling").mkdir()
    # pooling_mode is for sentence-transformers 6, which takes the width by its old name too and without a warning;
    # the other keys are for older versions, TEI and vLLM.
    keys = {"word_embedding_dimension": width, "pooling_mode": mode}
    write_settings(
        folder / "1_Pooling" / "config.json",
        keys | {old: name == mode for name, old in _OLD_KEYS.items()} | {"include_prompt": True},
    )
    if pooling.projection is not None:
        modules.append(("2_Dense", f"{STOCK}.Dense"))
        _write_dense(folder / "2_Dense", pooling.projection.weight)
    _write_modules(folder, [*modules, (f"{len(modules)}_Normalize", f"{STOCK}.Normalize")])
    (folder / f"{len(modules)}_Normalize").mkdir()


def _write_dense(folder: Path, weight: Tensor) -> None:
    folder.mkdir()
    config = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
    write_settings(folder / "config.json", config | {"activation_function": "torch.nn.modules.linear.Identity"})
    save_file({"linear.weight": _plain(weight)}, folder / "model.safetensors")


def _write_bundle(model: EmbeddingModel, folder: Path) -> None:
    backbone, pooling = backbone_of(model), model[1]
    assert isinstance(pooling, Pooling)
    mode = backbone.attention_mode
    write_settings(
        folder / "reader_config.json",
        {
            "max_seq_length": backbone.max_tokens,
            "prefix": backbone.tokens.prefix,
            "eos_id": backbone.eos_id,
            "pad_id": backbone.tokens.pad_id,
            "is_causal": mode.ends_causal,
            "num_causal_layers": mode.num_causal(backbone.num_layers) if mode.top is not None else 0,
            "on_prompt": mode.on_prompt,
            "kernel": kernel_of(backbone),
            "skip_prompt": backbone.skips_prompt,
            "skip_first": backbone.skips_bos,
            "echo": backbone.tokens.echoes,
            "landmark_every": backbone.tokens.landmark_every,
            "layer_tokens": backbone.layer_tokens,
        },
    )
    state = {name: _plain(weight) for name, weight in pooling.state_dict().items()}
    if isinstance(pooling, SoftTokensPooling):
        save_file({"soft": state.pop("soft")}, folder / "soft_tokens.safetensors")
    (folder / "1_Head").mkdir()
    write_settings(folder / "1_Head" / "config.json", {"settings": _head_settings(model, pooling)})
    if state:
        save_file(state, folder / "1_Head" / "model.safetensors")
    (folder / "2_Normalize").mkdir()
    _write_modules(folder, [*MODULES_WITH_CODE])
    shutil.copyfile(SOURCE, folder / BUNDLED)


def _head_settings(model: EmbeddingModel, pooling: Pooling) -> dict[str, Any]:
    backbone = backbone_of(model)
    kind = parse_design(backbone.design).pooling
    settings: dict[str, Any] = {name: getattr(pooling, name) for name in _SETTINGS_OF_HEADS if hasattr(pooling, name)}
    if isinstance(pooling, SoftTokensPooling):
        kind, settings = pooling.tokens, {}
    if isinstance(pooling, LandmarkPooling):
        kind = "mean"
    projected = None if pooling.projection is None else pooling.projection.out_features
    settings |= {"kind": kind, "dim": backbone.get_embedding_dimension(), "projected": projected}
    if (subset := getattr(pooling, "subset", None)) is not None:
        settings["layers"] = list(LayerSubset(subset).numbers(backbone.num_layers))
    return settings


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().to(torch.float32).cpu().contiguous()


_FLAG = """
This design needs modules that sentence-transformers does not have. They are in one file, `bundled_modules.py`, which
imports nothing but torch, transformers and sentence-transformers; `trust_remote_code=True` runs it. Read it first.
"""
_SERVERS = """
LangChain, LlamaIndex and Haystack load the folder as they load any sentence-transformers model. vLLM and TEI read these
files too, but neither was tested.
"""


def usage(model: EmbeddingModel) -> str:
    """Return, in Markdown, how to load the folder."""
    flag = ", trust_remote_code=True" if needs_code(model) else ""
    limit = "" if needs_code(model) else f"\n{special_tokens_limit(backbone_of(model))}\n"
    return f"""
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("."{flag})
print(model.encode(["a dog runs", "stocks fell"]).shape)
```
{_FLAG if needs_code(model) else _SERVERS}{limit}"""
