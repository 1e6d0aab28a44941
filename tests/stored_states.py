"""Stores of toy texts on a tiny base: what every test of screening starts from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from poolwise.design import parse_design
from poolwise.screening import StateStore, StoreSpec, fill_store, needs_of
from tiny_models import HIDDEN, NUM_LAYERS

MAX_TOKENS = 16


def toy_store(
    base: str,
    attention: str,
    keys: Iterable[tuple[str, str]],
    designs: Iterable[str],
    root: Path,
    *,
    kept: str = "float32",
    batch_size: int = 4,
    fill: bool = True,
) -> StateStore:
    """Return a store of the states that ``designs`` need of ``keys``."""
    spec = StoreSpec(base, "toy", attention, MAX_TOKENS, "fp32", kept, tuple(sorted(set(keys))))
    store = StateStore(spec, root)
    if fill:
        fill_store(store, toy_needs(attention, designs), batch_size)
    return store


def toy_needs(attention: str, designs: Iterable[str]) -> list:
    return needs_of(map(parse_design, designs), attention, HIDDEN, NUM_LAYERS)
