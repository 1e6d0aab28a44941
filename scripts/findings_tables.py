"""Write the tables of docs/findings.md from the records in docs/results; all numbers on that page come from here.

python scripts/findings_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _pages import replace_between

from poolwise.records import load_record
from poolwise.results import CategoryMean, Contrast, Power, StudyResults

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "findings.md"
CATEGORIES = {"sts": "STS", "classification": "Classification", "retrieval": "Retrieval", "clustering": "Clustering"}
NAMES = {1: "last+causal", 2: "latent(keys=last)+causal", 3: "multilayer+causal", 4: "latent+bidirectional",
         5: "multilayer+bidirectional"}  # fmt: skip
PAPER = {
    2: {"sts": 0.0129, "classification": -0.0035, "retrieval": 0.0102, "clustering": -0.0076},
    3: {"sts": 0.0118, "classification": -0.0033, "retrieval": 0.0135, "clustering": -0.0017},
    4: {"sts": 0.0095, "classification": -0.0483, "retrieval": 0.0213, "clustering": -0.0493},
    5: {"sts": 0.0166, "classification": -0.0143, "retrieval": 0.0226, "clustering": -0.0246},
    1: dict.fromkeys(CATEGORIES, 0.0),
}
"""arXiv:2409.02727, Mistral-7B: differences to its design 1, read off the figure of results."""
PAPER_STARS = {
    (2, "sts"), (3, "sts"), (4, "sts"), (5, "sts"), (5, "classification"), (5, "retrieval"), (4, "clustering"),
    (5, "clustering"),
}  # fmt: skip
"""Of those, the ones with p < 0.05 before any correction."""
EOS, HEAD, LAYERS = NAMES[1], NAMES[4], NAMES[5]
Asked = tuple[str, str, str, tuple[int, int] | None]
"""A category, two designs whose difference is asked for, and their numbers in the paper if it has both."""
QUESTIONS: Mapping[str, Sequence[Asked]] = {
    "STS: a trained head and bidirectional attention are better": [
        ("sts", HEAD, EOS, (4, 1)),
        ("sts", LAYERS, EOS, (5, 1)),
    ],
    "STS: a head alone is better": [("sts", NAMES[2], EOS, (2, 1)), ("sts", NAMES[3], EOS, (3, 1))],
    "Retrieval: a trained head and bidirectional attention are better": [
        ("retrieval", HEAD, EOS, (4, 1)),
        ("retrieval", LAYERS, EOS, (5, 1)),
    ],
    "Retrieval: all layers are better than the last": [
        ("retrieval", LAYERS, HEAD, (5, 4)),
        ("retrieval", NAMES[3], NAMES[2], (3, 2)),
    ],
    "Classification: EOS with causal attention is as good or better": [
        ("classification", HEAD, EOS, (4, 1)),
        ("classification", LAYERS, EOS, (5, 1)),
    ],
    "Clustering: EOS with causal attention is best": [
        ("clustering", HEAD, EOS, (4, 1)),
        ("clustering", LAYERS, EOS, (5, 1)),
    ],
    "Control: a mean without a head": [(category, "mean+causal", EOS, None) for category in CATEGORIES],
    "Control: a head's parameters without attention": [
        (category, "mlp+bidirectional", "mean+bidirectional", None) for category in CATEGORIES
    ],
    "Control: a head with attention against one without": [
        (category, LAYERS, "mlp+bidirectional", None) for category in CATEGORIES
    ],
}
"""The paper's findings and two controls, each as differences that show it."""
PAPER_PAIRS = ((2, 1), (3, 1), (4, 1), (5, 1), (5, 4), (3, 2))
BIDIRECTIONAL = ("mean", "latent", "multilayer", "mlp", "last")


class Contrasts:
    """The contrasts of one comparison, found by category and pair, whichever way round they were made."""

    def __init__(self, contrasts: Iterable[Contrast], power: Iterable[Power]) -> None:
        self._found = {(c.category, c.a, c.b): c for c in contrasts}
        self._detectable = {(p.category, p.a, p.b): p.detectable for p in power}

    def has(self, category: str, a: str, b: str) -> bool:
        """Return whether a pair was declared and measured in a category."""
        return bool({(category, a, b), (category, b, a)} & self._found.keys())

    def find(self, category: str, a: str, b: str) -> tuple[Contrast, float | None]:
        """Return the contrast as a - b, and the effect that would be found in 80 of 100 repeats."""
        if (key := (category, a, b)) in self._found:
            return self._found[key], self._detectable.get(key)
        turned = self._found[category, b, a]
        verdicts = {"better": "worse", "worse": "better"}
        flipped = turned.model_copy(
            update={
                "a": a,
                "b": b,
                "difference": -turned.difference,
                "by_seed": [-value for value in turned.by_seed],
                "interval": _turn(turned.interval),
                "simultaneous": _turn(turned.simultaneous),
                "verdict": verdicts.get(turned.verdict or "", turned.verdict),
            }
        )
        return flipped, self._detectable.get((category, b, a))


def _turn(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (-interval[1], -interval[0])


def signed(value: float) -> str:
    """Return a number of four decimals with its sign."""
    return f"{round(value, 4) or 0.0:+.4f}".replace("-", "−")


def within(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def p_text(p: float | None) -> str:
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def reading(found: Contrast, detectable: float | None, paper: float) -> str:
    """Return what one of our contrasts says of the paper's difference."""
    if found.verdict in ("better", "worse"):
        if abs(paper) < 0.005:
            return f"**{found.verdict}** here; next to nothing in the paper"
        return "**reappears**" if (found.difference > 0) == (paper > 0) else "**the other way round**"
    if found.verdict == "equal":
        return "practically equal"
    outside = found.simultaneous is not None and not found.simultaneous[0] <= paper <= found.simultaneous[1]
    if outside:
        return "not decided, but the paper's size is outside the interval"
    if detectable is not None and detectable > abs(paper):
        return "not decided; the paper's size would not be seen here"
    return "not decided"


def paper_table(contrasts: Contrasts) -> str:
    """Return the paper's differences beside ours."""
    lines = [
        "| Category | Designs | Paper | Here | 95% interval | p (Holm) | Would be seen from | Reading |",
        "| :--- | :--- | ---: | ---: | :---: | ---: | ---: | :--- |",
    ]
    for category, label in CATEGORIES.items():
        for first, second in PAPER_PAIRS:
            found, detectable = contrasts.find(category, NAMES[first], NAMES[second])
            paper = PAPER[first][category] - PAPER[second][category]
            seen = "–" if detectable is None else f"{detectable:.4f}"
            lines.append(
                f"| {label} | {first} − {second} | {_paper_cell(category, first, second)} | "
                f"{signed(found.difference)} | {within(found.simultaneous)} | {p_text(found.p_holm)} | {seen} | "
                f"{reading(found, detectable, paper)} |"
            )
    return "\n".join(lines)


@dataclass(frozen=True)
class Base:
    """A recorded study on one base."""

    contrasts: Contrasts
    """Those that the study declared."""
    afterwards: Contrasts
    means: Mapping[tuple[str, str], CategoryMean]
    """By category and design."""


def bases_table(bases: Mapping[str, Base]) -> str:
    """Return the paper's differences at each size of base; bold where a verdict was reached.

    Args:
        bases: by size.
    """
    lines = _heading("Category | Designs", bases)
    for category, label in CATEGORIES.items():
        for first, second in PAPER_PAIRS:
            cells = [_paper_cell(category, first, second)]
            for base in bases.values():
                if base.contrasts.has(category, NAMES[first], NAMES[second]):
                    found, _ = base.contrasts.find(category, NAMES[first], NAMES[second])
                    cells.append(_cell(found))
                else:
                    apart = _apart(base, category, NAMES[first], NAMES[second])
                    cells.append(f"{signed(_mean(apart))} (not tested)")
            lines.append(f"| {label} | {first} − {second} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _heading(labels: str, bases: Iterable[str]) -> list[str]:
    sizes = ["7B (paper)", *bases]
    return [f"| {labels} | {' | '.join(sizes)} |", "| :--- | :--- |" + " ---: |" * len(sizes)]


def _paper_cell(category: str, first: int, second: int) -> str:
    star = "\\*" if second == 1 and (first, category) in PAPER_STARS else ""
    return f"{signed(PAPER[first][category] - PAPER[second][category])}{star}"


def _apart(base: Base, category: str, a: str, b: str) -> list[float]:
    """By seed, the difference of two designs."""
    first, second = base.means[category, a].by_seed, base.means[category, b].by_seed
    return [one - other for one, other in zip(first, second, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def questions_table(questions: Mapping[str, Sequence[Asked]], bases: Mapping[str, Base]) -> str:
    """Return what each base says of each finding: a difference, and at how many of its seeds it has that sign.

    Args:
        questions: by finding.
    """
    lines = _heading("Finding | Difference", bases)
    for finding, asked in questions.items():
        for number, (category, a, b, places) in enumerate(asked):
            cells = [_paper_cell(category, *places) if places else "–"]
            for base in bases.values():
                if base.contrasts.has(category, a, b):
                    contrast, _ = base.contrasts.find(category, a, b)
                    cells.append(_agreement(_marked(contrast), contrast.by_seed))
                elif base.afterwards.has(category, a, b):
                    contrast, _ = base.afterwards.find(category, a, b)
                    cells.append(_agreement(f"{_marked(contrast)}†", contrast.by_seed))
                elif {(category, a), (category, b)} <= base.means.keys():
                    apart = _apart(base, category, a, b)
                    cells.append(_agreement(f"{signed(_mean(apart))}†", apart))
                else:
                    cells.append("–")
            label = "" if finding.startswith(CATEGORIES[category]) else f"{CATEGORIES[category]}: "
            lines.append(f"| {'' if number else finding} | {label}{a} − {b} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _agreement(difference: str, by_seed: Sequence[float]) -> str:
    same = sum(one * _mean(by_seed) > 0 for one in by_seed)
    return f"{difference} ({same} of {len(by_seed)})"


def _marked(found: Contrast) -> str:
    value = signed(found.difference)
    return {"better": f"**{value}**", "worse": f"**{value}**", "equal": f"{value} ="}.get(found.verdict or "", value)


def _cell(found: Contrast) -> str:
    return f"{_marked(found)} ({within(found.simultaneous or found.interval)})"


def pairs_table(contrasts: Contrasts, pairs: Sequence[tuple[str, str]]) -> str:
    """Return differences of pairs of designs by category; bold where a verdict was reached."""
    lines = [
        f"| Difference | {' | '.join(CATEGORIES.values())} |",
        "| :--- |" + " ---: |" * len(CATEGORIES),
    ]
    for a, b in pairs:
        cells = []
        for category in CATEGORIES:
            found, _ = contrasts.find(category, a, b)
            cells.append(_cell(found))
        lines.append(f"| {a} − {b} | {' | '.join(cells)} |")
    return "\n".join(lines)


def means_table(study: StudyResults) -> str:
    """Return every design's mean score by category, with the spread over seeds, and what it trains."""
    comparison = study.results.comparison
    means = {(m.category, m.name): m for m in comparison.means}
    sizes = {info.design: info.trainable_parameters for info in study.results.designs}
    lines = [
        f"| Design | Trained | {' | '.join(CATEGORIES.values())} |",
        "| :--- | ---: |" + " ---: |" * len(CATEGORIES),
    ]
    for name in [*comparison.designs, *study.results.anchors]:
        cells = []
        for category in CATEGORIES:
            mean = means.get((category, name))
            spread = "" if mean is None or mean.seed_std is None else f" ± {mean.seed_std:.4f}"
            cells.append("–" if mean is None else f"{mean.mean:.4f}{spread}")
        size = f"{sizes[name]:,}" if sizes.get(name) else "–"
        lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def budgets_table(page: Path, longer: StudyResults) -> str:
    """Return scores by number of steps: a line for each design and number of steps, a column per category.

    Args:
        page: of several budgets.
        longer: one more study, with more steps.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    category, steps = "", [""]
    for line in page.read_text().splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        if line.startswith("**") and "by number of training steps" in line:
            category = line.strip("*").partition(" by number")[0]
        elif line.startswith("| Design"):
            steps = cells[1:]
        elif line.startswith("| ") and not line.startswith("| :"):
            for number, value in zip(steps, cells[1:], strict=True):
                found.setdefault((cells[0], number), {})[category] = value
    for mean in longer.results.comparison.means:
        if mean.category in CATEGORIES and "+" in mean.name:
            number = str(longer.results.recipe["train"]["steps"])
            found.setdefault((mean.name, number), {})[CATEGORIES[mean.category]] = f"{mean.mean:.4f}"
    lines = [f"| Design | Steps | {' | '.join(CATEGORIES.values())} |", "| :--- | ---: |" + " ---: |" * len(CATEGORIES)]
    designs = list(dict.fromkeys(design for design, _ in found))
    for (design, number), scores in sorted(found.items(), key=lambda line: designs.index(line[0][0])):
        if "+" in design:
            lines.append(f"| {design} | {number} | {' | '.join(scores[label] for label in CATEGORIES.values())} |")
    return "\n".join(lines)


def times_table(names: Iterable[str]) -> str:
    """Return the machine and the time of recorded studies."""
    lines = ["| Record | Machine | Minutes of one core | Wall |", "| :--- | :--- | ---: | ---: |"]
    for name in names:
        measured = load_record(StudyResults, RESULTS / name / "results.json").measured
        seconds = sum((cost.train_seconds or 0) + (cost.eval_seconds or 0) for cost in measured.costs.values())
        parts = measured.machine
        machine = f"{parts['cores']} cores of an {parts['processor']}, {parts['instructions']}"
        wall = f"{measured.wall_seconds / 60:.0f} min" if measured.wall_seconds else "–"
        lines.append(f"| [{name}](results/{name}/report.md) | {machine} | {seconds / 60:.0f} | {wall} |")
    return "\n".join(lines)


def study_contrasts(name: str) -> tuple[StudyResults, Contrasts]:
    """Return a recorded study and its contrasts."""
    study = load_record(StudyResults, RESULTS / name / "results.json")
    return study, Contrasts(study.results.comparison.contrasts, study.results.comparison.power)


def base_of(study: StudyResults, afterwards: str = "") -> Base:
    """Return a base's study, with a comparison of its runs that was made afterwards."""
    comparison = study.results.comparison
    means = {(mean.category, mean.name): mean for mean in comparison.means}
    later = compared(afterwards) if afterwards else Contrasts([], [])
    return Base(Contrasts(comparison.contrasts, comparison.power), later, means)


def _others(study: StudyResults) -> list[str]:
    return [name for name in study.results.comparison.designs if name != EOS]


def compared(name: str) -> Contrasts:
    """Return the contrasts that ``poolwise compare --json`` wrote."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    rows = [row for row in found["comparisons"] if row.pop("family") == "primary"]
    power = [Power.model_validate(row) for row in found["power"]]
    return Contrasts([Contrast.model_validate(row) for row in rows], power)


def main() -> None:
    study, main_contrasts = study_contrasts("controlled")
    text = replace_between(PAGE.read_text(), "means", means_table(study))
    text = replace_between(text, "paper", paper_table(main_contrasts))
    _, ablations = study_contrasts("ablations")
    attention = [(f"{name}+bidirectional", f"{name}+causal") for name in ("last", "mean", "multilayer")]
    text = replace_between(text, "attention", pairs_table(main_contrasts, attention))
    apart = [
        ("multilayer(tokens=mean)+causal", "multilayer+causal"),
        ("multilayer+bidirectional", "multilayer(tokens=mean)+causal"),
        ("latent+bidirectional", "latent+causal"),
    ]
    text = replace_between(text, "tokens", pairs_table(ablations, apart))
    pooling = [(f"{name}+bidirectional", "mean+bidirectional") for name in BIDIRECTIONAL[1:]]
    pooling += [("multilayer+bidirectional", "mlp+bidirectional"), ("latent+bidirectional", "mlp+bidirectional")]
    pooling += [("latent+bidirectional", "multilayer+bidirectional"), ("mean+causal", "last+causal")]
    text = replace_between(text, "pooling", pairs_table(main_contrasts, pooling))
    pairs = [
        (f"multilayer+{attention}", f"multilayer(layer_embedding=false)+{attention}")
        for attention in ("causal", "bidirectional")
    ]
    text = replace_between(text, "layer-embedding", pairs_table(ablations, pairs))
    padding = compared("padding")
    ways = [("batches", "masked"), ("shuffled", "masked")]
    text = replace_between(text, "padding", pairs_table(padding, ways))
    adapted = [(f"{name}+bidirectional (adapted)", f"{name}+bidirectional") for name in ("last", "mean")]
    text = replace_between(text, "adapt", pairs_table(compared("adapt"), adapted))
    larger, larger_contrasts = study_contrasts("smollm2")
    text = replace_between(text, "means-135", means_table(larger))
    bases = {"11 M (nano)": base_of(study), "135 M (SmolLM2), 60 steps": base_of(larger, "smollm2-heads")}
    text = replace_between(text, "bases", bases_table(bases))
    text = replace_between(text, "attention-135", pairs_table(larger_contrasts, attention))
    others = [(name, "last+causal") for name in ("mean+causal", "mean+bidirectional", "mlp+bidirectional")]
    others += [(name, "last+causal") for name in ("pma+causal", "mean(echo=true)+causal")]
    text = replace_between(text, "others-135", pairs_table(larger_contrasts, others))
    text = replace_between(
        text, "budgets-135", budgets_table(RESULTS / "smollm2-budgets.md", study_contrasts("smollm2-960")[0])
    )
    lower, lower_contrasts = study_contrasts("smollm2-lower")
    text = replace_between(text, "means-135-lower", means_table(lower))
    bidirectional = [(f"{name}+bidirectional", "last+causal") for name in ("last", "mean")]
    text = replace_between(text, "lower-135", pairs_table(lower_contrasts, bidirectional))
    adapted_first, adapted_contrasts = study_contrasts("smollm2-mntp")
    text = replace_between(text, "means-135-mntp", means_table(adapted_first))
    heads = [(f"{name}+bidirectional", "last+causal") for name in BIDIRECTIONAL]
    text = replace_between(text, "mntp-135", pairs_table(adapted_contrasts, heads))
    text = replace_between(text, "mntp-plain-135", pairs_table(compared("smollm2-mntp-plain"), adapted))
    longer, longer_contrasts = study_contrasts("smollm2-240")
    text = replace_between(text, "means-135-240", means_table(longer))
    text = replace_between(
        text, "diffs-135-240", pairs_table(longer_contrasts, [(name, EOS) for name in _others(longer)])
    )
    controls = [(f"{name}+bidirectional", "mean+bidirectional") for name in ("latent", "multilayer", "mlp")]
    controls += [(f"{name}+bidirectional", "mlp+bidirectional") for name in ("latent", "multilayer")]
    text = replace_between(text, "means-small-llm", means_table(study_contrasts("small-llm")[0]))
    attended = [("mean+bidirectional", "mean+causal"), *controls]
    text = replace_between(text, "controls-135-240", pairs_table(compared("smollm2-240-controls"), attended))
    text = replace_between(text, "heads-135", pairs_table(compared("smollm2-heads"), controls))
    text = replace_between(text, "heads-135-mntp", pairs_table(compared("smollm2-adapted-heads"), controls))
    records = sorted(path.parent.name for path in RESULTS.glob("*/results.json"))
    text = replace_between(text, "times", times_table(records))
    bases["135 M, adapted first, 60 steps"] = base_of(adapted_first, "smollm2-adapted-heads")
    bases["135 M, adapted first, 240 steps"] = base_of(longer, "smollm2-240-controls")
    text = replace_between(text, "questions", questions_table(QUESTIONS, bases))
    PAGE.write_text(text)
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
