"""Loading whatever embedding model a user names, ours or any other."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from poolwise.errors import ModelError
from poolwise.hub import hub_access

Precision = Literal["auto", "fp32", "bf16"]


def load_any(name: str, precision: Precision = "auto", max_tokens: int | None = None, for_encoding: bool = True) -> Any:
    """Return the SentenceTransformer that ``name`` is: a run's folder, a model folder of ours, or any other.

    Args:
        name: a folder made by ``poolwise train``, a sentence-transformers folder, or a hub id.
        max_tokens: tokens a text keeps; None leaves the model's own limit.
        for_encoding: ours come with their adapters merged, quick to use and not to be trained any more.
    Raises: ModelError where nothing loads.
    """
    from poolwise.models import EMBEDDED, load_model, prepare_encoding

    path = Path(name)
    if folder := own_folder(name):
        model = load_model(folder, precision=precision, max_tokens=max_tokens)
        return prepare_encoding(model) if for_encoding else model
    if name in EMBEDDED:
        raise ModelError(
            f"{name} is a base, which makes no embeddings yet",
            "wanted an embedding model",
            f"poolwise train --base {name} makes one; with --steps 0 it is the design untrained",
        )
    if (name.startswith((".", "/", "~")) or path.suffix) and not path.exists():
        raise ModelError(f"model folder {name} does not exist", hint="give the folder that holds modules.json")
    return _load_foreign(name, max_tokens)


def own_folder(name: str) -> Path | None:
    """Return the folder of the model of ours that ``name`` is (itself or a run's ``model/``), None for any other."""
    from poolwise.models import is_poolwise_model

    return next((folder for folder in (Path(name) / "model", Path(name)) if is_poolwise_model(folder)), None)


def _load_foreign(name: str, max_tokens: int | None) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        with nullcontext() if Path(name).is_dir() else hub_access():
            model = SentenceTransformer(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"cannot load {name} as an embedding model: {str(error).splitlines()[0]}",
            "wanted a folder with modules.json, or a hub id that can be reached",
            "without a network, download the model elsewhere and give its folder",
        ) from error
    if max_tokens is not None and (model.max_seq_length is None or model.max_seq_length > max_tokens):
        model.max_seq_length = max_tokens
    return model
