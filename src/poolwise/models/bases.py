"""Base models: find them, check that they are suitable, load their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

from poolwise.base_dtypes import HeldDtype
from poolwise.base_sources.catalogue import EMBEDDED
from poolwise.base_sources.find import find_gguf, refuse_unnamed_gguf
from poolwise.errors import ModelError, PoolwiseError, unreadable
from poolwise.hub import snapshot
from poolwise.models.base_dtype import loading_options, widen_vectors
from poolwise.models.dequantise import dequantised, gguf_fingerprint, is_dequantised, origin_text
from poolwise.models.families import attention_implementation, refuse_unsuitable
from poolwise.models.finite import require_finite
from poolwise.models.tokens import TextTokens
from poolwise.models.vocabularies import share_vocabulary
from poolwise.storage.fingerprints import LENGTH, file_hash
from poolwise.storage.json_text import load_json

FINGERPRINTED = (".json", ".safetensors", ".bin", ".model", ".txt")
"""Suffixes of the files that a base's fingerprint covers."""
_HINT = (
    "give a folder with config.json, the tokenizer and model.safetensors (without a network: copy it there), "
    "a .gguf file, or poolwise/nano"
)


def locate_base(name: str, *, with_weights: bool = False) -> Path:
    """Return the folder of a base: embedded, the user's, dequantised from a GGUF file, or a snapshot of a hub commit.

    Args:
        name: ``poolwise/nano``, ``poolwise/smollm2``, a folder, a GGUF file (``find_gguf``), or a hub id, optionally
            with a commit, tag or branch: ``org/name@main``.
        with_weights: for a hub id, download the weights too, not only configuration and tokenizer.
    Raises: ModelError for a path that does not exist, a GGUF file that cannot be used, or a hub id or package that
        cannot be downloaded.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    if (source := find_gguf(name)) is not None:
        return dequantised(source)
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
        # Only files of the root: subfolders have the same weights in other formats.
        return snapshot(name, patterns, ignore="*/*")
    except Exception as error:
        raise _unreadable(name, error) from error


def pinned_base(name: str) -> str:
    """Return a name that always refers to the same base: a folder's or file's full path, or ``org/name@commit``.

    Raises: ModelError as ``locate_base``.
    """
    if name in EMBEDDED:
        return name
    if (source := find_gguf(name)) is not None:
        return source.pinned
    folder = locate_base(name)
    if Path(name).expanduser().is_dir():
        return str(folder.resolve())
    return f"{name.partition('@')[0]}@{folder.name}"


def _unreadable(name: str, error: Exception) -> PoolwiseError:
    return unreadable(f"cannot read base {name!r}", error, "wanted a decoder-only transformers model", _HINT)


def _read(name: str, *, with_weights: bool = False) -> tuple[Path, PreTrainedConfig, PreTrainedTokenizerBase]:
    """Return folder, configuration and tokenizer of a base, after checking that it is suitable.

    Raises: ModelError if it is missing or unreadable, a hybrid, or has no EOS token.
    """
    place = locate_base(name, with_weights=with_weights)
    refuse_unnamed_gguf(name, place)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        config.get_text_config()  # fails where it cannot tell which part reads texts
    except Exception as error:
        raise _unreadable(name, error) from error
    refuse_unsuitable(config, name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:
        raise _unreadable(name, error) from error
    TextTokens(tokenizer, config.get_text_config().vocab_size)
    return place, config, tokenizer


def resolve_base(name: str) -> str:
    """Return the folder of a base, after checking its configuration and tokenizer.

    Args:
        name: as in ``locate_base``.
    Raises: ModelError if it is missing or unreadable, a hybrid, or has no EOS token.
    """
    return str(_read(name)[0])


def base_config(name: str) -> PreTrainedConfig:
    """Return the configuration of a base's text model, without reading its weights. Raises: as ``resolve_base``."""
    return _read(name)[1].get_text_config()


def base_shape(name: str) -> tuple[int, int]:
    """Return the number of decoder layers and the hidden size of a base, without reading its weights.

    Raises: ModelError as ``resolve_base``.
    """
    config = _read(name)[1].get_text_config()
    return int(config.num_hidden_layers), int(config.hidden_size)


def vocabulary_size(name: str) -> int:
    """Return the vocabulary size of a base, without reading its weights. Raises: ModelError as ``resolve_base``."""
    return int(_read(name)[1].get_text_config().vocab_size)


def require_prompts(name: str, prompts: Iterable[str]) -> None:
    """Raise ConfigError if a prompt spells a special token of a base. Raises: ModelError as ``resolve_base``."""
    _, config, tokenizer = _read(name)
    tokens = TextTokens(tokenizer, config.get_text_config().vocab_size, split_special_tokens=True)
    for prompt in prompts:
        tokens.require_prompt(prompt)


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hide transformers' progress bars, which would mix with ours."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def load_base(
    name: str, dtype: HeldDtype = "fp32", device: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a base and its tokenizer.

    Args:
        dtype: of its matrices; vectors (norms, biases) are in fp32.
        device: where 4-bit weights are made; others are loaded into CPU memory.
    Raises: ModelError as ``resolve_base``, and if weights are missing, which transformers would initialise at random.
    """
    model, tokenizer, missing = _load(name, AutoModel, dtype, device)
    _require_all(name, missing)
    return model, tokenizer


def load_causal(name: str, dtype: HeldDtype = "fp32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a base with its LM head, and its tokenizer; ``dtype`` as in ``load_base``.

    Raises: ModelError as ``load_base``, and if there is no LM head.
    """
    model, tokenizer, missing = _load(name, AutoModelForCausalLM, dtype)
    head = model.get_output_embeddings()
    of_head = {key for key, module in model.named_modules() if module is head}
    if head is None or any(key.rpartition(".")[0] in of_head for key in missing):
        raise ModelError(
            f"base {name!r} has no LM head ({', '.join(missing) or 'its architecture has none'})",
            "wanted the weights that predict the next token, which AutoModelForCausalLM saves and AutoModel leaves out",
            "use the base as it was published, or leave `adapt` out of the recipe",
        )
    _require_all(name, missing)
    return model, tokenizer


def _load(
    name: str, kind: Any, dtype: HeldDtype, device: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    place, config, tokenizer = _read(name, with_weights=True)
    _refuse_outside(name, place)
    try:
        with _quiet_loading():
            model, info = kind.from_pretrained(
                place,
                trust_remote_code=False,
                attn_implementation=attention_implementation(config.model_type),
                output_loading_info=True,
                **loading_options(dtype, device),
            )
    except Exception as error:
        raise _unreadable(name, error) from error
    require_finite(model.named_parameters(), f"base {name!r}")
    if dtype != "fp32":
        widen_vectors(model)
    return model, share_vocabulary(tokenizer), sorted(info["missing_keys"])


def _require_all(name: str, missing: Sequence[str]) -> None:
    if missing:
        raise _unreadable(name, ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}"))


def _refuse_outside(name: str, place: Path) -> None:
    """Raise ModelError where a base's index names weights that are not beside it: its fingerprint would miss them."""
    for path in sorted(place.glob("*.index.json")):
        try:
            named = set(map(str, dict(load_json(path)["weight_map"]).values()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(name, error) from error
        if wrong := [file for file in sorted(named) if "/" in file or "\\" in file or file in ("", "..")]:
            raise ModelError(
                f"{path} names weights in {wrong[0]!r:.80}", "wanted files beside it", "put all weights into one folder"
            )


def base_fingerprint(name: str) -> str:
    """Return a hash of a base's configuration, tokenizer and weights.

    Raises: ModelError as ``locate_base``, and where its index names weights in another folder.
    """
    if (source := find_gguf(name)) is not None:
        return gguf_fingerprint(source)
    total = hashlib.sha256()
    place = locate_base(name, with_weights=True)
    _refuse_outside(name, place)
    for path in sorted(place.iterdir()):
        if path.suffix in FINGERPRINTED and path.is_file():
            total.update(f"{path.name}={file_hash(path)};".encode())
    return total.hexdigest()[:LENGTH]


def base_origin(name: str) -> str:
    """Return the GGUF file that a base was dequantised from, in words; empty for other bases.

    Raises: ModelError as ``locate_base``.
    """
    source = find_gguf(name)
    return "" if source is None else origin_text(source)


def prepare_base(name: str) -> None:
    """Fetch and dequantise a base in a GGUF file, if its cached folder is missing; nothing for other bases.

    A base that cannot be found is left to the checks of the recipe, which list all errors at once.
    """
    try:
        source = find_gguf(name)
    except ModelError:
        return
    if source is not None and not is_dequantised(source):
        dequantised(source)
