"""Hostile files, command-line values and HTTP requests: each is accepted, or refused with an error that says why.

python benchmarks/fuzz.py [--inputs N] [--seed N] [--only NAME ...] [--out DIR]

Each target of ``_fuzz_targets.py`` gets N inputs (slow ones a part of that), made from valid ones with seeded random
changes: structure and types, lengths, numbers, encodings, single bits. An input is a finding if it raises anything but
an error that the user can fix, ends the process, takes more than 5 seconds of CPU or 512 MiB, or is refused without
words or with thousands of them. The smallest input found for each finding is kept below ``--out``.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _fuzz_targets import TARGETS, Prepared, RefusedError, Target
from _mutations import Files, damaged, mutated

from poolwise.errors import PoolwiseError, explain

MOST_SECONDS, MOST_BYTES, LONGEST_MESSAGE = 5.0, 512 << 20, 20_000
SILENT_SECONDS = 300.0
"""How long an input may take by the clock, in code that no signal interrupts, before its process is ended."""
SOME_REFUSED = ("GGUF bases", "HTTP requests")
"""Targets with an input to start from that is refused."""
MOST_MINIMISED, MINIMISING_SECONDS = 12, 20.0


class TooSlow(BaseException):
    """An input used more CPU time than any input may."""


@dataclass(frozen=True)
class Finding:
    """What went wrong with an input. ``kind`` is the same for inputs that go wrong in the same place."""

    kind: str
    text: str


@dataclass
class Tally:
    """What became of the inputs of one target."""

    accepted: int = 0
    refused: int = 0
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)


def input_of(target: str, prepared: Prepared, seed: int, number: int) -> tuple[Files, bool]:
    """Return one input as it is on disk, and whether its checksums are written anew; always the same one."""
    draw = random.Random(f"{seed} {target} {number}")
    plain = draw.choice(prepared.seeds)
    packed = compressed(mutated(draw, plain))
    for name in sorted(packed):
        if name.endswith(".gz") and draw.random() < 0.15:
            packed[name] = damaged(draw, packed[name])
    return packed, prepared.seal is not None and draw.random() < 0.8


def compressed(files: Files) -> Files:
    """Return the files as they are on disk."""
    return {name: gzip.compress(raw, 1, mtime=0) if name.endswith(".gz") else raw for name, raw in files.items()}


def write(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


def attempt(prepared: Prepared, folder: Path, files: Files, is_sealed: bool) -> Finding | str:
    """Return "accepted" or "refused", or what went wrong."""
    write(folder, files)
    if is_sealed and prepared.seal is not None:
        # A changed manifest may name no files any more; then there is nothing to seal.
        with contextlib.suppress(Exception):
            prepared.seal(folder)
    start, before = time.process_time(), signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
    try:
        prepared.read(folder)
        found: Finding | str = "accepted"
    except TooSlow as error:
        found = Finding(f"slow in {_place(error)}", f"more than {2 * MOST_SECONDS:g} s of CPU")
    except RefusedError:
        found = "refused"
    except Exception as error:
        found = _judged(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    took = time.process_time() - start
    if not isinstance(found, Finding) and took > MOST_SECONDS:
        return Finding("slow", f"{took:.1f} s of CPU")
    return found


def try_seeds(target: Target, prepared: Prepared, folder: Path) -> None:
    """Try the inputs that the others are made from: they are accepted."""
    for files in prepared.seeds:
        first = attempt(prepared, folder, compressed(files), prepared.seal is not None)
        assert first == "accepted" or target.name in SOME_REFUSED, (sorted(files), first, prepared.read(folder))


def _judged(error: Exception) -> Finding | str:
    known = None if isinstance(error, MemoryError) else explain(error)
    kind = f"{type(error).__name__} in {_place(error)}"
    if not isinstance(known, PoolwiseError):
        return Finding(kind, "".join(traceback.format_exception(error))[-4000:])
    message = str(known)
    if not message.strip() or len(message) > LONGEST_MESSAGE:
        return Finding(f"message: {kind}", f"a message of {len(message)} characters: {message[:500]}")
    return "refused"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/poolwise/" in frame.filename] or frames
    last = frames[-1]
    own = f"{Path(ours[-1].filename).name}:{ours[-1].name}"
    return own if last is ours[-1] else f"{own} < {Path(last.filename).name}:{last.name}"


def minimised(prepared: Prepared, folder: Path, files: Files, is_sealed: bool, kind: str) -> Files:
    """Return smaller files that go wrong in the same place: parts are left out for as long as that works."""
    until = time.monotonic() + MINIMISING_SECONDS

    def is_same(candidate: Files) -> bool:
        found = attempt(prepared, folder, candidate, is_sealed)
        return isinstance(found, Finding) and found.kind == kind

    for name in sorted(files):
        step = max(1, len(files[name]) // 2)
        while time.monotonic() < until:
            start = 0
            while start < len(files[name]) and time.monotonic() < until:
                raw = files[name]
                smaller = {**files, name: raw[:start] + raw[start + step :]}
                if is_same(smaller):
                    files = smaller
                else:
                    start += step
            if step == 1:
                break
            step //= 2
    return files


def attack(target: Target, seed: int, numbers: range, out: Path, progress: Any) -> None:
    """Try inputs of one target in this process; write findings to ``out`` as they come, and the tally at the end."""
    quiet()
    root = Path(tempfile.mkdtemp(prefix="poolwise-fuzz-"))
    try:
        (root / "target").mkdir()
        prepared = target.prepare(root / "target")
        folder, tally, known = root / "input", Tally(), set[str]()
        try_seeds(target, prepared, folder)
        for number in numbers:
            progress.value = number
            files, is_sealed = input_of(target.name, prepared, seed, number)
            before, start = peak_bytes(), time.process_time()
            found = attempt(prepared, folder, files, is_sealed)
            tally.slowest = max(tally.slowest, (time.process_time() - start, number))
            tally.largest = max(tally.largest, (peak_bytes() - before, number))
            if peak_bytes() - before > MOST_BYTES and not isinstance(found, Finding):
                found = Finding("memory", f"{(peak_bytes() - before) >> 20} MiB")
            if not isinstance(found, Finding):
                tally.accepted += found == "accepted"
                tally.refused += found == "refused"
                continue
            if found.kind not in known and len(known) < MOST_MINIMISED and found.kind != "memory":
                files = minimised(prepared, folder, files, is_sealed, found.kind)
            report(out, target.name, number, found, files if found.kind not in known else None)
            known.add(found.kind)
        (out / "tally.json").write_text(json.dumps([tally.accepted, tally.refused, tally.slowest, tally.largest]))
    except Exception as error:
        (out / "harness.txt").write_text("".join(traceback.format_exception(error)))
        raise
    finally:
        shutil.rmtree(root, ignore_errors=True)


def quiet() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    # Libraries write to the terminal; ours says what was found.
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends


def _too_slow(*_: object) -> None:
    raise TooSlow


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def report(out: Path, target: str, number: int, found: Finding, files: Files | None) -> None:
    with (out / "findings.jsonl").open("a") as file:
        file.write(json.dumps({"number": number, "kind": found.kind, "text": found.text}) + "\n")
    if files is not None:
        name = hashlib.sha256(found.kind.encode()).hexdigest()[:8]
        write(out / f"{target.replace(' ', '-')}-{name}", files)
        (out / f"{target.replace(' ', '-')}-{name}.txt").write_text(f"input {number}\n{found.kind}\n{found.text}\n")


def attacks(target: Target, seed: int, count: int, out: Path) -> Iterator[list[Any]]:
    """Yield the tally of each process that tried inputs of a target; a new one begins after an input that ended one."""
    context = multiprocessing.get_context("fork")
    progress = context.Value("q", -1)
    start = 0
    while start < count:
        (out / "tally.json").unlink(missing_ok=True)
        progress.value = start - 1
        child = context.Process(target=attack, args=(target, seed, range(start, count), out, progress))
        child.start()
        seen, since = start - 1, time.monotonic()
        while child.is_alive():
            child.join(1)
            if progress.value != seen:
                seen, since = progress.value, time.monotonic()
            elif time.monotonic() - since > SILENT_SECONDS:
                child.kill()
        if (out / "tally.json").is_file():
            yield json.loads((out / "tally.json").read_text())
            return
        if (out / "harness.txt").is_file():
            raise SystemExit(f"{target.name}: the benchmark itself fails\n{(out / 'harness.txt').read_text()}")
        if progress.value < start:
            raise SystemExit(f"{target.name} cannot be prepared (exit code {child.exitcode})")
        ended = Finding(f"the process ended with {child.exitcode}", "killed or crashed")
        report(out, target.name, progress.value, ended, None)
        yield [0, progress.value - start, [0.0, -1], [0, -1]]
        start = progress.value + 1


def fuzz(names: list[str], seed: int, inputs: int, out: Path) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Attack some targets, print a line for each, and return how many inputs were tried and the findings by target."""
    total, everything = 0, {}
    for name in names:
        target, begun = TARGETS[name], time.monotonic()
        count = max(1, round(inputs * target.share))
        place = out / name.replace(" ", "-")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        tallies = list(attacks(target, seed, count, place))
        listed = place / "findings.jsonl"
        findings = [json.loads(line) for line in listed.read_text().splitlines()] if listed.is_file() else []
        everything[name], total = findings, total + count
        accepted = sum(tally[0] for tally in tallies)
        slowest, largest = max(tally[2] for tally in tallies), max(tally[3] for tally in tallies)
        print(
            f"{name}: {count:,} inputs, {accepted:,} accepted, {count - accepted - len(findings):,} refused, "
            f"{len(findings)} findings; slowest {slowest[0]:.2f} s (input {slowest[1]}), largest "
            f"{largest[0] / 2**20:.0f} MiB (input {largest[1]}); {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        kinds = {found["kind"]: found for found in reversed(findings)}
        for kind, found in kinds.items():
            same = sum(other["kind"] == kind for other in findings)
            print(f"  input {found['number']} ({same} times): {kind}", flush=True)
    return total, everything


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=8000, help="for each target that is not slow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    asked = parser.parse_args()
    start = time.monotonic()
    total, findings = fuzz(asked.only or list(TARGETS), asked.seed, asked.inputs, asked.out)
    bad = sum(map(len, findings.values()))
    print(f"{total - bad:,} of {total:,} inputs accepted or refused in {time.monotonic() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
