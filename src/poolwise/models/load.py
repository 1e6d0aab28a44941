"""Loading of saved models: poolwise models with ``load_model``, any embedding model with ``load_any``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

from poolwise.base_dtypes import Precision
from poolwise.base_sources.catalogue import is_built_in
from poolwise.base_sources.find import is_gguf_name
from poolwise.cards import FACTS, load_facts
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError, ModelError, require_choice, unreadable
from poolwise.hub import hub_access, is_hub_id, snapshot
from poolwise.kernels.devices import require_device
from poolwise.models.backbone import Backbone
from poolwise.models.custom_code import refuse_custom_code
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.finite import require_finite
from poolwise.models.merge import prepare_encoding
from poolwise.models.pooling import POOLING_CLASSES, Pooling
from poolwise.models.saved_folder import SETTINGS, find_model, no_model, own_folder
from poolwise.records import require_finished
from poolwise.storage.checksums import damages, load_checksums
from poolwise.storage.fingerprints import SUMS
from poolwise.storage.json_text import load_json

logger = logging.getLogger(__name__)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(
    path: str | Path,
    *,
    device: str | None = None,
    precision: Precision = "auto",
    max_tokens: int | None = None,
    truncate_dim: int | None = None,
    base: str | None = None,
) -> EmbeddingModel:
    """Return the model that ``model.save(path)`` wrote, bit for bit, with its attention set again and verified.

    Args:
        path: the folder that was saved, the folder of a run, or a hub id (``org/name``, ``org/name@revision``).
        device: where it computes, such as "cuda:1"; None takes a GPU if there is one.
        precision: of matrix products: "fp32", "bf16", or "auto" for bf16 where it is fast.
        max_tokens: truncate texts at another length than in training.
        truncate_dim: return only this many first dimensions of each embedding.
        base: the folder or file of its base, if that is not where it was when the model was saved.
    Raises: ModelError if the folder, its adapter or its base is missing, changed or unreadable; ConfigError for an
        unknown precision, a device that this machine does not have or that cannot hold the base's dtype, or a
        ``truncate_dim`` beyond the width of the embeddings.

    Example:

        >>> import poolwise
        >>> poolwise.build_model("mean+causal", "poolwise/nano").save("my-model")
        >>> model = poolwise.load_model("my-model", truncate_dim=64)
        >>> model.encode(["a dog", "a cat"]).shape
        (2, 64)
    """
    require_device(device)
    require_choice("precision", precision, get_args(Precision))
    folder = find_model(path, with_base=base is None)
    _require_whole(folder)
    backbone = Backbone.load(str(folder), base=base, precision=precision, device=device)
    if max_tokens is not None:
        backbone.max_seq_length = max_tokens
    pooling = _load_pooling(folder, parse_design(backbone.design))
    width = pooling.get_embedding_dimension()
    if truncate_dim is not None and not 1 <= truncate_dim <= width:
        raise ConfigError(f"truncate_dim is {truncate_dim}", f"wanted 1 to {width}, the width of {path}")
    settings = _settings(folder)
    model = EmbeddingModel(
        modules=[backbone, pooling, Normalize()],
        device=device,
        prompts=settings.get("prompts"),
        default_prompt_name=settings.get("default_prompt_name"),
        truncate_dim=truncate_dim,
    )
    try:
        model.known_facts = load_facts(folder / FACTS)
    except ModelError as error:
        logger.warning("%s; the model loads without them", error)
    return model


def _require_whole(folder: Path) -> None:
    """Raise ModelError where weights are not as they were saved; settings may be edited. Older models have no sums."""
    try:
        recorded = load_checksums(folder) or {}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {folder / SUMS}: {error}", "wanted checksums", "save the model again") from error
    weights = {name: known for name, known in recorded.items() if name.endswith(".safetensors")}
    for name, problem in damages(folder, weights).items():
        raise ModelError(
            f"{folder / name} {problem}",
            "wanted the weights as they were saved",
            f"restore the file, or save the model again; if you changed it on purpose, delete {folder / SUMS}",
        )


def _load_pooling(folder: Path, design: Design) -> Pooling:
    cls = POOLING_CLASSES[design.pooling]
    return cls.load(str(folder), subfolder=f"1_{cls.__name__}")


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        found = dict(load_json(path)) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {error}", hint="save the model again") from error
    _require_prompts(path, found)
    if found.get("prompts"):
        found["prompts"] = {name: text or "" for name, text in found["prompts"].items()}
    return found


def _require_prompts(path: Path, settings: Mapping[str, Any]) -> None:
    """Raise ModelError for prompts that are no texts, or a default that is none of them."""
    prompts, default = settings.get("prompts"), settings.get("default_prompt_name")
    wanted, hint = "wanted texts by name, and the name of one of them", f"correct {path.name}, or save the model again"
    if not isinstance(prompts, dict | None):
        raise ModelError(f"prompts in {path} is a {type(prompts).__name__}", wanted, hint)
    if bad := [name for name, text in (prompts or {}).items() if not isinstance(text, str | None)]:
        raise ModelError(f"the prompt {bad[0]!r} in {path} is a {type((prompts or {})[bad[0]]).__name__}", wanted, hint)
    # sentence-transformers adds the two, without a text.
    known = {"query", "document", *(prompts or {})}
    if default is not None and not (isinstance(default, str) and default in known):
        raise ModelError(f"default_prompt_name in {path} is {default!r}", f"wanted {' or '.join(sorted(known))}", hint)


def stored_settings(name: str, own: Path | None) -> dict[str, Any]:
    """Return the saved settings of any sentence-transformers model (``prompts``, ``default_prompt_name`` ...).

    The model is not loaded. {} if it has no settings or cannot be found; loading it then reports the error.

    Args:
        own: its ``own_folder``.
    Raises: ModelError if the settings cannot be read.
    """
    folder = own or Path(name).expanduser()
    if not folder.exists() and is_hub_id(name):
        try:
            folder = snapshot(name, [SETTINGS])
        except (OSError, ValueError):
            return {}
    return _settings(folder)


def load_any(
    name: str,
    precision: Precision = "auto",
    max_tokens: int | None = None,
    for_encoding: bool = True,
    device: str | None = None,
) -> SentenceTransformer:
    """Return any SentenceTransformer by name, poolwise models included.

    Args:
        name: the folder of a run, a model folder, or a hub id.
        precision: for poolwise models as in ``load_model``; others are loaded in this dtype, with "auto" in their own.
        max_tokens: texts are truncated to this many tokens; None keeps the model's own limit.
        for_encoding: prepare poolwise models for encoding, which is faster; they cannot be trained any more.
        device: where it computes; None takes a GPU if there is one.
    Raises: ModelError if the model cannot be loaded; ConfigError for an unknown precision, or a device that this
        machine does not have.
    """
    require_choice("precision", precision, get_args(Precision))
    if own_folder(name) is None:
        return load_foreign(name, precision, max_tokens, device)
    model = load_model(name, precision=precision, max_tokens=max_tokens, device=device)
    return prepare_encoding(model) if for_encoding else model


def load_foreign(
    name: str, precision: Precision = "auto", max_tokens: int | None = None, device: str | None = None
) -> SentenceTransformer:
    """Return a SentenceTransformer that is no poolwise model; arguments and errors as in ``load_any``."""
    require_device(device)
    path = Path(name).expanduser()
    require_finished(path)
    if is_built_in(name) or (is_gguf_name(name) and not path.is_dir()):
        raise ModelError(
            f"{name} is a base, not an embedding model",
            "wanted an embedding model",
            f"make one with poolwise train --base {name} (--steps 0 for an untrained one)",
        )
    if (name.startswith((".", "/", "~")) or path.suffix) and not path.exists():
        raise ModelError(f"model folder {name} does not exist", hint="give the folder that has modules.json")
    if path.is_dir() and not (path / "modules.json").is_file() and not (path / "config.json").is_file():
        raise no_model(path)
    refuse_custom_code(name)
    dtype = _DTYPES.get(precision)
    try:
        with nullcontext() if Path(name).is_dir() else hub_access():
            model = SentenceTransformer(
                name,
                device=device,
                trust_remote_code=False,
                model_kwargs=None if dtype is None else {"dtype": dtype},
            )
    except Exception as error:
        raise unreadable(
            f"cannot load {name} as an embedding model",
            error,
            "wanted a folder with modules.json, or a hub id that can be reached",
            "without a network, download the model elsewhere and give its folder",
        ) from error
    require_finite(model.named_parameters(), name)
    if max_tokens is not None and (model.max_seq_length is None or model.max_seq_length != max_tokens):
        model.max_seq_length = max_tokens
    return model
