"""The targets of ``fuzz.py``, attacked with inputs that are kept where they reach code that none before reached.

python benchmarks/fuzz_coverage.py [--inputs N] [--seed N] [--only NAME ...] [--out DIR]

Needs atheris, so Python 3.11 to 3.13 on Linux. libFuzzer chooses an input to start from, it or ``_mutations.py``
changes it, and what counts as a finding is as in ``fuzz.py``. Each target's line says how much code was reached at the
start and at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    raise SystemExit("atheris is not installed; run: pip install atheris==3.0.0") from None

INSTRUMENTED = ["poolwise"]

with atheris.instrument_imports(include=INSTRUMENTED):
    import fuzz
    from _fuzz_targets import TARGETS, Prepared, Target
    from _mutations import Files, mutated

MOST_BYTES = 500_000
"""Larger inputs are not kept: libFuzzer copies every one it keeps."""
VALID = 0.3
"""How many changes are made to a valid input: most inputs that reach new code are broken, and lead no deeper."""


def packed(files: Files, is_sealed: bool) -> bytes:
    """Return files as one string of bytes, which :func:`unpacked` reads."""
    sizes = [[name, len(raw)] for name, raw in sorted(files.items())]
    return json.dumps([is_sealed, sizes]).encode() + b"\n" + b"".join(files[name] for name, _ in sizes)


def unpacked(raw: bytes) -> tuple[Files, bool] | None:
    """Return the files and whether their checksums are written anew; None for bytes that libFuzzer made up."""
    try:
        header, content = raw.split(b"\n", 1)
        is_sealed, sizes = json.loads(header)
    except ValueError:
        return None
    files, start = {}, 0
    for name, size in sizes:
        files[name] = content[start : start + size]
        start += size
    return files, is_sealed


class Attack:
    """What became of the inputs of one target, in the process that tries them."""

    def __init__(self, target: Target, prepared: Prepared, inputs: int, out: Path) -> None:
        self.target, self.prepared, self.inputs, self.out = target, prepared, inputs, out
        self.outcomes: Counter[str] = Counter()
        self.known: set[str] = set()

    def change(self, raw: bytes, most: int, seed: int) -> bytes:
        """Return an input, or instead of it a valid one, with a change by ``_mutations.py`` or by libFuzzer."""
        found, draw = unpacked(raw), random.Random(seed)
        if found is None or not found[0] or draw.random() < VALID:
            found = draw.choice(self.prepared.seeds), self.prepared.seal is not None
        files, is_sealed = dict(found[0]), found[1] != (self.prepared.seal is not None and draw.random() < 0.02)
        if draw.random() < 0.5:
            files = mutated(draw, files)
        else:
            name = draw.choice(sorted(files))
            files[name] = atheris.Mutate(files[name], max(len(files[name]), 64) * 2)
        new = packed(files, is_sealed)
        return new if len(new) <= most else raw

    def try_one(self, raw: bytes) -> None:
        given = unpacked(raw)
        if given is None:
            return
        files = fuzz.compressed(given[0])
        (self.out / "last").write_bytes(raw)
        folder = self.out / "input"
        found = fuzz.attempt(self.prepared, folder, files, given[1])
        if isinstance(found, fuzz.Finding):
            if found.kind not in self.known and len(self.known) < fuzz.MOST_MINIMISED:
                files = fuzz.minimised(self.prepared, folder, files, given[1], found.kind)
            number = self.outcomes.total()
            fuzz.report(self.out, self.target.name, number, found, files if found.kind not in self.known else None)
            self.known.add(found.kind)
        self.outcomes["findings" if isinstance(found, fuzz.Finding) else found] += 1
        total = self.outcomes.total()
        if total % 100 == 0 or total >= self.inputs:
            (self.out / "tally.json").write_text(json.dumps(self.outcomes))
        if total >= self.inputs:
            sys.stdout.flush()
            os._exit(0)


def attack(target: Target, seed: int, inputs: int, out: Path) -> None:
    """Try inputs of one target; does not return."""
    try:
        fuzz.quiet()
        log = os.open(out / "libfuzzer.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        (out / "target").mkdir()
        (out / "corpus").mkdir()
        # Readers import what they need when they are called, so the valid inputs are read once here.
        with atheris.instrument_imports(include=INSTRUMENTED):
            prepared = target.prepare(out / "target")
            fuzz.try_seeds(target, prepared, out / "input")
        for number, files in enumerate(prepared.seeds):
            raw = packed(files, prepared.seal is not None)
            assert len(raw) <= MOST_BYTES, (target.name, len(raw))
            (out / "corpus" / str(number)).write_bytes(raw)
        options = [f"-seed={seed + 1}", "-runs=-1", f"-max_len={MOST_BYTES}", "-len_control=0", "-cross_over=0"]
        options += [
            "-detect_leaks=0",
            "-rss_limit_mb=0",
            f"-timeout={fuzz.SILENT_SECONDS:.0f}",
            "-reload=0",
            "-reduce_inputs=0",
        ]
        options += [f"-artifact_prefix={out}/", str(out / "corpus")]
        attacked = Attack(target, prepared, inputs, out)
        atheris.Setup([sys.argv[0], *options], attacked.try_one, custom_mutator=attacked.change)
    except BaseException as error:
        (out / "harness.txt").write_text("".join(traceback.format_exception(error)))
        os._exit(1)
    # What Python cannot catch, an exception of C++, ends the process here as it would elsewhere.
    atheris.Fuzz()


def reached(log: Path) -> list[int]:
    """Return how many edges of code libFuzzer says were reached, first and last."""
    found = [int(number) for number in re.findall(r"cov: (\d+)", log.read_text(errors="replace"))]
    return [found[0], found[-1]] if found else [0, 0]


def fuzz_target(target: Target, seed: int, inputs: int, out: Path) -> tuple[int, int]:
    """Attack a target in a process of its own and print a line. Return how many inputs were tried, and the findings."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    begun = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=attack, args=(target, seed, inputs, out))
    child.start()
    child.join()
    if (out / "harness.txt").is_file():
        raise SystemExit(f"{target.name}: the benchmark itself fails\n{(out / 'harness.txt').read_text()}")
    if child.exitcode != 0:
        ended = fuzz.Finding(f"the process ended with {child.exitcode}", "killed or crashed")
        given: Any = unpacked((out / "last").read_bytes())
        fuzz.report(out, target.name, -1, ended, given[0])
    tally = Counter(json.loads((out / "tally.json").read_text())) if (out / "tally.json").is_file() else Counter()
    first, last = reached(out / "libfuzzer.txt")
    listed = out / "findings.jsonl"
    kinds = Counter(json.loads(line)["kind"] for line in listed.read_text().splitlines()) if listed.is_file() else {}
    print(
        f"{target.name}: {tally.total():,} inputs, {tally['accepted']:,} accepted, {tally['refused']:,} refused, "
        f"{sum(kinds.values())} findings; reached {first:,} at first and {last:,} at last; "
        f"{time.monotonic() - begun:.0f} s",
        flush=True,
    )
    for kind, count in kinds.items():
        print(f"  {count} times: {kind}", flush=True)
    return tally.total(), sum(kinds.values())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=8000, help="for each target that is not slow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz-coverage"))
    asked = parser.parse_args()
    tried, found = 0, 0
    for name in asked.only or list(TARGETS):
        target = TARGETS[name]
        count = max(20, round(asked.inputs * target.share))
        place = asked.out.absolute() / name.replace(" ", "-")
        more_tried, more_found = fuzz_target(target, asked.seed, count, place)
        tried, found = tried + more_tried, found + more_found
    print(f"{tried - found:,} of {tried:,} inputs accepted or refused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
