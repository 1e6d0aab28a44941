"""Simulated false-positive rates of the tests and coverage of the intervals, checked against their nominal levels.

python benchmarks/statistics_levels.py [SECTION ...]    sections are functions below; named ones replace their own rows

Every row is a rate over simulated experiments. A row with a promised rate fails, and so does the command, if the rate
misses the promise by more than sampling error, that is, outside its 99.9% binomial interval. All rows together then
raise a false alarm for about 1 in 20 sets of seeds. Rows without a promise are only recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import betaincinv
from statistics_page import Record, load, save, write_page

from poolwise.records import METRICS, Category, ItemScores, Run, RunManifest
from poolwise.results import Comparison
from poolwise.stats import compare_runs
from poolwise.stats.core.bootstrap import bca_interval, bootstrap_means, percentile_interval
from poolwise.stats.core.borda import borda_points, pair_p_values, rank_intervals
from poolwise.stats.core.inversion import flip_interval
from poolwise.stats.core.resampling import EXACT_UNITS, all_swaps, generator
from poolwise.stats.core.signflip import signflip_test
from poolwise.stats.core.spending import spending
from poolwise.stats.core.wilcoxon import EXACT_LIMIT, doubled_midranks, null_distribution, signed_rank_test, tolerance
from poolwise.stats.designs.alignment import build_table
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.procedures import PROCEDURES
from poolwise.stats.designs.study_size import Family, Size, Variances, detectable_difference
from poolwise.stats.designs.within import MIN_RANKED_ITEMS
from poolwise.tasks.dependence import groups_by_text

ALPHA = 0.05
Promise = Literal["at most", "at least", "equal to", "none"]
Rng = np.random.Generator


@dataclass(frozen=True)
class Row:
    """A counted rate, and what was promised of it."""

    section: str
    what: str
    hits: int
    repeats: int
    promise: Promise
    stated: float

    def interval(self, level: float) -> tuple[float, float]:
        """Return the binomial interval of Clopper and Pearson."""
        tail, hits, left = (1 - level) / 2, self.hits, self.repeats - self.hits
        low = float(betaincinv(hits, left + 1, tail)) if hits else 0.0
        return low, float(betaincinv(hits + 1, left, 1 - tail)) if left else 1.0

    @property
    def is_kept(self) -> bool:
        """Whether the promise holds up to sampling error."""
        low, high = self.interval(0.999)
        above, below = self.stated < low - 1e-12, self.stated > high + 1e-12
        return not {"at most": above, "at least": below, "equal to": above or below, "none": False}[self.promise]

    def record(self) -> dict[str, object]:
        """Return what the record and the page keep."""
        fields = {**self.__dict__, "rate": self.hits / self.repeats, "interval": self.interval(0.95)}
        return {**fields, "is_kept": self.is_kept}


def counted(section: str, what: str, outcomes: list[bool], promise: Promise = "none", stated: float = ALPHA) -> Row:
    return Row(section, what, sum(map(bool, outcomes)), len(outcomes), promise, stated)


NULLS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "normal": lambda rng, count: rng.normal(size=count),
    "tied": lambda rng, count: rng.integers(-3, 4, count) / 10,
}


def skewed(rng: Rng, count: int) -> np.ndarray:
    """Lognormal differences less their mean: no difference in the mean, and no symmetry."""
    return rng.lognormal(size=count) - np.exp(0.5)


def attainable(p_values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the largest probability of a set of arrangements that a test at 5% may reject."""
    order = np.argsort(p_values)
    mass = np.cumsum(np.full(len(p_values), 1 / len(p_values)) if weights is None else weights[order])
    inside = p_values[order] <= ALPHA + 1e-12
    return float(mass[inside][-1]) if inside.any() else 0.0


def flip_levels(differences: np.ndarray) -> float:
    """The level that sign flips of these differences can attain."""
    sums = np.abs(differences.sum() - 2 * (all_swaps(len(differences)) @ differences))
    ordered = np.sort(sums)
    p_values = 1 - np.searchsorted(ordered, sums - 1e-9 * max(1e-300, np.abs(differences).sum())) / len(sums)
    return attainable(p_values)


def rank_levels(differences: np.ndarray) -> float:
    """The level that the signed ranks of these differences can attain."""
    gap = tolerance(differences)
    sizes = np.abs(differences[np.abs(differences) > gap])
    if not len(sizes):
        return 0.0
    mass = null_distribution(doubled_midranks(sizes, gap))
    tails = np.minimum(np.cumsum(mass), np.cumsum(mass[::-1])[::-1])
    return attainable(np.minimum(1.0, 2 * tails), mass)


def paired_tests() -> Iterator[Row]:
    """Sign flips and signed ranks of differences that are as likely positive as negative."""
    section = "Paired differences without a difference"
    tests: dict[str, tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], float], int]] = {
        "sign flips": (lambda d: signflip_test(d, num_resamples=199).p, flip_levels, EXACT_UNITS),
        "Wilcoxon": (lambda d: signed_rank_test(d).p, rank_levels, EXACT_LIMIT),
    }
    for name, (test, levels, exact) in tests.items():
        for kind, draw in NULLS.items():
            for count in (3, 5, 6, 8, 12, 30, 100, 1000):
                rng = generator(1, name, kind, str(count))
                samples = [draw(rng, count) for _ in range(1000)]
                what = f"{name}, {kind}, n = {count}"
                rejected = [test(sample) <= ALPHA for sample in samples]
                yield counted(section, what, rejected, "at most")
                if count <= min(exact, 30):
                    level = float(np.mean([levels(sample) for sample in samples]))
                    yield counted(section, f"{what}: attainable level", rejected, "equal to", level)
        for count in (10, 30, 100, 1000):
            rng = generator(2, name, str(count))
            rejected = [test(skewed(rng, count)) <= ALPHA for _ in range(1000)]
            yield counted("Skewed differences, mean 0", f"{name}, lognormal, n = {count}", rejected)


def scored(category: Category, task: str, shared: Rng, noise: Rng, count: int, shift: float = 0.0) -> ItemScores:
    """A model's scores on a task; two models of one ``shared`` stream differ by luck and by ``shift`` only."""
    ids = [f"{number:05d}" for number in range(count)]
    fields: dict[str, object] = {}
    signal = shared.uniform(size=count)
    values = 0.5 * signal + 0.3 * noise.normal(size=count) + shift
    if category == "clustering":
        # Labels of eight items and fewer: the hardest case for contributions of items.
        labels = shared.integers(0, max(3, count // 8), count)
        other = noise.integers(0, int(labels.max()) + 2, (3, count))
        rows = np.where(noise.random((3, count)) < 0.7, labels, other).tolist()
        fields = {"gold": [str(label) for label in labels], "assignments": rows}
    else:
        fields = {"values": values.tolist()}
    if category == "sts":
        fields["gold"] = np.round(5 * signal).tolist()
    if category == "pair_classification":
        fields["gold"] = (np.argsort(np.argsort(signal)) >= count // 2).astype(float).tolist()
    return ItemScores(
        task=f"{category}/{task}",
        category=category,
        metric=METRICS[category],
        score=float(values.mean()),
        num_total=count,
        fingerprint="simulated",
        ids=ids,
        **fields,  # type: ignore[arg-type]
    )


def metric_tests() -> Iterator[Row]:
    """The tests of the other metrics, on two models that differ by luck only."""
    section = "Within a task, no difference"
    categories: tuple[Category, ...] = ("sts", "pair_classification", "clustering")
    for category in categories:
        for count in (8, 30, 300, 1000):
            luck = generator(3, category, str(count))
            rejected, levels = [], []
            for _ in range(1000 if count < 1000 else 500):
                seed = int(luck.integers(2**60))
                one, two = (scored(category, "t", np.random.default_rng(seed), luck, count) for _ in range(2))
                table = build_table({"a": [one], "b": [two]})
                found = PROCEDURES[category].permute(table, [Pair("a", "b", ())], 199, luck)
                rejected.append(found.tests[0].p <= ALPHA)
                if found.tests[0].is_exact and category != "clustering":
                    sizes = np.abs(found.permuted[:, 0])
                    p_values = 1 - np.searchsorted(np.sort(sizes), sizes - 1e-6) / len(sizes)
                    levels.append(attainable(p_values))
            what = f"{PROCEDURES[category].test}, {PROCEDURES[category].statistic}, n = {count}"
            yield counted(section, what, rejected, "at most")
            if levels:
                level = float(np.mean(levels))
                yield counted(section, f"{what}: attainable level", rejected, "equal to", level)


def item_intervals() -> Iterator[Row]:
    """95% intervals of a mean over items."""
    draws = {"normal": NULLS["normal"], "lognormal": skewed}
    for kind, draw in draws.items():
        for count in (10, 30, 100, 1000):
            rng = generator(4, kind, str(count))
            inside: dict[str, list[bool]] = {"percentile": [], "BCa": []}
            for _ in range(1000):
                values = draw(rng, count)
                means = bootstrap_means(values[:, None], np.arange(count), 999, rng)[:, 0]
                low, high = percentile_interval(means, 0.95)
                inside["percentile"].append(low <= 0 <= high)
                low, high = bca_interval(means, float(values.mean()), values - values.mean(), 0.95)
                inside["BCa"].append(low <= 0 <= high)
            for name, hits in inside.items():
                # Where the samples are large and symmetric, both keep their level.
                promise: Promise = "at least" if kind == "normal" and count == 1000 else "none"
                yield counted("95% intervals of a mean over items", f"{name}, {kind}, n = {count}", hits, promise, 0.95)


DESIGNS = ("last+causal", "mean+causal", "weighted_mean+causal", "layer_mean+causal")


def study(
    rng: Rng,
    effects: tuple[float, ...],
    seed_std: float,
    *,
    num_tasks: int = 3,
    num_items: int = 40,
    num_seeds: int = 2,
    skew: bool = False,
    own_seeds: bool = False,
) -> list[Run]:
    """Runs of designs: items differ in difficulty, designs in what they like, seeds shift a run, and each task."""
    difficulty = rng.normal(0, 0.1, (num_tasks, num_items))
    runs = []
    for place, (design, effect) in enumerate(zip(DESIGNS, effects, strict=False)):
        liking = 0.05 * ((rng.exponential(size=difficulty.shape) - 1) if skew else rng.normal(size=difficulty.shape))
        for seed in range(num_seeds):
            shifts = rng.normal(0, seed_std) + rng.normal(0, seed_std, (num_tasks, 1))
            rows = 0.5 + effect + difficulty + liking + shifts + rng.normal(0, 0.03, difficulty.shape)
            # A score above 1 would be read as a percentage; about one in 10,000 is cut.
            rows = np.clip(rows, 0.0, 1.0)
            name = seed + (num_seeds * place if own_seeds else 0)
            runs.append(_run(design, name, rows))
    return runs


def _run(design: str, seed: int, rows: np.ndarray) -> Run:
    records = [
        ItemScores(
            task=f"retrieval/t{number}",
            category="retrieval",
            metric=METRICS["retrieval"],
            score=float(row.mean()),
            num_total=len(row),
            fingerprint="simulated",
            ids=[f"{item:04d}" for item in range(len(row))],
            values=row.tolist(),
        )
        for number, row in enumerate(rows)
    ]
    manifest = RunManifest(name=f"{design}-{seed}", kind="trained", design=design, seed=seed, model=design)
    return Run(manifest=manifest, scores={record.task: record for record in records})


def compared(runs: list[Run], number: int, num_resamples: int = 320) -> Comparison:
    return compare_runs(runs, reference=DESIGNS[0], num_resamples=num_resamples, comparisons=["reference"], seed=number)


def decided(result: Comparison) -> bool:
    return any(contrast.verdict in ("better", "worse") for contrast in result.contrasts)


def families() -> Iterator[Row]:
    """Whole studies of four designs in which nothing differs."""
    for seed_std in (0.0, 0.005, 0.03):
        rng = generator(5, str(seed_std))
        results = [compared(study(rng, (0.0,) * 4, seed_std), number) for number in range(400)]
        where = f"4 designs x 2 seeds x 3 tasks, seed effect {seed_std:g}"
        holm = [any((c.p_holm or 1) <= ALPHA for c in result.contrasts) for result in results]
        section = "Families without a difference: any finding"
        yield counted(section, f"Holm over the primary family, {where}", holm, "at most")
        yield counted(section, f"verdicts, {where}", [decided(result) for result in results], "at most")
        if seed_std == 0:
            within = [any((c.p_holm or 1) <= ALPHA for c in result.task_contrasts) for result in results]
            yield counted(section, f"Holm over the tests within tasks, {where}", within, "none")
    # The signed ranks' sample is the tasks: what a seed does to all tasks alike is no noise to them.
    for seed_std in (0.0, 0.01):
        rng = generator(6, str(seed_std))
        found = []
        for number in range(400):
            runs = study(rng, (0.0,) * 4, seed_std, num_tasks=12, num_items=10)
            result = compare_runs(runs, reference=DESIGNS[0], primary="tasks", within_tasks=False, seed=number)
            found.append(any((c.p_holm or 1) <= ALPHA for c in result.contrasts))
        where = f"4 designs x 2 seeds x 12 tasks, seed effect {seed_std:g}"
        yield counted(section, f"Holm over signed ranks, {where}", found, "none" if seed_std else "at most")


def same_design_twice() -> Iterator[Row]:
    """A/A: one design under two names, trained with other seeds."""
    for num_seeds in (2, 3, 5):
        for seed_std in (0.003, 0.02):
            rng = generator(7, str(num_seeds), str(seed_std))
            found = []
            for number in range(300):
                # What a design likes is the same under both names; only seeds differ.
                runs = study(rng, (0.0,), seed_std, num_tasks=5, num_seeds=2 * num_seeds)
                renamed = [_renamed(run) if run.manifest.seed >= num_seeds else run for run in runs]
                found.append(not decided(compared(renamed, number)))
            what = f"5 tasks of 40 items, {num_seeds} seeds, seed effect {seed_std:g}"
            yield counted("A/A studies without a verdict of better or worse", what, found, "at least", 0.95)


def _renamed(run: Run) -> Run:
    return run.model_copy(update={"manifest": run.manifest.model_copy(update={"design": DESIGNS[1]})})


def known_effects() -> Iterator[Row]:
    """Intervals of studies whose true differences are known."""
    effects = (0.0, 0.02, 0.04, -0.03)
    truth = dict(zip(DESIGNS, effects, strict=True))
    section = "Studies with known effects: what the intervals cover"
    for skew in (False, True):
        for num_seeds in (2, 5):
            rng = generator(8, str(skew), str(num_seeds))
            hits: dict[str, list[bool]] = {"suite": [], "together": [], "Satterthwaite": [], "pigeonhole": []}
            for number in range(300):
                result = compared(study(rng, effects, 0.01, num_seeds=num_seeds, skew=skew), number, 640)
                covers = partial(_covers, truth)
                hits["suite"] += [covers(c.a, c.interval) for c in result.contrasts]
                hits["together"].append(all(covers(c.a, c.simultaneous) for c in result.contrasts))
                for contrast in result.seed_contrasts:
                    name = "Satterthwaite" if "Satterthwaite" in contrast.test else "pigeonhole"
                    hits[name].append(covers(contrast.a, contrast.interval))
            where = f"{'exponential' if skew else 'normal'} items, {num_seeds} seeds"
            promise: Promise = "at least"
            yield counted(section, f"suite, 95% each, {where}", hits["suite"], promise, 0.95)
            yield counted(section, f"suite, simultaneous, all at once, {where}", hits["together"], promise, 0.95)
            yield counted(section, f"Satterthwaite, own seeds, {where}", hits["Satterthwaite"], "none", 0.95)
            yield counted(section, f"pigeonhole, {where}", hits["pigeonhole"], "none", 0.95)
    few = compared(study(generator(9), effects, 0.01, num_items=3, num_tasks=2), 0)
    none = [c.interval is None and c.simultaneous is None for c in (*few.contrasts, *few.task_contrasts)]
    yield counted(section, "no interval from two tasks of three items", none, "equal to", 1.0)


def _covers(truth: dict[str, float], design: str, interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] <= truth[design] <= interval[1]


def over_tasks(effects: np.ndarray, number: int, category: str = "clustering", names: Sequence[str] = ()) -> Comparison:
    """Two published models, one score a task: the second differs from the first by the effects."""
    names = names or [f"t{place}" for place in range(len(effects))]
    runs = []
    for model, gain in (("x", np.zeros(len(effects))), ("y", effects)):
        records = [_score(category, name, 0.5 + float(g)) for name, g in zip(names, gain, strict=True)]
        manifest = RunManifest(name=model, kind="external", model=model)
        runs.append(Run(manifest=manifest, scores={record.task: record for record in records}))
    return compare_runs(runs, num_resamples=320, seed=number)


def _score(category: str, name: str, score: float) -> ItemScores:
    return ItemScores(
        task=f"{category}/{name}",
        category=category,  # type: ignore[arg-type]
        metric=METRICS[category],  # type: ignore[index]
        score=score,
        num_total=0,
        fingerprint="simulated",
        ids=[],
    )


def false_equality() -> Iterator[Row]:
    """Verdicts of "equal" where the difference is larger than the region of practical equality, 0.005."""
    section = "Equal, although the difference is beyond the region of practical equality"
    rng = generator(20)
    found = []
    for number in range(1000):
        effects = np.concatenate([np.full(4, 0.2), rng.uniform(-0.0005, 0.0005, 26)])
        found.append(over_tasks(rng.permutation(effects), number).contrasts[0].verdict == "equal")
    yield counted(section, "30 tasks of which four differ by .2, the mean by .027", found, "at most")
    settings = (
        (0.95, 0.90, 10, True, 1000),
        (0.95, 0.90, 20, True, 1000),
        (0.99, 0.98, 100, True, 1000),
        (0.99, 0.95, 10, False, 1000),
        (0.010, 0.004, 1000, True, 1000),
        (0.004, 0.010, 3000, True, 500),
    )
    for high, low, count, repeated, repeats in settings:
        rng = generator(21, f"{high} {low} {count}")
        found = []
        for number in range(repeats):
            runs = []
            for design, rate in zip(DESIGNS, (low, high), strict=False):
                rows = [(rng.random((1, count)) < rate).astype(float) for _ in range(2)]
                runs += [_run(design, seed, rows[0] if repeated else rows[seed]) for seed in (0, 1)]
            found.append(compared(runs, number).contrasts[0].verdict == "equal")
        seeds = "seeds repeat the items" if repeated else "seeds draw their own"
        yield counted(section, f"{high:g} against {low:g} on {count} binary items, {seeds}", found, "at most")


def unstable_designs() -> Iterator[Row]:
    """Families without a difference in which the seeds of one design vary more than those of the others."""
    section = "Families without a difference, one design less stable: any verdict"
    names = tuple(f"layer_mean(layers={k})+causal" for k in range(1, 9))
    for who, place in (("the reference", 0), ("another design", 3)):
        for count, num_seeds, ratio, repeats in (
            (8, 2, 3.0, 600),
            (8, 2, 10.0, 600),
            (8, 3, 3.0, 300),
            (8, 3, 10.0, 300),
            (4, 3, 3.0, 300),
            (4, 3, 10.0, 300),
        ):
            rng = generator(22, who, f"{count} {num_seeds} {ratio}")
            found = []
            for number in range(repeats):
                runs = []
                for design in range(count):
                    spread = 0.003 * (ratio if design == place else 1.0)
                    liking = 0.05 * rng.normal(size=(1, 400))
                    for seed in range(num_seeds):
                        rows = 0.5 + liking + rng.normal(0, spread) + rng.normal(0, 0.03, (1, 400))
                        runs.append(_run(names[design], seed, rows))
                result = compare_runs(
                    runs, reference=names[0], comparisons=["reference"], num_resamples=320, seed=number
                )
                found.append(decided(result))
            # Four designs tell too little about the spread of one of them that is ten times as variable.
            promise: Promise = "none" if (count, ratio) == (4, 10.0) else "at most"
            what = f"{count} designs x {num_seeds} seeds, 400 items, {who} {ratio:g} times as variable"
            yield counted(section, what, found, promise)


def checkpoints() -> Iterator[Row]:
    """Two published models with items: the items are the sample."""
    section = "Two checkpoints on two tasks"
    for gain, count in ((0.0, 12), (0.0, 50), (0.0, 1000), (0.02, 1000)):
        rng = generator(23, f"{gain} {count}")
        found, covered = [], []
        for number in range(1000 if count < 1000 else 400):
            difficulty = rng.uniform(0.2, 0.8, (2, count))
            runs = []
            for name, effect in (("x", 0.0), ("y", gain)):
                run = _run(name, 0, np.clip(difficulty + effect + rng.normal(0, 0.1, difficulty.shape), 0, 1))
                manifest = RunManifest(name=name, kind="external", model=name)
                runs.append(run.model_copy(update={"manifest": manifest}))
            contrast = compare_runs(runs, num_resamples=400, seed=number).contrasts[0]
            found.append(contrast.verdict in ("better", "worse"))
            low, high = contrast.interval or (0.0, 0.0)
            covered.append(low <= gain <= high)
        what = f"{count} items a task, difference {gain:g}"
        yield counted(section, f"{what}: a verdict of better or worse", found, "at most" if gain == 0 else "none")
        yield counted(section, f"{what}: 95% interval holds it", covered, "at least", 0.95)


def clustering_suites() -> Iterator[Row]:
    """Two checkpoints without a difference on two clustering tasks: V-measure, whose rows are subsampled."""
    rng = generator(31)
    found = []
    for number in range(400):
        seeds = [int(rng.integers(2**60)) for _ in range(2)]
        runs = []
        for name in ("x", "y"):
            records = [scored("clustering", f"t{t}", np.random.default_rng(s), rng, 100) for t, s in enumerate(seeds)]
            manifest = RunManifest(name=name, kind="external", model=name)
            runs.append(Run(manifest=manifest, scores={record.task: _exact(record) for record in records}))
        found.append((compare_runs(runs, num_resamples=320, seed=number).contrasts[0].p or 1) <= ALPHA)
    yield counted("Two checkpoints on two tasks", "clustering, 100 rows a task, p of the suite", found, "at most")


def _exact(record: ItemScores) -> ItemScores:
    """The record with the score that its clusters give."""
    table = build_table({"a": [record]})
    return record.model_copy(update={"score": float(PROCEDURES["clustering"].scores(table)[0])})


def uneven_models() -> Iterator[Row]:
    """Published models without a difference, each with other tasks: Holm without the tests that cannot reject."""
    rng = generator(24)
    found = []
    for number in range(1000):
        runs = []
        for model in range(5):
            having = 12 if model < 3 else 4
            records = [_score("clustering", f"t{t}", 0.5 + rng.normal(0, 0.02)) for t in range(having)]
            manifest = RunManifest(name=f"m{model}", kind="external", model=f"m{model}")
            runs.append(Run(manifest=manifest, scores={record.task: record for record in records}))
        result = compare_runs(runs, num_resamples=320, seed=number)
        found.append(any((c.p_holm or 1) <= ALPHA for c in result.contrasts))
    section = "Families without a difference: any finding"
    yield counted(section, "Tarone's Holm over ten pairs, three models with 12 tasks, two with 4", found, "at most")


def dependent_tasks() -> Iterator[Row]:
    """Signed ranks of tasks in pairs over the same texts, whose differences are correlated."""
    section = "Tasks in pairs over the same texts, no difference"
    for rho in (0.5, 0.9):
        rng = generator(25, str(rho))
        together, apart = [], []
        for _ in range(4000):
            shared = rng.normal(size=8)
            pairs = np.sqrt(rho) * shared[:, None] + np.sqrt(1 - rho) * rng.normal(size=(8, 2))
            groups = [str(source) for source in range(8) for _ in range(2)]
            together.append(signed_rank_test(pairs.ravel(), groups).p <= ALPHA)
            apart.append(signed_rank_test(pairs.ravel()).p <= ALPHA)
        yield counted(section, f"16 tasks of 8 sources, correlation {rho:g}: flipped by source", together, "at most")
        yield counted(section, f"16 tasks of 8 sources, correlation {rho:g}: as if independent", apart)


def shared_texts() -> Iterator[Row]:
    """Two checkpoints without a difference; a sentence occurs in several pairs, and a model errs on all of them."""
    section = "Items that share texts, no difference: a verdict of better or worse"
    for is_grouped in (True, False):
        rng = generator(29)
        found = []
        for number in range(1000):
            # Sixty sentences, each the first text of five items.
            sentences = [f"sentence {place % 60}" for place in range(300)]
            group = list(groups_by_text("retrieval/t0", sentences)) if is_grouped else []
            runs = []
            for name in ("x", "y"):
                errors = rng.normal(0, 0.1, 60)[np.arange(300) % 60]
                run = _run(name, 0, np.clip(0.5 + errors + rng.normal(0, 0.1, 300), 0, 1)[None])
                scores = {task: record.model_copy(update={"group": group}) for task, record in run.scores.items()}
                manifest = RunManifest(name=name, kind="external", model=name)
                runs.append(run.model_copy(update={"manifest": manifest, "scores": scores}))
            found.append(decided(compare_runs(runs, num_resamples=320, seed=number)))
        what = "found by their text" if is_grouped else "as if independent"
        yield counted(section, f"300 items, 60 sentences, {what}", found, "at most" if is_grouped else "none")


def inverted_intervals() -> Iterator[Row]:
    """95% intervals of a mean by inverting sign flips: over tasks, and over the few items of one task."""
    section = "95% intervals of a mean by inverting sign flips"
    for kind, draw in {"normal": NULLS["normal"], "lognormal": skewed}.items():
        for count in (6, 10, 12, 15, 30):
            rng = generator(26, kind, str(count))
            inside, bootstrap = [], []
            for _ in range(1000):
                values = draw(rng, count)
                low, high = flip_interval(values) or (np.nan, np.nan)
                inside.append(low <= 0 <= high)
                means = bootstrap_means(values[:, None], np.arange(count), 999, rng)[:, 0]
                low, high = percentile_interval(means, 0.95)
                bootstrap.append(low <= 0 <= high)
            promise: Promise = "at least" if kind == "normal" else "none"
            yield counted(section, f"inverted, {kind}, n = {count}", inside, promise, 0.95)
            yield counted(section, f"percentile bootstrap, {kind}, n = {count}", bootstrap, "none", 0.95)
    # Items of one task, through compare: values between 0 and 1, as nDCG has them.
    for count in (10, 20, 40, 60):
        rng = generator(27, str(count))
        inside = []
        for number in range(400):
            runs = []
            for name, effect in (("x", 0.0), ("y", 0.05)):
                rows = np.clip(0.5 + effect + rng.normal(0, 0.15, (1, count)), 0, 1)
                manifest = RunManifest(name=name, kind="external", model=name)
                runs.append(_run(name, 0, rows).model_copy(update={"manifest": manifest}))
            low, high = compare_runs(runs, num_resamples=400, seed=number).task_contrasts[0].interval or (0.0, 0.0)
            inside.append(low <= 0.05 <= high)
        yield counted(section, f"one task of {count} items, through compare", inside, "at least", 0.95)


def metric_intervals() -> Iterator[Row]:
    """95% intervals of differences in the metrics that are no means, of two models that differ by luck only."""
    section = "95% intervals within a task, metrics that are no means"
    categories: tuple[Category, ...] = ("sts", "pair_classification", "clustering")
    for category in categories:
        for count in (10, 20, 30, 50, 200):
            luck = generator(28, category, str(count))
            inside = []
            for _ in range(400):
                seed = int(luck.integers(2**60))
                one, two = (scored(category, "t", np.random.default_rng(seed), luck, count) for _ in range(2))
                table = build_table({"a": [one], "b": [two]})
                runs = PROCEDURES[category].bootstrap(table, 400, luck)
                low, high = percentile_interval(runs[:, 0] - runs[:, 1], 0.95)
                inside.append(low <= 0 <= high)
            promise: Promise = "at least" if count >= MIN_RANKED_ITEMS else "none"
            yield counted(section, f"{PROCEDURES[category].statistic}, n = {count}", inside, promise, 0.95)


def planned_studies() -> Iterator[Row]:
    """Studies of a planned size whose reference differs by what the plan says they can find."""
    section = "Studies at the size that poolwise plan gives"
    for num_items, num_seeds, seed_std in ((150, 3, 0.004), (60, 4, 0.004), (150, 2, 0.001)):
        # A difference varies with what both designs like, and with the noise and the seeds of both designs' runs.
        item = (2 * (0.05**2 + 0.03**2 / num_seeds)) ** 0.5
        seed = (2 * seed_std**2 * (1 + 1 / 2) + 2 * 0.03**2 / (2 * num_items)) ** 0.5
        effect = detectable_difference(Size((num_items,) * 2, num_seeds), Variances(item, seed), Family(3, 4))
        assert effect is not None
        rng, found = generator(11, str(num_items), str(num_seeds)), []
        for number in range(400):
            runs = study(rng, (0.0, *[effect] * 3), seed_std, num_tasks=2, num_items=num_items, num_seeds=num_seeds)
            contrast = compared(runs, number, 2_000).contrasts[0]
            low = contrast.simultaneous[0] if contrast.simultaneous else 0.0
            found.append(low > 0 and (contrast.p_holm or 1.0) <= ALPHA)
        what = f"{num_items} items, {num_seeds} seeds, seed sd {seed_std:g}: a difference of {effect:.4f} is found"
        yield counted(section, what, found, "at least", 0.8)


def sequential_studies() -> Iterator[Row]:
    """Studies that add seeds until every contrast is decided: what is found where nothing differs, and how soon."""
    section = "Studies with until_decided, at most 5 seeds"
    sizes = range(2, 6)
    shares = spending(sizes)
    for seed_std in (0.003, 0.02):
        rng = generator(41, str(seed_std))
        stopped, any_look, unspent = [], [], []
        for number in range(400):
            runs = study(rng, (0.0,) * 4, seed_std, num_seeds=5)
            found = [_looked(runs, count, number, share) for count, share in zip(sizes, shares, strict=True)]
            last = next((result for result in found if not _open(result)), found[-1])
            stopped.append(decided(last))
            any_look.append(any(map(decided, found)))
            unspent.append(any(decided(_looked(runs, count, number, 1.0)) for count in sizes))
        where = f"4 designs without a difference, seed effect {seed_std:g}"
        yield counted(section, f"a verdict where the study stops, {where}", stopped, "at most")
        yield counted(section, f"a verdict at any look, {where}", any_look, "at most")
        yield counted(section, f"a verdict at any look without spending, {where}", unspent)
    rng, early, right = generator(42), [], []
    for number in range(200):
        runs = study(rng, (0.0, 0.06, 0.09, -0.07), 0.003, num_seeds=5, num_items=150)
        found = [_looked(runs, count, number, share) for count, share in zip(sizes, shares, strict=True)]
        last = next((result for result in found if not _open(result)), found[-1])
        early.append(last is not found[-1])
        right.append([c.verdict for c in last.contrasts] == ["better", "better", "worse"])
    where = "differences of .06, .09 and -.07, seed effect 0.003"
    yield counted(section, f"stopped before the last seed, {where}", early)
    yield counted(section, f"all three verdicts right where it stops, {where}", right)


def partial_pooling() -> Iterator[Row]:
    """Studies whose tasks differ in the true difference: what the hierarchical view covers."""
    section = "Partial pooling over tasks: what its 95% intervals cover"
    gain, between = 0.02, 0.015
    for num_tasks, num_items in ((4, 100), (10, 40), (20, 200)):
        rng = generator(43, f"{num_tasks} {num_items}")
        of_mean, of_next = [], []
        for number in range(400):
            effects = gain + between * rng.normal(size=num_tasks + 1)
            runs = []
            for place, design in enumerate(DESIGNS[:2]):
                liking = 0.05 * rng.normal(size=(num_tasks, num_items))
                for seed in range(3):
                    rows = 0.5 + liking + rng.normal(0, 0.002) + rng.normal(0, 0.03, liking.shape)
                    runs.append(_run(design, seed, rows + place * effects[:num_tasks, None]))
            (found,) = compared(runs, number).hierarchies
            sign = 1 if found.a == DESIGNS[1] else -1
            of_mean.append(found.interval[0] <= sign * gain <= found.interval[1])
            of_next.append(found.new_task[0] <= sign * effects[-1] <= found.new_task[1])
        where = f"{num_tasks} tasks of {num_items} items, 3 seeds"
        yield counted(section, f"the mean over such tasks, {where}", of_mean, "at least", 0.95)
        yield counted(section, f"the difference on a new task, {where}", of_next, "at least", 0.95)


def borda_intervals() -> Iterator[Row]:
    """Models with known strengths on many tasks: rank intervals and the pairs that are separated."""
    section = "Borda ranks of ten models"
    strengths = np.linspace(0.0, 0.06, 10)
    for num_tasks in (12, 40):
        rng, covered, apart = generator(44, str(num_tasks)), [], []
        units = np.arange(num_tasks)
        for number in range(400):
            points = borda_points(strengths + rng.normal(0, 0.05, (num_tasks, 10)))
            intervals = rank_intervals(points, units, number)
            assert intervals is not None
            covered += [bool(low <= 10 - place <= high) for place, (low, high) in enumerate(intervals)]
            equal = borda_points(rng.normal(0, 0.05, (num_tasks, 10)))
            p_values = pair_p_values(equal, units, number)
            apart.append(bool((p_values[np.triu_indices(10, 1)] <= ALPHA).any()))
        yield counted(section, f"95% interval holds the true rank, {num_tasks} tasks", covered)
        yield counted(section, f"any of ten equal models separated, {num_tasks} tasks", apart, "at most")


def _looked(runs: list[Run], num_seeds: int, number: int, share: float) -> Comparison:
    part = [run for run in runs if run.manifest.seed < num_seeds]
    return compare_runs(
        part, reference=DESIGNS[0], num_resamples=1000, comparisons=["reference"], seed=number, share=share
    )


def _open(result: Comparison) -> bool:
    return any(contrast.verdict == "not decided" for contrast in result.contrasts)


def merged(before: list[Record], now: list[Record]) -> list[Record]:
    """Return the recorded rows with those measured now in their place, and new ones at the end."""
    rows = {(row["section"], row["what"]): row for row in (*before, *now)}
    return list(rows.values())


def main() -> int:
    rows = []
    groups = (
        paired_tests,
        metric_tests,
        item_intervals,
        inverted_intervals,
        metric_intervals,
        families,
        uneven_models,
        same_design_twice,
        unstable_designs,
        known_effects,
        false_equality,
        checkpoints,
        clustering_suites,
        dependent_tasks,
        shared_texts,
        planned_studies,
        sequential_studies,
        partial_pooling,
        borda_intervals,
    )
    wanted = sys.argv[1:]
    for group in groups:
        for row in group() if not wanted or group.__name__ in wanted else ():
            low, high = row.interval(0.95)
            mark = {True: "kept", False: "BROKEN"}[row.is_kept] if row.promise != "none" else "recorded"
            print(f"{mark:8} {row.hits / row.repeats:.3f} ({low:.3f} to {high:.3f}) of {row.repeats}: {row.what}")
            rows.append(row)
    measured: list[Record] = [row.record() for row in rows]
    if wanted:
        measured = merged(load("statistics_levels"), measured)
    save("statistics_levels", {"rows": measured})
    write_page()
    broken = [row.what for row in rows if not row.is_kept]
    print(f"{len(rows)} rates, {sum(row.promise != 'none' for row in rows)} promises, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
