"""Entrants: models of others that a study evaluates beside its designs, with their own prompts and length.

They are not trained, so each is evaluated once, and every design is tested against it as against a baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolwise.config import Recipe
from poolwise.errors import ConfigError, ModelError, PoolwiseError
from poolwise.hub import is_hub_id, snapshot
from poolwise.storage.fingerprints import fingerprint_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

RESERVED = ("untuned", "bm25", "random")
_CONFIGURATION = ["*.json", "*.txt", "*.model", "*.jinja"]
_HINT = "give a folder that sentence-transformers can load, or a hub id (org/name or org/name@commit)"


@dataclass(frozen=True)
class Entrant:
    """A model of others.

    Args:
        name: its name in tables, unique in the study.
        model: its name in the recipe.
        folder: where its files are.
        pinned: a name that always means these files: the folder, or ``org/name@commit``.
        fingerprint: of its files, or its commit.
    """

    name: str
    model: str
    folder: str
    pinned: str
    fingerprint: str


def entrant_names(models: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """Return models by their names in tables: the last part of each, with as many parts before it as tell it apart.

    Args:
        taken: names that other rows of the tables have.
    Raises: ConfigError where two models cannot be told apart, or a whole name is taken.
    """
    parts = {model: _parts(model) for model in models}
    found: dict[str, str] = {}
    for model, own in parts.items():
        others = [other for name, other in parts.items() if name != model]
        for count in range(1, len(own) + 1):
            name = "/".join(own[-count:])
            if name not in taken and all("/".join(other[-count:]) != name for other in others):
                found[name] = model
                break
        else:
            raise ConfigError(
                f"entrant {model!r} has the name of another row",
                "wanted names that differ from those of other entrants, baselines and designs",
                "rename the folder, or leave one out",
            )
    return found


def _parts(model: str) -> list[str]:
    """Return the parts of a path or hub id; a run's folder ``model`` says nothing, nor does a commit."""
    whole = model.partition("@")[0] if is_hub_id(model) and not Path(model).exists() else model
    if whole.startswith((".", "~", "/")):
        whole = str(Path(whole).expanduser().resolve())
    parts = [part for part in whole.split("/") if part]
    return parts[:-1] if len(parts) > 1 and parts[-1] == "model" else parts


def find_entrants(recipe: Recipe) -> dict[str, Entrant]:
    """Return the entrants of a recipe by name, each found and, if it is on the hub, downloaded.

    Raises: ModelError that lists the missing ones; ConfigError where two are the same model or have one name.
    """
    found: dict[str, Entrant] = {}
    problems = []
    for name, model in entrant_names(recipe.entrants, [*RESERVED, *recipe.designs]).items():
        try:
            found[name] = _find(name, model)
        except PoolwiseError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ModelError("\n".join(str(problem) for problem in problems))
    first: dict[str, Entrant] = {}
    for entrant in found.values():
        if (same := first.setdefault(entrant.fingerprint, entrant)) is not entrant:
            raise ConfigError(f"entrants {same.model} and {entrant.model} are the same model", hint="leave one out")
    return found


def _find(name: str, model: str) -> Entrant:
    from poolwise.models.load import own_folder

    place = Path(model).expanduser()
    if not place.is_dir():
        if not is_hub_id(model) or place.exists():
            raise ModelError(f"entrant {model!r} is not a folder", "wanted an embedding model", _HINT)
        return _of_hub(name, model)
    folder = own_folder(model) or place
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise ModelError(f"entrant {model} has no modules.json and no config.json", "wanted an embedding model", _HINT)
    return Entrant(name, model, str(folder), str(folder), fingerprint_folder(folder))


def _of_hub(name: str, model: str) -> Entrant:
    """Return an entrant of the hub with all files downloaded, so that no training starts before they are here."""
    try:
        folder = snapshot(model, [*_CONFIGURATION, "*.safetensors"])
        if not any(folder.rglob("*.safetensors")):
            folder = snapshot(f"{model.partition('@')[0]}@{folder.name}", [*_CONFIGURATION, "*.bin"])
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"cannot fetch entrant {model}: {reason}", "wanted an embedding model", _HINT) from error
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise ModelError(f"entrant {model} has no modules.json and no config.json", "wanted an embedding model", _HINT)
    return Entrant(name, model, str(folder), f"{model.partition('@')[0]}@{folder.name}", folder.name)


def load_entrant(entrant: Entrant, recipe: Recipe) -> tuple[SentenceTransformer, str]:
    """Return an entrant, and the precision it is read in, as ``poolwise eval`` reads it: at its own length.

    Raises: ModelError naming it if it cannot be loaded; code in its folder is never run.
    """
    from safetensors import SafetensorError

    from poolwise.models.load import load_any, load_foreign, own_folder

    precision = recipe.eval.precision
    try:
        if own_folder(entrant.folder) is not None:
            return load_any(entrant.folder, precision), precision
        precision = "fp32" if precision == "auto" else precision
        return load_foreign(entrant.folder, precision), precision
    except ModelError as error:
        raise ModelError(f"entrant {entrant.model}: {error.got}", error.wanted, error.hint) from error
    except (SafetensorError, RuntimeError, KeyError) as error:  # damaged weights, or weights of another architecture
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"entrant {entrant.model}: cannot load its weights: {reason}", hint=_HINT) from error
