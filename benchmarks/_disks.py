"""What is written to a full disk, a read-only one, and a folder of somebody else: refused or served, whole.

Studies, trainings, encodings and exports go on when there is room again; indexes and experiments keep what was whole.

Needs Linux and root, for tmpfs mounts; what is denied is tried as the user ``nobody``.
"""

from __future__ import annotations

import encodings.utf_8_sig  # noqa: F401  # the user nobody may not be able to read Python's own files
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import _kills
import numpy as np

from poolwise.errors import explain
from poolwise.experiments import analyse, open_log, save_design
from poolwise.experiments.design import Design
from poolwise.search import build_index, open_index

NOBODY = 65534
FULL = "the disk is full"
ROOM = 16_384
"""Bytes that stay free on a full disk: for a lock and the beginning of a file."""
SHARES = (0.02, 0.5, 0.95, 1.2, 1.5, 1.8)
"""Sizes of disks on which a work is tried, of the room that its finished folder takes; at work it needs more."""
DESIGN = Design.model_validate(
    {
        "name": "faults",
        "arms": [{"name": "A", "share": 50}, {"name": "B", "share": 50}],
        "metrics": [{"name": "clicked", "kind": "binary", "event": "click", "expected": 0.3, "margin": 0.1}],
        "salt": "0123456789abcdef" * 2,
    }
)


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A tmpfs of a size in an empty folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def traffic(folder: Path) -> None:
    with open_log(folder) as log:
        for number in range(2000):
            log.expose(f"user {number}", log.assign(f"user {number}").name)


def ask(folder: Path) -> None:
    with open_index(folder) as index:
        index.search(np.ones((1, index.record.dim), np.float32), 3)


def attempt(work: Callable[[], Any], as_nobody: bool = False) -> str:
    """Return "works", "refused: ..." or "BUG: ..." of some work, done in a process of its own."""
    receiver, sender = _kills.FORK.Pipe(duplex=False)

    def child() -> None:
        if as_nobody:
            os.setuid(NOBODY)
        try:
            work()
            sender.send("works")
        except Exception as error:
            known = explain(error)
            sender.send(f"refused: {known}" if known else f"BUG: {type(error).__name__}: {error}")

    process = _kills.FORK.Process(target=child)
    process.start()
    sender.close()
    try:
        found = str(receiver.recv())
    except EOFError:
        found = "BUG: the process died"
    process.join()
    return found


def try_works(works: list[_kills.Work], root: Path) -> tuple[int, list[str]]:
    """Run each work on disks that are too small, then once more with room, and on a read-only one.

    Returns how many cases were tried, and problems.

    The first run must be refused in words, or end where the room is enough; the second must end with
    the files of an undisturbed run, make nothing finished again, and leave nothing behind.
    """
    problems, tried = [], 0
    for work in works:
        whole = root / f"whole {work.name}"
        whole.mkdir()
        if (found := attempt(partial(work.run, whole / "out"))) != "works":
            problems.append(f"{work.name}, undisturbed: {found}")
            continue
        wanted = work.content(whole / "out")
        kib = sum(-(-path.stat().st_size // 4096) * 4 for path in whole.rglob("*") if path.is_file())
        for share in SHARES:
            tried += 1
            with disk(root / "disk", f"{max(16, int(share * kib))}k") as place:
                first = attempt(partial(work.run, place / "out"))
                before = work.finished(place / "out")
                subprocess.run(["mount", "-o", "remount,size=2g", str(place)], check=True)
                wrong = [] if first == "works" or (first.startswith("refused: ") and FULL in first) else [first]
                second = first if first == "works" else attempt(partial(work.run, place / "out"))
                if second != "works":
                    wrong.append(f"with room again: {second}")
                else:
                    wrong += filter(None, _kills.difference(work, place, wanted, before))
            problems += [f"{work.name}, {share:.0%} of the room: {found}" for found in wrong]
            print(f"{work.name}, {share:.0%} of the room: {'; '.join(wrong) or first}", flush=True)
        with disk(root / "disk", "2g") as place:
            shutil.copytree(whole / "out", place / "out")
            read_only(place)
            for name, wanted_first in (("out", ("works", "refused: ")), ("new", ("refused: ",))):
                tried += 1
                found = attempt(partial(work.run, place / name))
                if not found.startswith(wanted_first) or work.content(place / "out") != wanted:
                    problems.append(f"{work.name}, {name}, read-only: {found}")
                print(f"{work.name}, {name}, read-only: {found}", flush=True)
    return tried, problems


def try_disks(corpus: Path, root: Path) -> tuple[int, list[str]]:
    """Try every case, and print it; return how many were tried, and those that ended otherwise than they should."""
    place, problems, tried = root / "disk", [], 0

    def case(name: str, wanted: str, folder: Path, work: Callable[[], Any], as_nobody: bool = False) -> None:
        nonlocal tried
        before, tried = _kills.content_of(folder, "**/*"), tried + 1
        found = attempt(work, as_nobody)
        kept = {file: known for file, known in _kills.content_of(folder, "**/*").items() if file in before}
        grows = {file for file in before if file.endswith("events.jsonl")}  # a log keeps what it took
        if not found.startswith(wanted) or {**before, **{f: kept.get(f) for f in grows}} != kept:
            problems.append(f"{name}: {found}{'' if kept == before else '; files were changed'}")
        print(f"{name}: {found}", flush=True)

    def build(out: Path) -> Callable[[], Any]:
        return lambda: build_index(corpus, out, backend="exact").close()

    with disk(place, "16k"):
        case("index, full disk", f"refused: {FULL}", place / "index", build(place / "index"))
        save_design(DESIGN, place / "ab")
        case("experiment, full disk", f"refused: {FULL}", place / "ab", lambda: traffic(place / "ab"))
        case("experiment, full disk, again", f"refused: {FULL}", place / "ab", lambda: traffic(place / "ab"))
        case("analysis, full disk", "works", place / "ab", lambda: analyse(place / "ab"))
        read_only(place)
        case("experiment, read-only", "refused: ", place / "ab", lambda: traffic(place / "ab"))
        case("analysis, read-only", "works", place / "ab", lambda: analyse(place / "ab"))
        case("new experiment, read-only", "refused: ", place / "new", lambda: save_design(DESIGN, place / "new"))
    with disk(place, "3m"):
        build(place / "index")()
        save_design(DESIGN, place / "ab")
        free = os.statvfs(place)
        (place / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - ROOM))
        case("index replaced, full disk", f"refused: {FULL}", place / "index", build(place / "index"))
        case("search, full disk", "works", place / "index", lambda: ask(place / "index"))
        for name, work in (("index", build(place / "index")), ("new index", build(place / "new"))):
            case(f"{name}, denied", "refused: ", place / "index", work, as_nobody=True)
        case("experiment, denied", "refused: ", place / "ab", lambda: traffic(place / "ab"), as_nobody=True)
        read_only(place)
        case("index replaced, read-only", "refused: ", place / "index", build(place / "index"))
        case("search, read-only", "works", place / "index", lambda: ask(place / "index"))
    return tried, problems
