"""Assignment: sticky, in the planned shares, and independent between salts."""

from __future__ import annotations

import pytest

from ab_folder import design
from poolwise.experiments import assign
from poolwise.experiments.assignment import user_of
from poolwise.stats.core.sample_ratio import log_split_e_value

KEYS = [f"user-{number}" for number in range(20_000)]


def test_a_key_always_gets_the_same_arm() -> None:
    assert [assign(key, design()).name for key in KEYS[:500]] == [assign(key, design()).name for key in KEYS[:500]]
    # Fixed: a change of the hash would move the users of every running experiment.
    assert "".join(assign(key, design()).name for key in KEYS[:12]) == "AAABBBBBBABA"


@pytest.mark.parametrize("shares", [(50, 50), (90, 10), (1, 1, 1), (7, 2, 1)])
def test_shares_are_as_planned(shares: tuple[int, ...]) -> None:
    import numpy as np

    arms = [{"name": name, "share": share} for name, share in zip("ABC", shares, strict=False)]
    made = design(arms=arms)
    found = [assign(key, made).name for key in KEYS]
    counts = np.array([found.count(arm["name"]) for arm in arms], dtype=float)
    planned = np.array(shares) / sum(shares)
    assert log_split_e_value(counts, planned) < np.log(1000)
    assert np.abs(counts / len(KEYS) - planned).max() < 0.012


def test_two_salts_assign_independently() -> None:
    other = design(salt="f" * 32)
    both = sum(assign(key, design()).name == assign(key, other).name for key in KEYS) / len(KEYS)
    assert abs(both - 0.5) < 0.015


def test_the_log_has_a_hash_in_place_of_the_key() -> None:
    assert user_of("alice@example.org", design()) != user_of("alice@example.org", design(salt="f" * 32))
    assert len(user_of("a", design())) == 16
    assert user_of("\ud800", design())
