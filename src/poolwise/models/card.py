"""The facts of a model card, read from a model."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from poolwise.base_sources.cached import load_origin
from poolwise.base_sources.catalogue import EMBEDDED, PACKAGED
from poolwise.base_sources.find import find_gguf
from poolwise.cards import CARD, BaseFacts, ModelFacts, licence_in
from poolwise.errors import ModelError
from poolwise.hub import is_hub_id, snapshot
from poolwise.models.backbone import Backbone
from poolwise.models.bases import base_origin, locate_base
from poolwise.models.dequantise import dequantised
from poolwise.models.inspection import count_trainable
from poolwise.models.sizes import base_sizes

if TYPE_CHECKING:
    from poolwise.models.embedding_model import EmbeddingModel

_PACKAGES = ("poolwise", "sentence-transformers", "transformers", "torch", "peft")


def model_facts(model: EmbeddingModel, *, included: bool = False) -> ModelFacts:
    """Return what a card says about the model itself.

    Args:
        included: whether the base is saved with it.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    tokenizer = backbone.tokenizer
    return ModelFacts(
        design=backbone.design,
        method=backbone.method,
        base=_base_facts(backbone, included),
        width=model[1].get_embedding_dimension(),
        dimensions=list(backbone.matryoshka),
        max_tokens=backbone.max_tokens,
        eos=str(tokenizer.convert_ids_to_tokens(backbone.eos_id)),
        eos_id=backbone.eos_id,
        prompts={name: text for name, text in model.prompts.items() if text},
        default_prompt=model.default_prompt_name,
        attention_found=backbone.probe.attention if backbone.probe else "",
        probe=backbone.probe.facts if backbone.probe else {},
        attention_kernel=backbone.attention_kernel,
        num_trained=count_trainable(model),
    )


def _base_facts(backbone: Backbone, included: bool) -> BaseFacts:
    config = backbone.get_config_dict()
    name = str(config["base"])
    repository = name.partition("@")[0].partition(":")[0]
    hub = PACKAGED[name].hub if name in PACKAGED else repository if "@" in name and is_hub_id(repository) else ""
    return BaseFacts(
        name=name,
        hub=hub,
        origin=_origin(backbone),
        fingerprint=config["base_fingerprint"],
        included=included,
        licence=_licence(backbone.base),
        num_layers=backbone.num_layers,
        hidden_size=int(backbone.model.config.hidden_size),
        num_parameters=_num_parameters(backbone),
        dtype=backbone.base_dtype,
    )


def _num_parameters(backbone: Backbone) -> int:
    if backbone.base_dtype == "nf4":  # one stored number holds two weights
        return base_sizes(backbone.model.config).num_parameters
    return sum(weight.numel() for name, weight in backbone.model.named_parameters() if "lora_" not in name)


def _origin(backbone: Backbone) -> str:
    try:
        return base_origin(backbone.base)
    except ModelError:
        if backbone.method != "full":
            raise
        return ""  # a model that holds all its weights may outlive its base


def _licence(base: str) -> str:
    """Return the licence that a base's own card, file or package names; empty if none does."""
    if base in PACKAGED:
        return PACKAGED[base].licence
    try:
        if (source := find_gguf(base)) is not None:
            return load_origin(dequantised(source)).licence
        if not (base in EMBEDDED or Path(base).is_dir() or is_hub_id(base)):
            return ""
        folder = locate_base(base)
        if not (folder / CARD).is_file() and not Path(base).is_dir():
            folder = snapshot(base, [CARD])
        return licence_in(folder / CARD)
    except (ModelError, OSError, ValueError):  # the base of a fully trained model may be gone, or the hub not answer
        return ""


def used_versions() -> dict[str, str]:
    """Return the versions of the libraries that a saved model depends on."""
    return {name: metadata.version(name) for name in _PACKAGES}
