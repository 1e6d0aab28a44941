"""The variances that a study is planned with: those of a pilot, or defaults from a recorded study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.records import load_record
from poolwise.results import Results, StudyResults, VarianceShare
from poolwise.stats.designs.study_size import Variances, independent_items
from poolwise.study.plan import SCREEN_FOLDER

DEFAULTS: Mapping[str, Variances] = {
    "sts": Variances(0.42, 0.019),
    "retrieval": Variances(0.26, 0.012),
    "reranking": Variances(0.26, 0.012),
    "classification": Variances(0.13, 0.0074),
    "clustering": Variances(0.14, 0.0068),
    "pair_classification": Variances(0.42, 0.019),
}
"""Root mean square over the contrasts of docs/results/controlled (9 designs, 22 tasks, three seeds, 250 items a task):
``poolwise plan recipes/controlled.yaml --pilot docs/results/controlled --json`` prints them again. That study has no
reranking and no pair classification: they have the values of retrieval and of sts, whose metrics are alike.
"""


@dataclass(frozen=True)
class Pilot:
    """The variances by category that a finished study or screen has shown, and notes on their limits."""

    path: Path | None = None
    name: str = ""
    variances: Mapping[str, Variances] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def of(self, category: str) -> tuple[Variances, str]:
        """Return the variances of a category and where they come from: ``pilot`` or ``defaults``."""
        if category in self.variances:
            return self.variances[category], "pilot"
        return DEFAULTS[category], "defaults"


def load_pilot(path: Path) -> Pilot:
    """Return the variances that a finished study or screen has shown.

    Args:
        path: its folder, or its results.json.
    Raises: ConfigError where there are no results, or none with a variance.
    """
    file = path if path.suffix == ".json" else path / "results.json"
    if not file.is_file():
        raise ConfigError(
            f"no results of a pilot at {file}", "wanted the folder of a finished study or screen, or its results.json"
        )
    results = load_record(StudyResults, file).results
    found: dict[str, Variances] = {}
    notes = []
    for category in dict.fromkeys(task.category for task in results.tasks):
        shares = [share for share in results.comparison.variance if share.category == category]
        if shares:
            found[category] = _variances(results, category, shares)
            if not any(share.seed_std for share in shares):
                notes.append(f"{category}: the pilot shows no spread over seeds, so the default is used")
    if not found:
        raise ConfigError(
            f"the pilot {file} has no variances", "its designs have no scores of single items", "give another --pilot"
        )
    if results.kind == "screen":
        notes.append("the pilot is a screen: only heads vary with its seeds, and a study's seeds can differ more")
    if results.kind == "trial":
        notes.append("the pilot is a screen at one seed: it shows no spread over seeds")
    return Pilot(file, results.name, found, notes)


def find_pilot(folder: Path, name: str) -> Pilot | None:
    """Return the finished study or screen of a recipe that is already on disk, as a pilot; None without one.

    Args:
        folder: of the study. name: of the recipe.
    """
    for place in (folder, folder / SCREEN_FOLDER, folder.parent / f"{name}-screen"):
        if (place / "results.json").is_file():
            try:
                return load_pilot(place)
            except ConfigError:
                continue
    return None


def _variances(results: Results, category: str, shares: Sequence[VarianceShare]) -> Variances:
    """Return the root mean square over the contrasts of a category, for one item and for one seed."""
    items = [task.num_items for task in results.tasks if task.category == category]
    item = sum(share.item_std**2 for share in shares) / len(shares) * independent_items(items)
    counts = {(c.category, c.a, c.b): c.num_seeds or 1 for c in results.comparison.contrasts}
    # Designs without trained parameters do not vary with the seed, and say nothing about those that do.
    seeds = [
        share.seed_std**2 * counts.get((share.category, share.a, share.b), 1) for share in shares if share.seed_std
    ]
    seed = (sum(seeds) / len(seeds)) ** 0.5 if seeds else DEFAULTS[category].seed
    return Variances(item**0.5, seed)
