"""Kills a study, an encoding and an index build with SIGKILL, and compares what the same call makes.

The moments are random, or just before each write: every change of a file or a name below the folder of the work.

Each runs in a process group of its own, forked from here, so that nothing is imported again: a moment is one of the
work, not of the imports.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")
PATIENCE = 20
"""How many times as long as undisturbed a repetition may take before it counts as hanging; at least a minute."""
MOST_SECONDS = 2.0
"""How long a work may take to end after Ctrl-C; a step of these trainings takes milliseconds."""
Tries = Iterator[tuple[str, bool, str]]
"""Of each kill: the moment in words, whether the work was still running, and what is wrong after it."""
Content = dict[str, str]
"""What must be the same in the end: the hash of each file, or of the part of it that holds no time, by its path."""


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Args:
        run: does it, or goes on with it, into a folder.
        content: what a finished folder holds.
        finished: what a killed run has finished, and a second may not do again; by any key, equal if it was kept.
    """

    name: str
    run: Callable[[Path], Any]
    content: Callable[[Path], Content]
    finished: Callable[[Path], dict[str, Any]]


def begin(work: Work, out: Path, writes: Writes | None = None) -> Any:
    """Start the work in a process that leads a new process group, and return the process."""
    process = FORK.Process(target=_lead, args=(work, out, writes))
    process.start()
    return process


class Writes:
    """Counts the writes of a process below a folder, and kills its group before the one with a number.

    Counted is what Python does itself, in any thread: not what a library writes into a file that it opened, and not
    what another process does.
    """

    def __init__(self, place: Path, last: int = 0) -> None:
        self.count = FORK.Value("i", 0)
        self._place, self._last = str(place), last

    def watch(self) -> None:
        """Begin to count in this process, which cannot be undone."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES and not (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not any(str(path).startswith(self._place) for path in arguments[:2] if isinstance(path, (str, Path))):
            return
        with self.count.get_lock():
            self.count.value += 1
            if self.count.value == self._last:
                os.killpg(0, signal.SIGKILL)


CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
"""The audit events of Python that change a file or a name. An open counts too if it is for writing."""


def _lead(work: Work, out: Path, writes: Writes | None) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background work ignores it otherwise
    with (out.parent / "messages.txt").open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        if writes is not None:
            writes.watch()
        try:
            work.run(out)
        except BaseException:
            traceback.print_exc(file=file)
            file.flush()
            os._exit(1)
    os._exit(0)


def kill_group(process: Any) -> None:
    """Kill a process and all that it started; one that has not made its group yet is alone."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    process.join()


def finish(work: Work, out: Path, seconds: float) -> str:
    """Run the work to its end, and return what went wrong; empty if nothing did."""
    process = begin(work, out)
    process.join(max(60.0, PATIENCE * seconds))
    if process.is_alive():
        kill_group(process)
        return "hangs"
    if process.exitcode != 0:
        lines = (out.parent / "messages.txt").read_text().strip().splitlines()
        return f"fails: {lines[-1] if lines else process.exitcode}"
    return ""


def try_kill(
    work: Work,
    place: Path,
    wanted: Content,
    seconds: float,
    *,
    moment: float | None = None,
    write: int = 0,
    interrupts: bool = False,
) -> tuple[bool, str]:
    """Kill the work and run it again; return whether it was killed while it ran, and what is wrong then.

    Args:
        moment: kill after so many seconds.
        write: kill before the write with this number instead.
        interrupts: press Ctrl-C instead, after which the work must end by itself within ``MOST_SECONDS``.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    out = place / "out"
    process = begin(work, out, Writes(place, write) if write else None)
    process.join(moment)
    was_running = process.is_alive() or process.exitcode == -signal.SIGKILL
    if interrupts and was_running:
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.join(60)
        took = time.monotonic() - start
        kill_group(process)
        if took > MOST_SECONDS:
            return True, f"ended {took:.1f} s after Ctrl-C"
        print(f"{work.name}: ended {took:.2f} s after Ctrl-C", flush=True)
    else:
        kill_group(process)
    before = work.finished(out)
    if problem := finish(work, out, seconds):
        return was_running, problem
    return was_running, "; ".join(found for found in difference(work, place, wanted, before) if found)


def difference(work: Work, place: Path, wanted: Content, before: dict[str, Any]) -> list[str]:
    """Return what is wrong with the finished folder ``place/out``."""
    found, after = work.content(place / "out"), work.finished(place / "out")
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    again = sorted(name for name, known in before.items() if after.get(name) != known)
    left = temporary_files(place)
    return [
        f"other results: {', '.join(differing[:3])} ({len(differing)} in all)" if differing else "",
        f"done again: {', '.join(again[:3])}" if again else "",
        f"left behind: {', '.join(left[:3])}" if left else "",
    ]


def temporary_files(place: Path) -> list[str]:
    """Return what a finished folder should not hold, or have beside it: hidden and partial files, checkpoints, work."""
    return [
        str(path.relative_to(place))
        for path in sorted(place.rglob("*"))
        if path.name.startswith(".") or path.suffix == ".partial" or path.name in ("checkpoints", "partial", "work")
    ]


def content_of(out: Path, *patterns: str) -> Content:
    """Return the hashes of files by their path."""
    paths = {path for pattern in patterns for path in out.glob(pattern) if path.is_file()}
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def study_content(out: Path) -> Content:
    """Return the results of a study, its weights and its scores; of logs and manifests, what is no time."""
    found = content_of(out, "**/*.safetensors", "**/*.json.gz", "schedules/*", "study.json")
    found["results"] = _hash(json.loads((out / "results.json").read_text())["results"])
    for path in sorted(out.rglob("training.jsonl")):
        steps = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(out))] = _hash([step | {"seconds": 0} for step in steps])
    for path in sorted(out.glob("runs/*/run.json")):
        manifest = json.loads(path.read_text()) | {"cost": None, "model": None}
        found[str(path.relative_to(out))] = _hash(manifest)
    return found


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def finished_jobs(out: Path) -> dict[str, Any]:
    """Return the states of the jobs that are done: a job that runs again has other seconds."""
    states = {path.name: path.read_bytes() for path in (out / "jobs").glob("*.json")}
    return {name: raw for name, raw in states.items() if json.loads(raw)["status"] == "done"}


def finished_shards(out: Path) -> dict[str, Any]:
    """Return when each shard with a record was written."""
    records = [json.loads(path.read_text()) for path in (out / "work").glob("*.json")]
    if (out / "manifest.json").is_file():
        records += json.loads((out / "manifest.json").read_text())["shards"]
    names = {file["name"] for record in records for file in record["files"]}
    return {name: path.stat().st_mtime_ns for name in names if (path := out / "shards" / name).is_file()}


def index_content(out: Path) -> Content:
    """Return the files of an index, and its record without the name and the checksum, which no two indexes share."""
    found = content_of(out, "*.arrow", "*.npy", "backend/**/*", "words/**/*")
    record = json.loads((out / "index.json").read_text())
    return found | {"index.json": _hash(record | {"name": "", "checksum": ""})}


def kill_all(
    works: list[Work], root: Path, kills: int, seed: int, *, interrupts: bool = False
) -> tuple[int, list[str]]:
    """Kill each work at ``kills`` random moments; print a line for each kind; return how many were tried, and problems.

    Moments are drawn over the time that the work takes undisturbed; a work that ended before counts as not killed.

    Args:
        interrupts: as in ``try_kill``.
    """

    def try_all(work: Work, place: Path, wanted: Content, seconds: float) -> Tries:
        draw = random.Random(f"{seed} {work.name}")
        for _ in range(kills):
            moment = draw.uniform(0, seconds)
            yield f"after {moment:.2f} s", *try_kill(work, place, wanted, seconds, moment=moment, interrupts=interrupts)

    return _try_works(works, root, try_all)


def kill_before_writes(works: list[Work], root: Path, most: int) -> tuple[int, list[str]]:
    """Kill each work before each of its writes, or before ``most`` of them, evenly spaced; as ``kill_all``."""

    def try_all(work: Work, place: Path, wanted: Content, seconds: float) -> Tries:
        shutil.rmtree(place)
        place.mkdir()
        writes = Writes(place)
        begin(work, place / "out", writes).join()
        count = writes.count.value
        tried = min(most, count)
        print(f"{work.name}: {count} writes", flush=True)
        for number in sorted({1 + count * step // tried for step in range(tried)}):
            yield f"before write {number}", *try_kill(work, place, wanted, seconds, write=number)

    return _try_works(works, root, try_all)


def _try_works(
    works: list[Work], root: Path, try_all: Callable[[Work, Path, Content, float], Tries]
) -> tuple[int, list[str]]:
    tried, problems = 0, []
    for work in works:
        start, place = time.monotonic(), root / work.name
        place.mkdir(parents=True)
        if problem := finish(work, place / "out", 600):
            problems.append(f"{work.name}, undisturbed: {problem}")
            continue
        seconds = time.monotonic() - start
        count = survived = num_killed = 0
        for moment, was_killed, problem in try_all(work, place, work.content(place / "out"), seconds):
            count, num_killed, survived = count + 1, num_killed + was_killed, survived + (not problem)
            if problem:
                problems.append(f"{work.name}, kill {count} {moment} of {seconds:.2f} s: {problem}")
                print(problems[-1], flush=True)
        tried += count
        print(
            f"{work.name}: {survived} of {count} survived, {num_killed} killed while running "
            f"({seconds:.1f} s undisturbed)",
            flush=True,
        )
    return tried, problems
