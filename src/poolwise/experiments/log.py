"""The log of an experiment: an append-only file that one process writes and any number may read.

The folder of an experiment::

    design.yaml        Design
    events.jsonl       the hash of the design, the models of the arms, and one event per line; each line ends with
                       its checksum
    set-aside.jsonl    rows of imported logs that were not taken, with the reason
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from poolwise.errors import ConfigError, DataError
from poolwise.experiments.assignment import assign, user_of
from poolwise.experiments.design import DESIGN, Arm, Design, load_design
from poolwise.experiments.events import (
    Event,
    Exposure,
    Feedback,
    Logged,
    check_exposure,
    check_feedback,
    check_time,
    digest,
    event_line,
    is_list,
    parse_line,
    to_line,
    to_logged,
)
from poolwise.storage.lock import locked

logger = logging.getLogger(__name__)
EVENTS, SET_ASIDE = "events.jsonl", "set-aside.jsonl"
SYNC_SECONDS = 1.0
"""A crash of the machine loses events of the last second at most; a killed process loses none."""
Taken = Literal["counted", "repeated"]


@dataclass(frozen=True)
class LogContents:
    """What a log holds: its events in the order in which they were written, and what could not be read."""

    design: Design
    events: list[Logged]
    problems: list[str]
    num_lines: int = 0
    is_bound: bool = False
    """Whether a line has the hash of the design."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The fingerprint of the model that each arm was served by, as far as a server wrote them."""
    is_damaged: bool = False
    """Whether lines were cut or changed, or are missing."""


class UnknownExposureError(DataError):
    """Feedback names an exposure that is not in the log."""


class ConflictError(DataError):
    """An id was used before, for an event with other contents."""


def load_experiment(folder: Path) -> Design:
    """Return the design of an experiment folder. Raises: ConfigError where there is none or it is wrong."""
    if not (folder / DESIGN).is_file():
        raise ConfigError(
            f"{folder} is no experiment: it has no {DESIGN}",
            hint=f"poolwise experiment {folder} --design FILE makes one",
        )
    return load_design(folder / DESIGN)


def read_log(folder: Path) -> LogContents:
    """Return the events of an experiment. Lines that were cut or changed are left out and named.

    Raises: ConfigError where the design is wrong, or not the one that the log was begun with.
    """
    design = load_experiment(folder)
    events: list[Logged] = []
    problems: list[str] = []
    path = folder / EVENTS
    next_number = 0
    is_bound = False
    is_damaged = False
    models: dict[str, str] = {}
    for line, raw in _lines(path):
        tree = parse_line(raw)
        if tree is None:
            problems.append(f"{path}:{line}: the line was cut or changed; it is left out")
            is_damaged = True
            continue
        if (missing := tree["number"] - next_number) > 0 and len(problems) == 0:
            is_damaged = True
            problems.append(f"{path}:{line}: {missing} line(s) before it are missing")
        next_number = tree["number"] + 1
        if tree["kind"] == "design":
            _require_same(folder, design, tree.get("fingerprint"))
            is_bound = True
            continue
        if tree["kind"] == "models":
            models |= {arm: str(found) for arm, found in tree.items() if arm not in ("number", "time", "kind")}
            continue
        try:
            events.append(to_logged(tree, design))
        except DataError as error:
            problems.append(f"{path}:{line}: {error}; the line is left out")
    if events and not is_bound:
        problems.append(f"{path}: no line has the hash of the design, so nothing tells whether it was changed since")
    return LogContents(design, events, problems, next_number, is_bound, models, is_damaged)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            yield from ((line, raw) for line, raw in enumerate(file, start=1) if raw.strip())


def _require_same(folder: Path, design: Design, begun_with: object) -> None:
    if begun_with != design.fingerprint:
        raise ConfigError(
            f"{folder / DESIGN} was changed after the first event: its hash is {design.fingerprint}, the log was begun "
            f"with {begun_with}",
            "wanted the design as it was: verdicts hold only for a design that was fixed before the data",
            "undo the change, or begin an experiment in a new folder",
        )


class EventLog:
    """Writes the events of one experiment; made by ``open_log``. Threads may share it."""

    def __init__(self, folder: Path, file: FileIO, contents: LogContents, clock: Callable[[], float]) -> None:
        self.design = contents.design
        self.problems = contents.problems
        self.folder = folder
        self._file, self._clock = file, clock
        # Numbers in place of events: a server of months has millions.
        self._known = {logged.event.id: digest(logged.event) for logged in contents.events}
        self._lists = {one.event.id for one in contents.events if is_list(one.event)}
        self._next, self._is_bound, self._models = contents.num_lines, contents.is_bound, dict(contents.models)
        self._has_lost_lines = contents.is_damaged and bool(contents.events)
        self._guard = threading.Lock()
        self._is_unsynced = False
        self._is_cut = False  # whether a full disk cut the last line

    def assign(self, key: str) -> Arm:
        """Return the arm of a user's key, always the same one."""
        return assign(key, self.design)

    def bind(self, models: Mapping[str, str]) -> None:
        """Write which model each arm is, by its fingerprint.

        Raises: ConfigError where an arm was another model in an earlier part of the experiment, or nothing tells which
            it was, because lines of the log were cut or changed.
        """
        with self._guard:
            if self._has_lost_lines and (unknown := sorted(models.keys() - self._models.keys())):
                raise ConfigError(
                    f"lines of {self.folder / EVENTS} were cut or changed, and no other tells which model arm "
                    f"{unknown[0]} was",
                    "wanted the log as it was written: users of two models would be mixed",
                    "put a copy of it in its place, or begin an experiment in a new folder",
                )
            for arm, found in models.items():
                if (before := self._models.get(arm, found)) != found:
                    raise ConfigError(
                        f"arm {arm} is model {found}, and in the log so far it was {before}",
                        "wanted the same weights, pooling, prompts, length and precision: users of both would be mixed",
                        "give the model that it was, or begin an experiment in a new folder",
                    )
            if models.items() - self._models.items():
                self._write_design()
                self._write_line("models", models)
                self._models |= models

    def expose(
        self,
        key: str,
        arm: str | None,
        *,
        id: str | None = None,
        time: float | None = None,
        latency: float | None = None,
        error: bool = False,
        covariate: float | None = None,
        teams: dict[str, str] | None = None,
    ) -> tuple[Exposure, Taken]:
        """Log that a user saw what an arm served; return the exposure, whose id feedback names.

        Args:
            key: the user's key; only its hash is written. time: of the event, where it is not now.
        Raises: DataError where it does not fit the design; ConflictError where its id was used for something else.
        """
        user = user_of(key, self.design)
        latency, covariate = (None if value is None else float(value) for value in (latency, covariate))
        exposure = Exposure(id or secrets.token_hex(12), user, arm, latency, error, covariate, teams)
        check_exposure(exposure, self.design)
        return exposure, self._append(exposure, time)

    def feedback(self, feedback: Feedback, time: float | None = None) -> Taken:
        """Log feedback once, however often it is sent.

        Raises: UnknownExposureError where no exposure has its id; ConflictError where its own id was used for another
            event; DataError where it does not fit the design.
        """
        check_feedback(feedback, self.design)
        if not self._known.get(feedback.exposure, 0) % 2:
            raise UnknownExposureError(
                f"feedback {feedback.id!r} is about exposure {feedback.exposure!r}, which is not in the log",
                hint="send the id that the answer of the server had",
            )
        if feedback.event == "click" and feedback.item is None and feedback.exposure in self._lists:
            raise DataError(
                f"feedback {feedback.id!r} is a click in an interleaved list",
                "wanted its item: the id of the document that was clicked, which says to which arm the click counts",
            )
        return self._append(replace(feedback, value=float(feedback.value)), time)

    def _append(self, event: Event, when: float | None) -> Taken:
        with self._guard:
            if (before := self._known.get(event.id)) is not None:
                if before != digest(event):
                    raise ConflictError(f"the id {event.id!r} was used before, for another event", "wanted a new id")
                return "repeated"
            if when is not None:
                check_time(when)
            self._write_design()
            at = self._clock() if when is None else when
            self._write(event_line(Logged(self._next, at, event, is_given=when is not None)))
            self._next += 1
            self._known[event.id] = digest(event)
            if is_list(event):
                self._lists.add(event.id)
        return "counted"

    def _write_design(self) -> None:
        if not self._is_bound:
            self._write_line("design", {"fingerprint": self.design.fingerprint})
            self._is_bound = True

    def _write_line(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._write(to_line(self._next, self._clock(), kind, fields))
        self._next += 1

    def _write(self, line: bytes) -> None:
        data = b"\n" + line if self._is_cut else line
        self._is_cut = True
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / EVENTS))
        self._is_cut = False
        self._is_unsynced = True

    def sync(self) -> None:
        """Flush what was written since the last call to the disk."""
        if self._is_unsynced:
            self._is_unsynced = False  # first: another thread may write meanwhile
            try:
                os.fsync(self._file.fileno())
            except OSError:
                self._is_unsynced = True
                raise


@contextmanager
def open_log(folder: Path, clock: Callable[[], float] = time.time) -> Iterator[EventLog]:
    """Open the log of an experiment for writing; one process at a time.

    A last line that was cut, by a full disk or a crash, is closed: events that follow are not lost with it.

    Raises: ConfigError where another process writes it, there is no design, or the design was changed.
    """
    load_experiment(folder)
    with locked(folder):
        contents = read_log(folder)
        for problem in contents.problems:
            logger.warning("%s", problem)
        with (folder / EVENTS).open("ab", buffering=0) as file:
            if file.tell() and not _ends_with_newline(folder / EVENTS):
                file.write(b"\n")
            log, is_over = EventLog(folder, file, contents, clock), threading.Event()
            syncing = threading.Thread(target=_sync_until, args=(is_over, log), daemon=True)
            syncing.start()
            try:
                yield log
            finally:
                is_over.set()
                syncing.join()
                log.sync()


def _sync_until(is_over: threading.Event, log: EventLog) -> None:
    while not is_over.wait(SYNC_SECONDS):
        try:
            log.sync()
        except OSError as error:
            logger.error("%s cannot be flushed to the disk: %s", log.folder / EVENTS, error)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
