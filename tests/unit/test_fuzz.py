"""A few inputs of ``make fuzz`` for each cheap target; and what the benchmark itself must notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import ROOT, load_benchmark

SLOW = {"GGUF bases", "model folders", "comparisons of tables", "HTTP requests"}
fuzz = load_benchmark("fuzz")


@pytest.mark.parametrize("name", sorted(fuzz.TARGETS.keys() - SLOW))
def test_hostile_inputs_are_accepted_or_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    prepared = fuzz.TARGETS[name].prepare(tmp_path / "target")
    outcomes = []
    for number in range(20):
        files, is_sealed = fuzz.input_of(name, prepared, 1, number)
        outcomes.append(fuzz.attempt(prepared, tmp_path / "input", files, is_sealed))
    assert [found for found in outcomes if isinstance(found, fuzz.Finding)] == []
    assert "refused" in outcomes


def prepared_to(read: Any) -> Any:
    return fuzz.Prepared([{"a.txt": b"some text"}], read)


def test_an_input_is_the_same_every_time() -> None:
    prepared = prepared_to(lambda folder: None)
    one, two = ([fuzz.input_of("x", prepared, seed, n)[0] for n in range(30)] for seed in (0, 1))
    assert one == [fuzz.input_of("x", prepared, 0, n)[0] for n in range(30)] != two
    assert len({tuple(files.values()) for files in one}) > 25


def test_a_bug_is_a_finding_with_the_smallest_input(tmp_path: Path) -> None:
    def read(folder: Path) -> None:
        if b"x" in (folder / "a.txt").read_bytes():
            raise ZeroDivisionError

    prepared = prepared_to(read)
    found = fuzz.attempt(prepared, tmp_path / "input", {"a.txt": b"some x text"}, False)
    assert found.kind.startswith("ZeroDivisionError in")
    smallest = fuzz.minimised(prepared, tmp_path / "input", {"a.txt": b"some x text"}, False, found.kind)
    assert smallest == {"a.txt": b"x"}


def test_endless_work_and_endless_words_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.05)

    def loop(folder: Path) -> None:
        while True:
            pass

    def talk(folder: Path) -> None:
        error = fuzz.PoolwiseError("x")
        error.args = ("x" * 30_000,)
        raise error

    for read, kind in ((loop, "slow in"), (talk, "message:")):
        found = fuzz.attempt(prepared_to(read), tmp_path / "input", {"a.txt": b""}, False)
        assert found.kind.startswith(kind)


PLANTED = """
import sys

import atheris
import fuzz_coverage
from fuzz_coverage import Prepared, Target


def read(folder):
    raw = (folder / "a.txt").read_bytes()
    if raw[:1] == b"{":
        if raw[1:2] == b"}":
            raise ZeroDivisionError


prepared = Prepared([{"a.txt": b"ab"}], atheris.instrument_func(read))
fuzz_coverage.TARGETS.clear()
fuzz_coverage.TARGETS["planted"] = Target("planted", lambda root: prepared)
sys.exit(fuzz_coverage.main())
"""


def test_inputs_that_reach_new_code_lead_to_a_bug_behind_it(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has wheels for Python 3.11 to 3.13 on Linux only")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    command = [sys.executable, "-c", PLANTED, "--inputs", "8000", "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ZeroDivisionError in <string>:read" in done.stdout
    (smallest,) = (path for path in tmp_path.glob("planted/planted-*/a.txt"))
    assert smallest.read_bytes() == b"{}"
