"""Simulated A/A tests under daily peeking: how often any look finds a difference that is not there, and what power is.

python benchmarks/experiment_levels.py    writes its record and docs/results/experiments.md; 7 minutes on one busy core

Every row of levels is a rate over 2,000 experiments of 28 days with a look at the end of each day. A row that promises
a rate fails, and so does the command, if its count is above the promise by more than sampling error (99.9% binomial).
The comparison with gbstats' sequential interval needs a version that has one (0.5 or later) on PYTHONPATH; its rows are
left out without it.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy.special import ndtri
from statistics_levels import Row, counted
from statistics_page import RECORDS, Record, save, where

from poolwise.experiments.design import Design
from poolwise.stats.core import betting
from poolwise.stats.core.confidence_sequence import half_widths, tuned_prior
from poolwise.stats.core.resampling import generator
from poolwise.stats.core.sample_ratio import log_split_e_value
from poolwise.stats.core.user_means import difference, user_sums

RUNS, DAYS, PER_DAY, ALPHA = 2000, 28, 100, 0.05
MIN_USERS = int(Design.model_fields["min_users"].default)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "experiments.md"
Rng = np.random.Generator
Array = np.ndarray
Draw = Callable[[Rng, int, tuple[int, ...]], tuple[Array, Array, Array]]
"""(generator, day, shape) -> numerators, denominators and covariates of new users."""


def per_user(values: Callable[[Rng, int, tuple[int, ...]], Array]) -> Draw:
    def draw(rng: Rng, day: int, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
        found = values(rng, day, shape)
        return found, np.ones(shape), np.zeros(shape)

    return draw


def clicks(rng: Rng, shape: tuple[int, ...], tendency: Array) -> tuple[Array, Array, Array]:
    exposures = rng.geometric(0.3, shape)
    return rng.binomial(exposures, tendency).astype(float), exposures.astype(float), np.zeros(shape)


def season(day: int) -> float:
    """Half of the level is lost over the run, and weekends are lower."""
    return (1 - 0.5 * day / DAYS) * (0.7 if day % 7 >= 5 else 1.0)


def covaried(rng: Rng, day: int, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    before = rng.lognormal(0, 0.8, shape)
    return 0.8 * before + rng.normal(0, 0.7, shape), np.ones(shape), before


UNBOUNDED: dict[str, tuple[Draw, float]] = {
    "mean, normal": (per_user(lambda r, d, s: r.normal(size=s)), 0.1),
    "mean, normal, large margin": (per_user(lambda r, d, s: r.normal(size=s)), 0.3),
    "mean, normal, small margin": (per_user(lambda r, d, s: r.normal(size=s)), 0.02),
    "mean, Student with 3 degrees": (per_user(lambda r, d, s: r.standard_t(3, s)), 0.15),
    "mean, lognormal, sigma 1": (per_user(lambda r, d, s: r.lognormal(0, 1, s)), 0.2),
    "mean, lognormal, sigma 2": (per_user(lambda r, d, s: r.lognormal(0, 2, s)), 3.0),
    "mean, Pareto with shape 2.1": (per_user(lambda r, d, s: r.pareto(2.1, s)), 0.3),
    "mean, 3% of users pay a lognormal amount": (
        per_user(lambda r, d, s: (r.random(s) < 0.03) * r.lognormal(3, 1, s)),
        0.5,
    ),
    "mean, level drifts and has weekends": (per_user(lambda r, d, s: season(d) * r.lognormal(1, 1, s)), 0.5),
    "mean, adjusted for a covariate": (covaried, 0.1),
    "ratio, clicks over exposures, repeated users": (lambda r, d, s: clicks(r, s, r.beta(1, 9, s)), 0.02),
    "ratio, 1% of exposures clicked": (lambda r, d, s: clicks(r, s, r.beta(0.5, 49.5, s)), 0.003),
    "ratio, rate drifts and has weekends": (lambda r, d, s: clicks(r, s, season(d) * r.beta(1, 9, s)), 0.02),
    "ratio, latency, lognormal": (
        lambda r, d, s: (r.lognormal(3, 0.5, s) * (n := r.geometric(0.3, s)), n.astype(float), np.zeros(s)),
        2.0,
    ),
}


def daily(draw: Draw, rng: Rng, runs: int, per_day: int, shift: float = 0.0) -> Array:
    """Sums over users until the end of each day (runs, days, 10) of one arm."""
    days = []
    for day in range(DAYS):
        n, d, x = draw(rng, day, (runs, per_day))
        days.append(user_sums(n + shift * d, d, x).sum(axis=1))
    return np.cumsum(np.stack(days, axis=1), axis=1)


def outside(found_by: Array) -> list[bool]:
    """Whether any look of a run rejects (runs, days)."""
    return [bool(hit) for hit in found_by.any(axis=1)]


def sequence_rejects(
    arms: list[Array], margin: float, alpha: float, min_users: int = MIN_USERS, *, adjust: bool
) -> Array:
    """Whether the confidence sequence excludes 0 (runs, days)."""
    found = difference(arms[0], arms[1], adjust=adjust)
    with np.errstate(divide="ignore"):
        information = np.where(found.variance > 0, 1 / found.variance, 0.0)
    widths = half_widths(information, tuned_prior(margin, alpha), alpha)
    return (np.abs(found.estimate) > widths) & (arms[0][..., 0] >= min_users) & (arms[1][..., 0] >= min_users)


def peeked_z(arms: list[Array]) -> Array:
    """A fixed-horizon test that is looked at every day, which is not allowed."""
    found = difference(arms[0], arms[1])
    return np.abs(found.estimate) > ndtri(1 - ALPHA / 2) * np.sqrt(found.variance)


def unbounded_levels() -> Iterator[Row]:
    section = "A/A, confidence sequence: any look excludes 0"
    for what, (draw, margin) in UNBOUNDED.items():
        rng = generator(30, what)
        arms = [daily(draw, rng, RUNS, PER_DAY) for _ in range(2)]
        adjust = "covariate" in what
        yield counted(section, what, outside(sequence_rejects(arms, margin, ALPHA, adjust=adjust)), "at most", ALPHA)
        if what in ("mean, normal", "mean, lognormal, sigma 2"):
            yield counted("A/A, for comparison", f"{what}: z test at 5%, looked at daily", outside(peeked_z(arms)))


def early_starts() -> Iterator[Row]:
    """What the first look costs: the same tests with fewer users at the first look, and a look after each 10 users."""
    for what in ("mean, normal, large margin", "mean, lognormal, sigma 2", "mean, 3% of users pay a lognormal amount"):
        draw, margin = UNBOUNDED[what]
        for start in (20, 50, 100, MIN_USERS):
            rng = generator(31, what, str(start))
            arms = [daily(draw, rng, RUNS, 20) for _ in range(2)]
            rejects = sequence_rejects(arms, margin, ALPHA, start, adjust=False)
            yield counted("A/A, 20 users a day: first look at", f"{start} users, {what}", outside(rejects))


def unequal_splits() -> Iterator[Row]:
    """Nine users of ten in one arm: the skewness of the two arms no longer cancels."""
    section = "A/A, 90/10 split, confidence sequence: any look excludes 0"
    for what in ("mean, lognormal, sigma 1", "mean, lognormal, sigma 2", "mean, 3% of users pay a lognormal amount"):
        draw, margin = UNBOUNDED[what]
        for factor, size in ((1.0, "margin"), (3.0, "margin three times as large")):
            for start in (20, MIN_USERS):
                rng = generator(39, what, size, str(start))
                arms = [daily(draw, rng, RUNS, per_day) for per_day in (180, 20)]
                rejects = sequence_rejects(arms, factor * margin, ALPHA, start, adjust=False)
                promise = "at most" if start == MIN_USERS else "none"
                yield counted(section, f"{what}, {size}, from {start} users on", outside(rejects), promise, ALPHA)


def wrong_equivalence() -> Iterator[Row]:
    """The true difference is exactly the margin: no look may call the arms equivalent, or a guard safe."""
    section = "The difference is exactly the margin: any look lies within it"
    for what in ("mean, normal, large margin", "mean, lognormal, sigma 1", "ratio, latency, lognormal"):
        draw, margin = UNBOUNDED[what]
        rng = generator(40, what)
        arms = [daily(draw, rng, RUNS, PER_DAY), daily(draw, rng, RUNS, PER_DAY, shift=margin)]
        found = difference(arms[0], arms[1])
        widths = half_widths(1 / found.variance, tuned_prior(margin, ALPHA), ALPHA)
        inside = (found.estimate + widths < margin) & (arms[0][..., 0] >= MIN_USERS)
        yield counted(section, what, outside(inside), "at most", ALPHA)


def growing_users() -> Iterator[Row]:
    """No window: users come back, their sums grow, and each look takes everything so far."""
    section = "A/A, confidence sequence: any look excludes 0"
    per_day, runs = 30, RUNS
    for what, margin, as_ratio in (
        ("mean without a window, returning users", 1.0, False),
        ("ratio without a window, returning users", 0.03, True),
    ):
        rng = generator(32, what)
        arms = []
        for _ in range(2):
            tendency = rng.beta(1, 5, (runs, per_day * DAYS))
            loyalty = rng.beta(1, 3, tendency.shape)
            n, d = np.zeros_like(tendency), np.zeros_like(tendency)
            looks = []
            for day in range(DAYS):
                here = slice(0, per_day * (day + 1))
                fresh = np.arange(per_day * (day + 1)) >= per_day * day
                shown = fresh | (rng.random((runs, fresh.size)) < loyalty[:, here])
                count = shown * rng.poisson(2, shown.shape) + fresh
                n[:, here] += rng.binomial(count, tendency[:, here])
                d[:, here] += count
                below = d[:, here] if as_ratio else np.ones_like(d[:, here])
                looks.append(user_sums(n[:, here], below, np.zeros_like(below)).sum(axis=1))
            arms.append(np.stack(looks, axis=1))
        yield counted(section, what, outside(sequence_rejects(arms, margin, ALPHA, adjust=False)), "at most", ALPHA)


def bet_counts(rng: Rng, levels: Array, chances: Callable[[int], Array], runs: int, per_day: int) -> Array:
    """Counts of each level until the end of each day (runs, days, levels) of one arm."""
    days = [rng.multinomial(per_day, chances(day), runs) for day in range(DAYS)]
    return np.cumsum(np.stack(days, axis=1), axis=1).astype(float)


def betting_rejects(counts: list[Array], levels: Array, expected: float, margin: float, alpha: float) -> Array:
    is_binary = len(levels) == 2
    stakes = betting.build_arm_stakes(0.0, 1.0, expected, 0.5, margin, binary=is_binary)
    values = np.concatenate(betting.arm_values(levels, expected, 0.5))
    return betting.log_e_values(values, np.concatenate(counts, axis=-1), 0.0, stakes) >= -math.log(alpha)


def bounded_levels() -> Iterator[Row]:
    section = "A/A, betting: any look excludes 0"
    binary, stars = np.array([0.0, 1.0]), np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    cases: dict[str, tuple[Array, Callable[[int], Array], float, float, int]] = {
        f"rate of {rate:g}": (binary, lambda day, r=rate: np.array([1 - r, r]), rate, margin, 100)
        for rate, margin in ((0.002, 0.001), (0.005, 0.002), (0.05, 0.01), (0.5, 0.03))
    }
    cases["rate of 0.05, expected 0.5"] = (binary, lambda day: np.array([0.95, 0.05]), 0.5, 0.01, 100)
    cases["rate of 0.05, 3 users a day"] = (binary, lambda day: np.array([0.95, 0.05]), 0.05, 0.2, 3)
    cases["rate of 0.1 that drifts and has weekends"] = (
        binary,
        lambda day: np.array([1 - 0.1 * season(day), 0.1 * season(day)]),
        0.1,
        0.02,
        100,
    )
    cases["ratings of 1 to 5"] = (stars, lambda day: np.array([0.1, 0.05, 0.1, 0.25, 0.5]), 0.7, 0.03, 100)
    for what, (levels, chances, expected, margin, per_day) in cases.items():
        rng = generator(33, what)
        # A coin assigns users, as in production: the arms' sizes vary.
        counts = [np.zeros((RUNS, DAYS, len(levels))) for _ in range(2)]
        for day in range(DAYS):
            first = rng.binomial(2 * per_day, 0.5, RUNS)
            for arm, sizes in zip(counts, (first, 2 * per_day - first), strict=True):
                arm[:, day] = rng.multinomial(sizes, chances(day))
        counts = [np.cumsum(arm, axis=1) for arm in counts]
        yield counted(
            section, what, outside(betting_rejects(counts, levels, expected, margin, ALPHA)), "at most", ALPHA
        )


def others() -> Iterator[Row]:
    rng = generator(34)
    halves = np.cumsum(rng.binomial(200, 0.5, (RUNS, DAYS)), axis=1)
    totals = 200.0 * np.arange(1, DAYS + 1)
    counts = np.stack([halves, totals - halves], axis=-1)
    log_e = log_split_e_value(counts, np.array([0.5, 0.5]))
    for alpha in (ALPHA, 0.001):
        what = f"50/50 as planned, checked daily at {alpha:g}"
        yield counted("The check of the split", what, outside(log_e >= -math.log(alpha)), "at most", alpha)
    for share in (0.48, 0.49):
        halves = np.cumsum(rng.binomial(200, share, (RUNS, DAYS)), axis=1)
        log_e = log_split_e_value(np.stack([halves, totals - halves], axis=-1), np.array([0.5, 0.5]))
        found = outside(log_e >= -math.log(0.001))
        yield counted("The check of the split", f"{share:g} instead of 0.5, 5,600 users: found", found)

    rng = generator(35)
    # Three primary metrics of the same users, correlated, each with a third of alpha.
    shared = [rng.normal(size=(RUNS, DAYS, PER_DAY)) for _ in range(2)]
    hits = np.zeros(RUNS, dtype=bool)
    for _ in range(3):
        arms = []
        for common in shared:
            values = 0.7 * common + 0.7 * rng.normal(size=common.shape)
            sums = user_sums(values, np.ones_like(values), np.zeros_like(values)).sum(axis=2)
            arms.append(np.cumsum(sums, axis=1))
        hits |= sequence_rejects(arms, 0.1, ALPHA / 3, adjust=False).any(axis=1)
    yield counted("A/A, several metrics", "any of three correlated means", list(map(bool, hits)), "at most", ALPHA)

    rng = generator(36)
    # Users see 1 to 4 interleaved lists; a user's value is the mean of -1, 0 and 1.
    levels = np.round(np.unique([k / n for n in range(1, 5) for k in range(-n, n + 1)]), 9)
    lists = rng.integers(1, 5, (RUNS, DAYS, 60))
    sums = sum(np.where(lists > k, rng.choice([-1, 0, 1], lists.shape, p=[0.2, 0.6, 0.2]), 0) for k in range(4))
    place = np.searchsorted(levels, np.round(sums / lists, 9))
    counts = np.stack([(place == level).sum(axis=2) for level in range(len(levels))], axis=-1).cumsum(axis=1)
    stakes = betting.build_stakes(-1.0, 1.0, 0.5, 0.05)
    log_e = betting.log_e_values(levels, counts.astype(float), 0.0, stakes)
    found = outside(log_e >= -math.log(ALPHA))
    yield counted("A/A, betting: any look excludes 0", "interleaving, repeated users", found, "at most", ALPHA)


def power() -> list[dict[str, object]]:
    """A true difference that a fixed-horizon z test of 14 days finds with 80%: who finds it by when."""
    table = []
    fixed_days = 14
    for what, draw, spread in (
        ("mean, normal", UNBOUNDED["mean, normal"][0], 1.0),
        ("mean, lognormal, sigma 1", UNBOUNDED["mean, lognormal, sigma 1"][0], math.sqrt((math.e - 1) * math.e)),
    ):
        effect = (ndtri(0.975) + ndtri(0.8)) * spread * math.sqrt(2 / (PER_DAY * fixed_days))
        for times, size in (("as planned", effect), ("twice as large", 2 * effect)):
            rng = generator(37, what, times)
            arms = [daily(draw, rng, RUNS, PER_DAY), daily(draw, rng, RUNS, PER_DAY, shift=size)]
            tests = {"fixed horizon, one look at day 14": peeked_z(arms)[:, fixed_days - 1 : fixed_days]}
            tests["confidence sequence, margin = planned effect"] = sequence_rejects(arms, effect, ALPHA, adjust=False)
            half = sequence_rejects(arms, effect / 2, ALPHA, adjust=False)
            tests["confidence sequence, margin = half of it"] = half
            if (rejects := gbstats_rejects(arms)) is not None:
                tests["gbstats, sequential, default tuning"] = rejects
            table += [_found(f"{what}, {times}", name, hits, fixed_days) for name, hits in tests.items()]
    for rate, times in ((0.05, 1.0), (0.05, 2.0), (0.005, 1.0)):
        effect = (ndtri(0.975) + ndtri(0.8)) * math.sqrt(2 * rate * (1 - rate) / (PER_DAY * fixed_days))
        rng = generator(38, str(rate), str(times))
        other = rate + times * effect
        counts = [
            bet_counts(rng, np.array([0.0, 1.0]), lambda day, p=p: np.array([1 - p, p]), RUNS, PER_DAY)
            for p in (rate, other)
        ]
        sums = [user_sums_of_counts(arm) for arm in counts]
        tests = {
            "fixed horizon, one look at day 14": peeked_z(sums)[:, fixed_days - 1 : fixed_days],
            "betting, margin = planned effect": betting_rejects(counts, np.array([0.0, 1.0]), rate, effect, ALPHA),
        }
        if (rejects := gbstats_rejects(sums)) is not None:
            tests["gbstats, sequential, default tuning"] = rejects
        name = "as planned" if times == 1 else "twice as large"
        table += [_found(f"rate of {rate:g}, {name}", test, hits, fixed_days) for test, hits in tests.items()]
    return table


def user_sums_of_counts(counts: Array) -> Array:
    """The sums of users whose values are 0 or 1 (runs, days, 10)."""
    zero, one = np.zeros(counts.shape[:-1]), counts[..., 1]
    total = counts.sum(axis=-1)
    return np.stack([total, one, total, zero, one, one, total, zero, zero, zero], axis=-1)


def _found(case: str, test: str, hits: Array, fixed_days: int) -> dict[str, object]:
    found = hits.any(axis=1)
    days = np.where(found, hits.argmax(axis=1) + 1, DAYS) if hits.shape[1] > 1 else np.full(len(found), fixed_days)
    by_fixed = hits[:, :fixed_days].any(axis=1) if hits.shape[1] > 1 else found
    return {
        "case": case,
        "test": test,
        "found_by_day_14": float(by_fixed.mean()),
        "found_by_day_28": float(found.mean()),
        "mean_days": float(days.mean()),
    }


def gbstats_rejects(arms: list[Array]) -> Array | None:
    """Whether gbstats' sequential interval excludes 0 (runs, days); None where gbstats has no such interval."""
    try:
        from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
        from gbstats.models.statistics import SampleMeanStatistic
    except ImportError:
        return None
    config = SequentialConfig(difference_type="absolute", alpha=ALPHA)
    hits = np.zeros(arms[0].shape[:2], dtype=bool)
    for run, day in np.ndindex(hits.shape):
        stats = [
            SampleMeanStatistic(n=int(a[run, day, 0]), sum=float(a[run, day, 1]), sum_squares=float(a[run, day, 4]))
            for a in arms
        ]
        if min(stat.variance for stat in stats) <= 0:
            continue
        low, high = SequentialTwoSidedTTest(stats[0], stats[1], config).confidence_interval
        hits[run, day] = low > 0 or high < 0
    return hits


def main() -> None:
    begun = time.perf_counter()
    rows: list[Row] = []
    for part in (
        unbounded_levels,
        unequal_splits,
        growing_users,
        wrong_equivalence,
        bounded_levels,
        others,
        early_starts,
    ):
        for row in part():
            rows.append(row)
            low, high = row.interval(0.95)
            sign = "" if row.is_kept else "   BROKEN"
            print(f"{row.section}: {row.what}: {row.hits / row.repeats:.4f} [{low:.4f}, {high:.4f}]{sign}", flush=True)
    table = power()
    for entry in table:
        print(entry, flush=True)
    record = {
        "runs": RUNS,
        "days": DAYS,
        "users_per_arm_and_day": PER_DAY,
        "min_users": MIN_USERS,
        "gbstats": metadata.version("gbstats") if any("gbstats" in str(row["test"]) for row in table) else None,
        "seconds": round(time.perf_counter() - begun),
        "levels": [row.record() for row in rows],
        "power": table,
    }
    save("experiment_levels", record)
    write_page()
    broken = [row.what for row in rows if not row.is_kept]
    if broken:
        sys.exit(f"broken: {broken}")


def write_page() -> None:
    """Write the page from the record."""
    PAGE.write_text(page(json.loads((RECORDS / "experiment_levels.json").read_text())))


def page(record: Record) -> str:
    """Return the page of a record."""
    levels, table = record["levels"], record["power"]
    assert isinstance(levels, list) and isinstance(table, list)
    lines = [
        "# Levels and power of experiments",
        "",
        f"{where('experiment_levels', record)} [Why these tests](../decisions/016-experiments.md).",
        "",
        f"Each rate is over {record['runs']:,} simulated experiments of {record['days']} days with a look at the end "
        f"of each day, {record['users_per_arm_and_day']} new users a day and arm unless said otherwise, alpha 5%. The "
        "interval is the exact binomial one at 95%.",
    ]
    for section in dict.fromkeys(row["section"] for row in levels):
        lines += ["", f"## {section}", "", "| what | rate | interval | promised |", "|---|---:|---:|---:|"]
        for row in (row for row in levels if row["section"] == section):
            low, high = row["interval"]
            promise = "" if row["promise"] == "none" else f"{row['promise']} {row['stated']:.1%}"
            lines.append(f"| {row['what']} | {row['rate']:.2%} | {low:.2%} to {high:.2%} | {promise} |")
    lines += ["", "## Power and time to a decision", ""]
    lines += [
        "The planned effect is the one that a z test with one look at day 14 finds in 80%. Days are until the first "
        f"look that finds it, at most {record['days']}. gbstats {record['gbstats']}, its defaults.",
        "",
        "| case | test | found by day 14 | found by day 28 | mean days |",
        "|---|---|---:|---:|---:|",
    ]
    for row in table:
        shares = f"{row['found_by_day_14']:.1%} | {row['found_by_day_28']:.1%}"
        lines.append(f"| {row['case']} | {row['test']} | {shares} | {row['mean_days']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
