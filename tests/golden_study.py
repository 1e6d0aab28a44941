"""A tiny study and a tiny screen whose numbers are kept in ``golden/study.json``: what RESULTS_VERSION stands for.

After a change that is meant to move numbers: raise RESULTS_VERSION in ``poolwise/results.py``, say there what changed,
and write the file again with ``PYTHONPATH=src python tests/golden_study.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.records import ItemScores, iter_run_folders, load_record, load_run, load_steps
from poolwise.results import RESULTS_VERSION, StudyResults
from poolwise.screening.screen import run_screen
from poolwise.study.study import run_study

FILE = Path(__file__).parent / "golden" / "study.json"
Numbers = dict[str, list[float]]


def golden_recipe(folder: Path) -> Recipe:
    """Return a recipe that trains, adapts, evaluates and screens, in fp32, with toy data in ``folder``."""
    return build_recipe(
        {
            "name": "golden",
            "base": "poolwise/nano",
            "designs": ["last+causal", "multilayer+bidirectional"],
            "reference": "last+causal",
            "seeds": [0],
            "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
            # A rate at which two steps show.
            "train": {"steps": 2, "batch_size": 8, "max_tokens": 24, "precision": "fp32", "learning_rate": 3e-3},
            "eval": {"max_tokens": 24, "precision": "fp32"},
            "adapt": {"steps": 2, "batch_size": 4, "max_tokens": 24},
            "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
            "anchors": ["untuned"],
        }
    )


def measure(folder: Path) -> tuple[Numbers, str]:
    """Return losses by step and cosines by pair, which move little with the processor, and the base's fingerprint.

    Scores of rankings are left out: one pair that changes places moves them by a step.
    """
    recipe, numbers = golden_recipe(folder), {}
    for name, run in (("study", run_study), ("screen", run_screen)):
        out = folder / name
        run(recipe, out, workers=1)
        for path in sorted(out.glob("adapted/*/training.jsonl")):
            numbers[f"{name}, adaptation: loss"] = [step.loss for step in load_steps(path)]
        for place in iter_run_folders(out):
            label = load_run(place).manifest.label
            if (steps := place / "training.jsonl").is_file() and (losses := [s.loss for s in load_steps(steps)]):
                numbers[f"{name}, {label}: loss"] = losses
            scores = load_record(ItemScores, place / "items" / "sts" / "toy-sts.json.gz")
            numbers[f"{name}, {label}: cosine"] = scores.values
    base = load_record(StudyResults, out / "results.json").results.data_fingerprints["base"]
    rounded = {key: [round(value, 5) for value in numbers[key]] for key in sorted(numbers)}
    return rounded, base


def main() -> None:
    """Write the file; with ``--print`` print what it would hold."""
    with tempfile.TemporaryDirectory() as place:
        numbers, base = measure(Path(place))
    text = json.dumps({"results_version": RESULTS_VERSION, "base": base, "numbers": numbers}, indent=1) + "\n"
    if "--print" in sys.argv:
        sys.stdout.write(text)
        return
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    print(f"written: {FILE}", file=sys.stderr)


if __name__ == "__main__":
    main()
