"""The check of exports, saved models, runs and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poolwise.cards import CARD, FACTS, load_facts
from poolwise.errors import ModelError
from poolwise.integrity.verified import Verified, compare_files, recorded_in
from poolwise.storage.checksums import CHANGED, MISSING, load_checksums
from poolwise.storage.fingerprints import ABOUT, SUMS

_NO_SUMS = f"no {SUMS}: an older version wrote it, and its files cannot be checked"


def verify_export(folder: Path) -> Verified:
    """Compare the files of an export, then its embeddings with poolwise's, in a fresh process.

    Raises: ModelError where no file is damaged and the embeddings differ, or it cannot be loaded.
    """
    from poolwise.export import verify_export as compare_embeddings

    recorded, damaged = recorded_in(folder)
    again = "delete the folder and export the model again: poolwise export"
    notes = [] if recorded or damaged else [_NO_SUMS]
    found = compare_files("export", folder, recorded, again, damaged=damaged, known=ABOUT, notes=notes)
    if not recorded:
        found = found.model_copy(update={"unlisted": []})
    if found.damaged:
        return found
    checked = compare_embeddings(folder)
    return found.model_copy(update={"notes": [checked.words, *found.notes], "facts": checked.facts})


def verify_model(folder: Path) -> Verified:
    """Compare the files of a saved model; scores that were written into its folder are compared too."""
    recorded, damaged = recorded_in(folder)
    items, bad_items = recorded_in(folder, "items")
    found = compare_files(
        "saved model",
        folder,
        recorded | items,
        "save or train the model again, or take the damaged files from a copy",
        damaged=damaged | bad_items | damaged_beside(folder, "", {}),
        known={*ABOUT, "run.json", "evaluation.json", f"items/{SUMS}", "texts"},
        notes=[] if recorded or damaged else [_NO_SUMS],
    )
    return found if recorded else found.model_copy(update={"unlisted": []})


def damaged_beside(folder: Path, within: str, weights: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with the files about a saved model, which no checksums name: its own checksums, its card.

    The card may be edited by hand, so only a README.md that is gone and facts that cannot be read are damage.

    Args:
        within: the model's folder below ``folder``.
        weights: the checksums of its files by their path below ``folder``, as another record has them; empty if none
            has.
    """
    found, model = {}, folder / within
    at = f"{within}/" if within else ""
    if weights:
        wanted = {name.removeprefix(at): known for name, known in weights.items()}
        try:
            recorded = load_checksums(model)
        except (OSError, ValueError):
            recorded = {}
        if recorded != wanted:
            found[f"{at}{SUMS}"] = MISSING if recorded is None else CHANGED
    try:
        has_facts = load_facts(model / FACTS) is not None
    except ModelError:
        return found | {f"{at}{FACTS}": "does not hold the facts of a model card"}
    if has_facts and not (model / CARD).is_file():
        found[f"{at}{CARD}"] = MISSING
    return found


def verify_run(folder: Path) -> Verified:
    """Compare the files of a run, of ``poolwise train`` or ``eval`` or in a study: model, log, scores, checkpoints."""
    recorded: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for within in ("", "model", "items"):
        sums, bad = recorded_in(folder, within)
        recorded, damaged = recorded | sums, damaged | bad
    of_run, _ = recorded_in(folder)
    weights = {name: known for name, known in of_run.items() if name.startswith("model/")}
    damaged |= damaged_beside(folder, "model", weights)
    damaged |= _damaged_checkpoints(folder / "checkpoints", "checkpoints/")
    about = {f"model/{name}" for name in ABOUT}
    own = {"run.json", "spec.json", "evaluation.json", "training.jsonl", "looks.json", SUMS, f"items/{SUMS}"}
    return compare_files(
        "run",
        folder,
        recorded,
        "run the command that wrote it again: damaged scores are computed again, and a damaged model is trained anew "
        "once its folder model/ is deleted; of a run in a study, run the study again",
        damaged=damaged,
        known={*about, *own, "texts", "checkpoints", *([] if (folder / "model" / SUMS).is_file() else ["model"])},
        notes=[] if recorded or damaged else ["it has no finished files with checksums yet"],
    )


def is_checkpoints(folder: Path) -> bool:
    """Return whether a folder is a checkpoint, or holds those of a training."""
    return _is_checkpoint(folder) or any(_is_checkpoint(path) for path in folder.glob("checkpoint-*"))


def _is_checkpoint(folder: Path) -> bool:
    return folder.name.removeprefix("checkpoint-").isdecimal() and (folder / "trained.safetensors").is_file()


def verify_checkpoints(folder: Path) -> Verified:
    """Compare the files of one checkpoint, or of all checkpoints of a training, and what a resume reads beside them."""
    one = _is_checkpoint(folder)
    paths = [folder] if one else sorted(folder.glob("checkpoint-*"))
    damaged = _damaged(folder, "") if one else _damaged_checkpoints(folder, "")
    return Verified(
        kind="checkpoint" if one else "checkpoints",
        folder=str(folder),
        num_checked=sum(1 for path in paths for file in path.rglob("*") if file.is_file()),
        damaged=damaged,
        repair="run the training's command again: it resumes from an older checkpoint, or trains anew"
        if damaged
        else "",
    )


def _damaged_checkpoints(folder: Path, at: str) -> dict[str, str]:
    paths = sorted(folder.glob("checkpoint-*"))
    return {name: problem for path in paths for name, problem in _damaged(path, f"{at}{path.name}/").items()}


def _damaged(path: Path, at: str) -> dict[str, str]:
    from poolwise.training.checkpoints import checkpoint_damage

    if not (problem := checkpoint_damage(path)):
        return {}
    name, _, words = problem.partition(" ")
    return {f"{at}{name}": words}
