"""Ways to estimate how much a difference varies with the seed, compared on simulated studies: errors and power.

python benchmarks/seed_rules.py

Designs x seeds without items: everything is seed noise, with a part that all designs share at a seed. The table of
docs/decisions/004-statistics.md is this output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit

from poolwise.stats.core.resampling import generator

STUDIES = 4000
ALPHA = 0.05

Rule = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray | int]]


def moderated(weight: float) -> Rule:
    """The pair's own variance, with the pooled one as ``weight`` more degrees of freedom."""

    def rule(own: np.ndarray, pooled: np.ndarray, own_degrees: int, pooled_degrees: int) -> tuple[np.ndarray, int]:
        degrees = own_degrees + weight
        return (own_degrees * own**2 + weight * pooled**2) / degrees, min(degrees, pooled_degrees)  # type: ignore[return-value]

    return rule


RULES: dict[str, Rule] = {
    "larger, pooled degrees": lambda own, pooled, few, many: (np.maximum(own, pooled) ** 2, many),
    "larger, own degrees if own": lambda own, pooled, few, many: (
        np.maximum(own, pooled) ** 2,
        np.where(own > pooled, few, many),
    ),
    "own only": lambda own, pooled, few, many: (own**2, few),
    "pooled counts as 1": moderated(1),
    "pooled counts as 2": moderated(2),
}


def simulated(
    num_designs: int, num_seeds: int, place: int, ratio: float, effect: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences to the first design, their own standard errors, and the pooled one (studies x contrasts).

    Args:
        place: the design whose seeds vary ``ratio`` times as much. effect: of the last design, in standard errors.
    """
    rng = generator(30, f"{num_designs} {num_seeds} {place} {ratio} {effect}")
    spread = np.ones(num_designs)
    spread[place] = ratio
    runs = rng.normal(size=(STUDIES, num_designs, num_seeds)) * spread[:, None] + rng.normal(
        size=(STUDIES, 1, num_seeds)
    )
    left = runs - runs.mean(axis=2, keepdims=True)
    left -= left.mean(axis=1, keepdims=True)
    degrees = (num_designs - 1) * (num_seeds - 1)
    pooled = np.sqrt((left**2).sum(axis=(1, 2)) / degrees * 2 / num_seeds)
    paired = runs[:, 1:] - runs[:, :1]
    differences = paired.mean(axis=2)
    differences[:, -1] += effect * np.sqrt(2 / num_seeds)
    own = paired.std(axis=2, ddof=1) / np.sqrt(num_seeds)
    return differences, own, np.broadcast_to(pooled[:, None], own.shape)


def main() -> None:
    print("setting | " + " | ".join(RULES))
    for num_designs in (8, 4):
        for num_seeds in (2, 3, 5):
            cases = [(0, 1.0, 0.0), (0, 3.0, 0.0), (0, 10.0, 0.0), (2, 3.0, 0.0), (2, 10.0, 0.0)]
            for place, ratio, effect in [*cases, (0, 1.0, 5.0), (0, 1.0, 8.0), (0, 1.0, 12.0)]:
                differences, own, pooled = simulated(num_designs, num_seeds, place, ratio, effect)
                rates = []
                for rule in RULES.values():
                    variance, degrees = rule(own, pooled, num_seeds - 1, (num_designs - 1) * (num_seeds - 1))
                    reach = stdtrit(degrees, 1 - ALPHA / (2 * (num_designs - 1))) * np.sqrt(variance)
                    is_found = np.abs(differences) > reach
                    rates.append((is_found[:, -1] if effect else is_found.any(axis=1)).mean())
                who = "the reference" if place == 0 else "another"
                what = f"found, {effect:g} standard errors" if effect else f"false, {who} {ratio:g} times as variable"
                print(f"K={num_designs}, S={num_seeds}, {what} | " + " | ".join(f"{rate:.3f}" for rate in rates))


if __name__ == "__main__":
    main()
