"""Every file of a study and a screen, damaged in four ways: the same command gives the same results or one clear error.

python benchmarks/faults.py [--every N] [--kills [N] [--seed S]] [--interrupts [N] [--seed S]] [--writes [N]] [--disks]

A small study on the embedded base is run to its end, and another is stopped in a training, after a checkpoint; so is a
screen, whose states are then stored. For each file of these folders and each way of damage, a copy of the folder is
damaged and the command repeated in a process of its own. It must end in results that equal those of an undisturbed run
bit for bit, or in an error that the user can fix, which names the file; never in a traceback and never in other
results. The last line counts them.

--every N tries each N-th case only.

--kills N (50 by default) instead kills four works with SIGKILL, with all processes of their group, at N random moments
each, and repeats the call: a study, a study in two workers, an encoding and an index build. The results must equal
those of an undisturbed run bit for bit, no temporary file may remain, and no finished job or shard be made again.

--interrupts N does the same with Ctrl-C, after which each work must also end by itself within two seconds.

--writes N kills a study, an encoding and an index build just before N of the writes of each, evenly spaced, or before
every one: a moment between two writes can be too short for a random kill to meet it.

--disks instead tries indexes and experiments on a full disk, a read-only one, and in a folder of another user, and
studies, trainings, encodings and exports on disks that are too small and then grow; as root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _disks
import _kills

import poolwise
from poolwise.config import Recipe, build_recipe
from poolwise.corpus import CorpusConfig, encode_corpus
from poolwise.embedded.pydoc import pydoc_suite_path
from poolwise.errors import explain
from poolwise.jobs import Job, Progress
from poolwise.models import build_model
from poolwise.screening.screen import run_screen
from poolwise.search import build_index
from poolwise.study import preload  # noqa: F401  # each case is forked from here, so it imports nothing again
from poolwise.study.study import run_study


def emptied(raw: bytes) -> bytes:
    return b""


def truncated(raw: bytes) -> bytes:
    return raw[: len(raw) * 2 // 3]


def flipped(raw: bytes) -> bytes:
    place = len(raw) // 2
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "deleted": None,
    "emptied": emptied,
    "truncated": truncated,
    "one bit flipped": flipped,
}
REPORTS = ("report.html", "report.md", "report.tex", "README.md", "card.yaml")
"""Files that only people read; each command that ends writes them again."""


def recipe() -> Recipe:
    return build_recipe(
        {
            "name": "faults",
            "base": "poolwise/nano",
            "designs": ["mlp+causal"],
            "reference": "mlp+causal",
            "seeds": [0],
            "data": {"train": ["poolwise/pydoc"], "max_rows": 64},
            "train": {"steps": 4, "batch_size": 4, "max_tokens": 24, "save_steps": 2, "precision": "fp32"},
            "eval": {"max_tokens": 24, "precision": "fp32"},
            "tasks": [str(pydoc_suite_path() / name) for name in ("sts/pysts-code", "classification/pydoc-kind")],
            "max_items": 20,
            "anchors": ["random"],
        }
    )


Run = Callable[..., Any]
"""``run_study`` or ``run_screen``."""


class Stops(Progress):
    """Ends the study in the third step of the training, as a kill there does: nothing is written any more."""

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        if job.kind == "train" and done == 3 and "loss" in detail:
            raise KeyboardInterrupt


def attempt(out: Path, run: Run, sender: Any) -> None:
    try:
        run(recipe(), out, workers=1)
        sender.send(("results", json.loads((out / "results.json").read_text())["results"]))
    except BaseException as error:
        known = explain(error) if isinstance(error, Exception) else None
        sender.send(("refused", str(known)) if known else ("traceback", f"{type(error).__name__}: {error}"))


def in_child(work: Callable[[], Any]) -> None:
    """Do some work in a process of its own: a process that has computed in several threads cannot be forked later."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0, child.exitcode


def stop_early(out: Path, run: Run) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        run(recipe(), out, Stops(), workers=1)


def in_fork(out: Path, run: Run) -> tuple[str, Any]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=attempt, args=(out, run, sender))
    child.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = ("traceback", "the process died")
    child.join()
    return found  # type: ignore[no-any-return]


def works(root: Path) -> list[_kills.Work]:
    """Return what is killed: two studies, an encoding of 256 texts in 16 shards, and an index of them."""
    texts, model, corpus = root / "texts.jsonl", str(root / "model"), root / "corpus"
    rows = [{"id": f"d{n}", "text": f"text {n} of many, with {n * n} words or {n % 7} at least"} for n in range(256)]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CorpusConfig(precision="fp32", shard_rows=16, keep_text=True)
    in_child(lambda: build_model("mean+causal", "poolwise/nano", method="frozen").save(model))
    in_child(lambda: encode_corpus(model, [str(texts)], corpus, config))
    studies = {
        "study": lambda out: run_study(recipe(), out, workers=1),
        "study in two workers": lambda out: run_study(recipe(), out, workers=2),
    }
    return [
        *(_kills.Work(name, run, _kills.study_content, _kills.finished_jobs) for name, run in studies.items()),
        _kills.Work(
            "encode",
            lambda out: encode_corpus(model, [str(texts)], out, config),
            lambda out: _kills.content_of(out, "**/*"),
            _kills.finished_shards,
        ),
        _kills.Work(
            "index",
            lambda out: build_index(corpus, out, backend="exact", hybrid=True).close(),
            _kills.index_content,
            lambda out: {},
        ),
    ]


def kills(count: int, seed: int, *, interrupts: bool = False) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        tried, problems = _kills.kill_all(works(Path(name)), Path(name) / "kills", count, seed, interrupts=interrupts)
    print(f"{tried - len(problems)} of {tried} kills survived in {time.monotonic() - start:.0f} s, seed {seed}")
    return 1 if problems else 0


def writes(most: int) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        # The writes of other processes are not seen.
        alone = [work for work in works(Path(name)) if work.name != "study in two workers"]
        tried, problems = _kills.kill_before_writes(alone, Path(name) / "kills", most)
    print(f"{tried - len(problems)} of {tried} kills survived in {time.monotonic() - start:.0f} s")
    return 1 if problems else 0


def writing_works(root: Path, known: list[_kills.Work]) -> list[_kills.Work]:
    """Return what is tried on disks that are too small: a study, a training, an encoding and an export."""
    model = str(root / "model")
    data = root / "pairs.jsonl"
    settings = {"train.steps": 4, "train.batch_size": 4, "train.save_steps": 2, "train.max_tokens": 24}
    rows = [{"anchor": f"question {n} of {n * n}", "positive": f"answer {n} to {n * n}"} for n in range(32)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *(work for work in known if work.name in ("study", "encode")),
        _kills.Work(
            "train",
            lambda out: poolwise.train("mlp+causal", str(data), out, settings=settings),
            lambda out: _kills.content_of(out, "**/*.safetensors", "schedules/*"),
            lambda out: {},
        ),
        _kills.Work(
            "export",
            lambda out: poolwise.export_model(model, "sentence-transformers", out),
            lambda out: _kills.content_of(out, "**/*.safetensors", "**/*.py", "**/*.json"),
            lambda out: {},
        ),
    ]


def disks() -> int:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        known = works(root)  # which encodes the corpus
        root.chmod(0o755)
        tried, problems = _disks.try_disks(root / "corpus", root)
        more, others = _disks.try_works(writing_works(root, known), root)
        tried, problems = tried + more, problems + others
    print("\n".join(problems))
    print(f"{tried - len(problems)} of {tried} cases ended as they should")
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--kills", type=int, nargs="?", const=50, default=0)
    parser.add_argument("--interrupts", type=int, nargs="?", const=20, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writes", type=int, nargs="?", const=10**6, default=0)
    parser.add_argument("--disks", action="store_true")
    given = parser.parse_args()
    if given.disks:
        return disks()
    if given.kills:
        return kills(given.kills, given.seed)
    if given.interrupts:
        return kills(given.interrupts, given.seed, interrupts=True)
    if given.writes:
        return writes(given.writes)
    every = given.every
    start, counts, bad = time.monotonic(), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = {
            f"{state} {what}": (root / f"{state}-{what}", run)
            for what, run in {"study": run_study, "screen": run_screen}.items()
            for state in ("finished", "stopped")
        }
        wanted = {}
        for name, (folder, run) in folders.items():
            if name.startswith("finished"):
                in_child(partial(run, recipe(), folder, workers=1))
                wanted[run] = json.loads((folder / "results.json").read_text())["results"]
            else:
                in_child(partial(stop_early, folder, run))
        cases = [
            (name, path.relative_to(folder), damage)
            for name, (folder, _) in folders.items()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in REPORTS
            for damage in DAMAGES
        ]
        for state, path, damage in cases[::every]:
            folder, run = folders[state]
            copy = root / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            spoil = DAMAGES[damage]
            (copy / path).unlink() if spoil is None else (copy / path).write_bytes(spoil((copy / path).read_bytes()))
            kind, found = in_fork(copy, run)
            if kind == "results":
                kind = "same results" if found == wanted[run] else "OTHER RESULTS"
            elif kind == "refused" and path.name not in found:
                kind = "refused without the name of the file"
            counts[kind] += 1
            if kind not in ("same results", "refused"):
                bad.append(f"{state} {path} {damage}: {kind} {'' if kind == 'OTHER RESULTS' else found}")
                print(bad[-1], flush=True)
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    total, took = sum(counts.values()), time.monotonic() - start
    print(f"{total - len(bad)} of {total} faults survived in {took:.0f} s: {shown}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
