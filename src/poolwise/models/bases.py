"""The base model: where it lies, whether it will do, its weights in fp32."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from poolwise.errors import ModelError
from poolwise.hub import snapshot
from poolwise.models.families import attention_implementation, refuse_unsuitable
from poolwise.models.tokens import TextTokens
from poolwise.records import load_adaptation

EMBEDDED = {"poolwise/nano": Path(__file__).parent.parent / "embedded" / "nano"}
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
_HINT = (
    "give a folder that holds config.json, the tokenizer and model.safetensors (without a network: copy it there), "
    "or poolwise/nano"
)


def locate_base(name: str, *, with_weights: bool = False) -> Path:
    """Return the folder that holds a base: the embedded one, the user's, or the hub's snapshot of one commit.

    Args:
        name: ``poolwise/nano``, a folder, or a hub id, which may name a commit, tag or branch: ``org/name@main``.
        with_weights: of a hub id, fetch the weights too, and not only configuration and tokenizer.
    Raises: ModelError for a path that does not exist, or a hub id that cannot be had.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_like_path or folder.exists():
        raise ModelError(f"base {name!r} is not a folder", "wanted a folder or a hub id", _HINT)
    return _snapshot(name, with_weights)


_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]


def _snapshot(name: str, with_weights: bool) -> Path:
    patterns = [*_SMALL_FILES, "*.safetensors"] if with_weights else _SMALL_FILES
    try:
        # Files of the root alone: folders below hold the same weights in other formats.
        return snapshot(name, patterns, ignore="*/*")
    except _UNREADABLE as error:
        raise _unreadable(name, error) from error


def pinned_base(name: str) -> str:
    """Return the name by which a base is found again, unchanged: a folder's full path, or ``org/name@commit``.

    Raises: ModelError as ``locate_base``.
    """
    if name in EMBEDDED:
        return name
    folder = locate_base(name)
    if Path(name).expanduser().is_dir():
        return str(folder.resolve())
    return f"{name.partition('@')[0]}@{folder.name}"


def _unreadable(name: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"cannot read base {name!r}: {reason}", "wanted a decoder-only transformers model", _HINT)


def _read(name: str, *, with_weights: bool = False) -> tuple[Path, PreTrainedConfig, PreTrainedTokenizerBase]:
    """Return folder, configuration and tokenizer of a base that will do.

    Raises: ModelError where it is missing or unreadable, a hybrid, or has no EOS token.
    """
    place = locate_base(name, with_weights=with_weights)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    except _UNREADABLE as error:
        raise _unreadable(name, error) from error
    refuse_unsuitable(config, name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except _UNREADABLE as error:
        raise _unreadable(name, error) from error
    TextTokens(tokenizer, config.get_text_config().vocab_size)
    return place, config, tokenizer


def resolve_base(name: str) -> str:
    """Return the folder of a base, once its configuration and tokenizer are known to do.

    Args:
        name: as ``locate_base`` takes it.
    Raises: ModelError where it is missing or unreadable, a hybrid, or has no EOS token.
    """
    return str(_read(name)[0])


def base_config(name: str) -> PreTrainedConfig:
    """Return the configuration of a base's text model, without reading its weights. Raises: as ``resolve_base``."""
    return _read(name)[1].get_text_config()


def base_shape(name: str) -> tuple[int, int]:
    """Return how many decoder layers a base has, and its hidden size, without reading its weights.

    Raises: ModelError as ``resolve_base``.
    """
    config = _read(name)[1].get_text_config()
    return int(config.num_hidden_layers), int(config.hidden_size)


def vocabulary_size(name: str) -> int:
    """Return how many tokens a base scores, without reading its weights. Raises: ModelError as ``resolve_base``."""
    return int(_read(name)[1].get_text_config().vocab_size)


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Keep transformers' bar for each weights file out of ours."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def load_base(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a base, its weights in fp32, and its tokenizer.

    Raises: ModelError as ``resolve_base``, and where weights are missing, which transformers would draw at random.
    """
    model, tokenizer, missing = _load(name, AutoModel)
    _require_all(name, missing)
    return model, tokenizer


def load_causal(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a base with its LM head, the weights in fp32, and its tokenizer.

    Raises: ModelError as ``load_base``, and where there is no LM head.
    """
    model, tokenizer, missing = _load(name, AutoModelForCausalLM)
    head = model.get_output_embeddings()
    of_head = {key for key, module in model.named_modules() if module is head}
    if head is None or any(key.rpartition(".")[0] in of_head for key in missing):
        raise ModelError(
            f"base {name!r} has no LM head ({', '.join(missing) or 'none in its family'})",
            "wanted the weights that predict the next token, which AutoModelForCausalLM saves and AutoModel leaves out",
            "take the base as it was published, or leave `adapt` out of the recipe",
        )
    _require_all(name, missing)
    return model, tokenizer


def _load(name: str, kind: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    place, config, tokenizer = _read(name, with_weights=True)
    try:
        with _quiet_loading():
            model, info = kind.from_pretrained(
                place,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation=attention_implementation(config.model_type),
                output_loading_info=True,
            )
    except _UNREADABLE as error:
        raise _unreadable(name, error) from error
    return model, tokenizer, sorted(info["missing_keys"])


def _require_all(name: str, missing: Sequence[str]) -> None:
    if missing:
        raise _unreadable(name, ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}"))


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, modified_ns: int) -> str:
    """Return a file's hash; size and time are there to tell the cache that it changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def base_fingerprint(name: str) -> str:
    """Return a hash of a base's configuration, tokenizer and weights. Raises: ModelError as ``locate_base``."""
    total = hashlib.sha256()
    for path in sorted(locate_base(name, with_weights=True).iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin", ".model", ".txt") and path.is_file():
            stat = path.stat()
            total.update(f"{path.name}={_file_hash(path, stat.st_size, stat.st_mtime_ns)};".encode())
    return total.hexdigest()[:16]


def reference_beside(base: str, folder: Path) -> str | None:
    """Return the way from a model's folder to an adapted base, which belongs to the same study; None for others."""
    if load_adaptation(base) is None:
        return None
    return os.path.relpath(Path(base).resolve(), folder.resolve())


def find_base(name: str, beside: str | None, folder: Path) -> str:
    """Return the base of a model in ``folder``: beside it, so that a study may be moved, or else where it once was.

    Raises: ModelError where it is an adapted base that is in neither place.
    """
    if beside is None:
        return name
    places = [(folder / beside).resolve(), Path(name)]
    if found := next((place for place in places if place.is_dir()), None):
        return str(found)
    raise ModelError(
        f"the adapted base of {folder} is neither {places[0]} nor {places[1]}",
        "wanted the folder that the study's adaptation wrote",
        "move a study as a whole, its folder adapted/ beside runs/",
    )
