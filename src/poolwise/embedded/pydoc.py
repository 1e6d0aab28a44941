"""``poolwise/pydoc``: training pairs and tasks that need no network.

They are built once from the documentation of the running Python, into a cache folder named by the Python version and a
hash of the builder's code, and then reused.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from poolwise.embedded.pydoc_read import Entry, read_library
from poolwise.embedded.pydoc_rows import BuiltTask, Row
from poolwise.embedded.pydoc_tasks import build_tasks
from poolwise.embedded.pydoc_train import build_pairs, split_entries
from poolwise.errors import DataError
from poolwise.storage.cache import cache_folder
from poolwise.storage.json_lines import iter_json_lines
from poolwise.storage.whole_files import whole_folder

_STS = Path(__file__).parent / "sts"
_METRICS = {
    "sts": "cosine_spearman",
    "retrieval": "ndcg_at_10",
    "classification": "accuracy",
    "clustering": "v_measure",
}


def _iter_texts(task: BuiltTask) -> Iterator[str]:
    fields = ("text", "sentence1", "sentence2")
    return (row[name] for rows in task.files.values() for row in rows for name in fields if row.get(name))


def sts_tasks() -> list[BuiltTask]:
    """Return the hand-graded sentence pairs that come with the package, one task per set."""
    tasks = []
    for path in sorted(_STS.glob("*/test.jsonl")):
        rows = [cast(Row, row) for _, row in iter_json_lines(path)]
        tasks.append(BuiltTask("sts", path.parent.name, {"test": rows}))
    return tasks


def build_all(entries: Sequence[Entry]) -> tuple[list[BuiltTask], list[Row]]:
    """Return all tasks and the training rows made from ``entries``; no training text is close to a task's text."""
    training, evaluation = split_entries(entries)
    tasks = [*sts_tasks(), *build_tasks(evaluation)]
    return tasks, build_pairs(training, (text for task in tasks for text in _iter_texts(task)))


def _save_rows(rows: Sequence[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _save_task(task: BuiltTask, root: Path) -> None:
    folder = root / task.category / task.name
    for name, rows in task.files.items():
        if name != "qrels":
            _save_rows(rows, folder / f"{name}.jsonl.gz")
            continue
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"category": task.category, "metric": _METRICS[task.category], **task.settings}
    text = "".join(f"{key}: {value}\n" for key, value in settings.items())
    (folder / "task.yaml").write_text(text, encoding="utf-8")


def write_pydoc(folder: Path, entries: Sequence[Entry]) -> None:
    """Write ``train.jsonl.gz`` and ``eval/<category>/<name>/`` made from ``entries`` into ``folder``.

    Law: the same entries give the same bytes.
    """
    tasks, rows = build_all(entries)
    for task in tasks:
        _save_task(task, folder / "eval")
    _save_rows(rows, folder / "train.jsonl.gz")


def _folder_name() -> str:
    digest = hashlib.sha256(f"{sys.version}{sys.prefix}{sys.platform}".encode())
    for path in [*sorted(Path(__file__).parent.glob("pydoc*.py")), *sorted(_STS.glob("*/test.jsonl"))]:
        digest.update(path.read_bytes())
    return f"pydoc-{'.'.join(map(str, sys.version_info[:3]))}-{digest.hexdigest()[:12]}"


def pydoc_path() -> Path:
    """Return the folder with the built training pairs and tasks; build it first if it does not exist.

    Building takes a few seconds. Several processes may build at once: the first to finish wins.

    Raises: DataError where Python has no source files or the cache folder cannot be written.
    """
    folder = cache_folder() / _folder_name()
    if folder.is_dir():
        return folder
    with contextlib.ExitStack() as stack:
        try:
            partial = stack.enter_context(whole_folder(folder, is_shared=True))
        except OSError as error:
            raise DataError(
                f"cannot write to the cache folder {folder.parent}: {error}",
                hint="set POOLWISE_CACHE to another folder",
            ) from error
        write_pydoc(partial, read_library())
    return folder


def pydoc_train_path() -> Path:
    """Return the file of training pairs: rows with query, positive and, in most rows, a negative."""
    return pydoc_path() / "train.jsonl.gz"


def pydoc_suite_path() -> Path:
    """Return the folder with the tasks: ``<category>/<name>/``."""
    return pydoc_path() / "eval"
