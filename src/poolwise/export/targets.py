"""The targets of an export, by name, and what the module of a target offers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from poolwise.errors import ConfigError, nearest
from poolwise.models.embedding_model import EmbeddingModel

TARGETS: Mapping[str, str] = {
    "sentence-transformers": "poolwise.export.sentence_folder",
    "merged": "poolwise.export.merged",
    "onnx": "poolwise.export.onnx",
    "gguf": "poolwise.export.gguf",
}
"""The module of each target; it is imported when it is used, because some need a library of their own."""


class Target(Protocol):
    """What the module of a target offers."""

    RUNNER: str
    """Path of a script that needs only what the export needs: ``python RUNNER FOLDER TEXTS.json OUT.npy``.

    TEXTS.json is a list of ``{"text": ..., "prompt_name": ... or null}``; it writes their embeddings, fp32 (N, D).
    """
    TOLERANCE: float
    """Largest absolute difference of unit vectors with which an export counts as equal; measured where it is set."""
    OPTIONS: tuple[str, ...]
    """The names of the options that ``write`` reads."""

    def refusal(self, model: EmbeddingModel) -> str | None:
        """Return why this target cannot express the model, and which target can; None if it can express it."""

    def write(self, model: EmbeddingModel, folder: Path, *, options: Mapping[str, object]) -> str | None:
        """Write the model into an empty folder; the model is not changed. Raises: ModelError where it cannot.

        Return what the README.md should say about this export, in Markdown, beside ``usage``; None for nothing.
        """

    def usage(self, model: EmbeddingModel) -> str:
        """Return, in Markdown, how to load the export: Python that runs in the folder of the export, and its limits."""


def load_target(name: str) -> Target:
    """Return the module of a target.

    Raises: ConfigError for an unknown name, or a target whose libraries are not installed.
    """
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}", nearest(name, TARGETS))
    try:
        return cast(Target, importlib.import_module(TARGETS[name]))
    except ImportError as error:
        raise ConfigError(
            f"target {name} cannot be used: {error}", "wanted the libraries it needs", "install them, or give --target"
        ) from error


def tolerance(target: Target, folder: Path) -> float:
    """Return the largest difference that is allowed: that of the target, or of an export that was rounded.

    A target that can round weights offers ``rounding(folder)``: the difference of one export, None if it is exact.
    """
    rounding = getattr(target, "rounding", None)
    amount = None if rounding is None else rounding(folder)
    return target.TOLERANCE if amount is None else float(amount)


def require_options(name: str, target: Target, options: Mapping[str, object]) -> None:
    """Raise ConfigError for an option that a target does not read."""
    if unknown := sorted(set(options) - set(target.OPTIONS)):
        raise ConfigError(
            f"target {name} has no option {unknown[0]!r}",
            f"it has {', '.join(target.OPTIONS)}" if target.OPTIONS else "it has none",
        )
