"""The kinds of folders that can be checked: how each is told, and the function that checks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.integrity.corpora import verify_corpus, verify_index
from poolwise.integrity.models import is_checkpoints, verify_checkpoints, verify_export, verify_model, verify_run
from poolwise.integrity.studies import verify_experiment, verify_study
from poolwise.integrity.verified import Verified


@dataclass(frozen=True)
class Kind:
    """One kind of folder.

    Args:
        name: in words, as errors list it.
        fits: whether a folder is of this kind.
        verify: checks such a folder; it raises no error for a damaged file.
    """

    name: str
    fits: Callable[[Path], bool]
    verify: Callable[[Path], Verified]


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: any((folder / name).is_file() for name in names)


KINDS = (
    Kind("an export", _has("golden.json"), verify_export),
    Kind("an index", _has("index.json"), verify_index),
    Kind("an encoded corpus", _has("manifest.json"), verify_corpus),
    Kind("a study or a screen", _has("study.json", "plan.json"), verify_study),
    Kind("an experiment", _has("design.yaml", "events.jsonl"), verify_experiment),
    Kind("checkpoints", is_checkpoints, verify_checkpoints),
    Kind("a saved model", _has("poolwise.json"), verify_model),
    Kind("a run", _has("run.json", "spec.json"), verify_run),
)
"""In the order in which they are tried: a run's model may be exported, a model may be evaluated into its folder."""


def verify_folder(folder: Path) -> Verified:
    """Return what is wrong with the files of any folder that poolwise wrote.

    Raises: ConfigError where it is of no known kind; of an export, ModelError where its embeddings differ.
    """
    folder = folder.expanduser()
    if folder.is_dir():
        for kind in KINDS:
            if kind.fits(folder):
                return kind.verify(folder)
    what = "is no folder that poolwise wrote" if folder.is_dir() else "is no folder"
    raise ConfigError(f"{folder} {what}", f"wanted {', '.join(kind.name for kind in KINDS)}")
