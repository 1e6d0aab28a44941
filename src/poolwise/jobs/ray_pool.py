"""Workers on a Ray cluster: each loads what it needs once, and the work of one that is lost is done by another."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Generic, TypeVar

from poolwise.errors import ConfigError, ModelError, PoolwiseError
from poolwise.jobs.ray_cluster import Cluster, Share

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

START_SECONDS = 900.0
"""How long the cluster may have no room for any worker: new machines of a cloud take minutes."""
NOTE_SECONDS = 20.0
"""After this long without a worker, the user is told what the pool waits for."""
STARTS = 3
"""So many workers in a row, more than the pool has, may be lost while they start: a node takes all of its own along."""
POLL_SECONDS = 1.0
_STOP_SECONDS = 10.0
_EVENTS = "events"
_PACKAGES = ("poolwise", "torch", "transformers", "sentence-transformers", "tokenizers", "peft", "numpy")
"""What decides the numbers that a worker returns."""

_SETTINGS = (
    *("OMP_WAIT_POLICY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY", "TOKENIZERS_PARALLELISM"),
    *("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"),
)

Tell = Callable[[object], None]
"""Sends an event to the driver, from any thread of a worker."""
Do = Callable[[Any, Tell], Any]
"""Does one piece of work in a worker."""
CheckWorker = Callable[[], None]
OpenWork = Callable[[], Do]
"""Loads what a worker needs. It is pickled, so it must be a function that workers can import, with its arguments."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """A piece of work that has ended: with a result, with the error that it raised, or lost with its workers."""

    item: T
    result: Any = None
    error: BaseException | None = None
    lost: str | None = None


@dataclass(eq=False)
class _Work(Generic[T]):
    item: T
    attempts: int = 0


@dataclass(eq=False)
class _Member(Generic[T]):
    """One worker as the driver sees it: its actor, and the work that it was given, in order."""

    actor: Any
    is_placed: bool = False
    work: list[_Work[T]] = field(default_factory=list)


class RayPool(Generic[T]):
    """Runs pieces of work on the workers of a cluster. One thread uses it; ``close`` leaves no worker behind.

    Args:
        open_work: called once in each worker, after it has been checked.
        check: called in each worker before; what it raises ends the pool.
        depth: how much work a worker is given at a time; 2 lets it go on while the driver takes its last result.
        attempts: how often a piece of work is given to a worker, if workers are lost with it.
        on_event: called with what ``Tell`` sent; None if nothing is sent.
    """

    def __init__(
        self,
        cluster: Cluster,
        share: Share,
        open_work: OpenWork,
        *,
        check: CheckWorker = lambda: None,
        depth: int = 1,
        attempts: int = 2,
        on_event: Callable[[object], None] | None = None,
    ) -> None:
        import ray

        self._ray, self._cluster, self._share = ray, cluster, share
        self._arguments = (open_work, check, share.cpus, _versions(), _level(), _settings())
        self._depth, self._attempts, self._on_event = depth, attempts, on_event
        self._kind = ray.remote(_Worker) if on_event is None else _talking()
        self._todo: deque[_Work[T]] = deque()
        self._starting: dict[Any, _Member[T]] = {}
        self._running: dict[Any, tuple[_Member[T], _Work[T]]] = {}
        self._polls: dict[Any, _Member[T]] = {}
        self._ready: list[_Member[T]] = []
        self._lost_starts = 0
        self._alone_since: float | None = time.monotonic()
        self._was_told = False
        self._polled = 0.0
        for _ in range(share.count):
            self._start()

    @property
    def num_pending(self) -> int:
        """How many pieces of work have not ended."""
        return len(self._todo) + len(self._running)

    def submit(self, item: T) -> None:
        """Give the pool a piece of work."""
        self._todo.append(_Work(item))

    def step(self, seconds: float) -> Iterator[Ended[T]]:
        """Give work to workers, wait until something happens, at most so long, and yield what has ended.

        Raises: ConfigError where the cluster has no room, or a node other versions than the driver; ModelError where
            workers are lost while they start; what ``open_work`` and ``check`` raise, with the node's name.
        """
        self._assign()
        self._poll()
        refs = [*self._running, *self._starting, *self._polls]
        found, _ = self._ray.wait(refs, num_returns=1, timeout=seconds) if refs else ([], [])
        if found and len(refs) > 1:
            found, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        if not refs:
            time.sleep(seconds)
        for ref in found:
            if (member := self._polls.pop(ref, None)) is not None:
                self._take_events(ref, member)
            elif (member := self._starting.pop(ref, None)) is not None:
                self._started(ref, member)
            elif (running := self._running.pop(ref, None)) is not None:
                yield from self._ended(ref, *running)
        self._require_workers()

    def close(self) -> None:
        """End all workers at once; work that has not ended is dropped."""
        running = [*self._running, *self._starting]
        for member in [*self._ready, *self._starting.values()]:
            self._kill(member)
        # Until the cluster says so, a worker may still write.
        with contextlib.suppress(Exception):
            self._ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)
        self._running, self._starting, self._ready, self._polls = {}, {}, [], {}
        self._todo.clear()

    def _start(self) -> None:
        actor = self._kind.options(
            num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        ).remote(*self._arguments)
        self._starting[actor.check.remote()] = _Member(actor)

    def _started(self, ref: Any, member: _Member[T]) -> None:
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            self._kill(member)
            self._lost_starts += 1
            if self._lost_starts >= STARTS + self._share.count:
                raise ModelError(
                    f"{self._lost_starts} workers in a row were lost while they started: {_reason(error)}",
                    "wanted workers that start, on nodes that have poolwise and Ray in the versions of the driver",
                    "give each more memory (fewer workers, larger nodes)",
                ) from error
            self._start()
            return
        if not member.is_placed:
            member.is_placed, self._alone_since = True, None
            self._starting[member.actor.open.remote()] = member
            return
        self._lost_starts = 0
        self._ready.append(member)

    def _assign(self) -> None:
        # Shortest first, so that no worker is given a second piece of work while another has none.
        for length in range(self._depth):
            for member in self._ready:
                # Work that a worker was lost with is done alone, so that it alone is blamed for the next one.
                if (
                    self._todo
                    and len(member.work) == length
                    and not any(work.attempts for work in [self._todo[0], *member.work] if length)
                ):
                    work = self._todo.popleft()
                    member.work.append(work)
                    self._running[member.actor.run.remote(work.item)] = (member, work)

    def _ended(self, ref: Any, member: _Member[T], work: _Work[T]) -> Iterator[Ended[T]]:
        try:
            result, events = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            member.work.remove(work)
            yield Ended(work.item, error=error.cause)
        except self._ray.exceptions.RayError as error:
            yield from self._lost(member, error)
        else:
            member.work.remove(work)
            self._pass_on(events)
            yield Ended(work.item, result)

    def _lost(self, member: _Member[T], error: Exception) -> Iterator[Ended[T]]:
        """Give the work of a lost worker to others, and start another in its place."""
        self._kill(member)
        self._running = {ref: running for ref, running in self._running.items() if running[0] is not member}
        self._polls = {ref: other for ref, other in self._polls.items() if other is not member}
        self._ready.remove(member)
        again = []
        for work in member.work:
            work.attempts += 1
            if work.attempts >= self._attempts:
                yield Ended(work.item, lost=_reason(error))
            else:
                again.append(work)
        if again:
            logger.warning("a worker was lost, and its work is done again: %s", _reason(error))
        self._todo.extendleft(reversed(again))
        self._start()

    def _poll(self) -> None:
        """Ask running workers for their events, at most once in ``POLL_SECONDS``."""
        if self._on_event is None or time.monotonic() < self._polled + POLL_SECONDS:
            return
        self._polled = time.monotonic()
        for member in {member for member, _ in self._running.values()} - set(self._polls.values()):
            self._polls[member.actor.events.remote()] = member

    def _take_events(self, ref: Any, member: _Member[T]) -> None:
        # A lost worker is noticed by its work.
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._pass_on(self._ray.get(ref))

    def _pass_on(self, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, logging.LogRecord):
                logging.getLogger(event.name).handle(event)
            elif self._on_event is not None:
                self._on_event(event)

    def _require_workers(self) -> None:
        """Raise ConfigError where the cluster has had no room for a worker for too long; before, tell the user."""
        if any(member.is_placed for member in [*self._ready, *self._starting.values()]):
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        seconds = time.monotonic() - self._alone_since
        if seconds < NOTE_SECONDS or (self._was_told and seconds < START_SECONDS):
            return
        nodes = self._cluster.nodes()
        cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        has = f"{cpus} CPUs and {gpus} GPUs on {len(nodes)} nodes"
        if seconds >= START_SECONDS:
            raise ConfigError(
                f"{self._cluster} had no room for a worker in {START_SECONDS:.0f} s: it has {has}, also for others",
                f"wanted {self._share}",
                "ask for fewer workers, or give the cluster more nodes; the same command then resumes",
            )
        self._was_told = True
        logger.warning("waiting for %s: wanted %s; it has %s", self._cluster, self._share, has)

    def _kill(self, member: _Member[T]) -> None:
        with contextlib.suppress(Exception):  # it may be gone, and so may the cluster
            self._ray.kill(member.actor, no_restart=True)


class _Worker:
    """The process on a node, as Ray runs it; calls run in order."""

    def __init__(
        self,
        open_work: OpenWork,
        check: CheckWorker,
        threads: int,
        versions: dict[str, str],
        level: int,
        settings: dict[str, str],
    ) -> None:
        # Before torch is imported, which reads some of them once.
        os.environ |= settings | dict(os.environ)
        self._open, self._check, self._threads, self._versions = open_work, check, threads, versions
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        ours = logging.getLogger("poolwise")
        # The driver alone talks to the user.
        ours.handlers, ours.propagate = [logging.handlers.QueueHandler(self._events)], False
        ours.setLevel(level)

    def check(self) -> None:
        with _named():
            if differing := [
                f"{name} {found}, the driver {self._versions[name]}"
                for name, found in _versions().items()
                if found != self._versions[name]
            ]:
                raise ConfigError(
                    f"it has {'; '.join(differing)}", "wanted the same versions", "use one image for all nodes"
                )
            self._check()

    def open(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        with _named():
            self._do = self._open()

    def run(self, item: Any) -> tuple[Any, list[object]]:
        result = self._do(item, self._events.put)
        return result, self._taken()

    def _taken(self) -> list[object]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get_nowait())
        return found


def _talking() -> Any:
    """Return the kind of worker that can be asked for its events while it works."""
    import ray

    class Talking(_Worker):
        # Not an option of the call, which ray:// does not take.
        @ray.method(concurrency_group=_EVENTS)  # type: ignore[untyped-decorator]
        def events(self) -> list[object]:
            return self._taken()

    return ray.remote(concurrency_groups={_EVENTS: 1})(Talking)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Put the node's name before an error that the user can fix."""
    import ray

    try:
        yield
    except PoolwiseError as error:
        raise type(error)(f"node {ray.util.get_node_ip_address()}: {error.got}", error.wanted, error.hint) from error


def _versions() -> dict[str, str]:
    """Return versions without their local part: a driver without a GPU has torch 2.13.0+cpu."""
    return {name: metadata.version(name).partition("+")[0] for name in _PACKAGES}


def _level() -> int:
    return logging.getLogger("poolwise").getEffectiveLevel()


def _settings() -> dict[str, str]:
    """Return this process's settings of libraries, which a worker takes where its node has none."""
    return {name: os.environ[name] for name in _SETTINGS if name in os.environ}


def _reason(error: Exception) -> str:
    """Return the sentence of an error of Ray that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # The cause of a death comes last; Ray's own guard of the memory puts advice there.
    line = lines[0] if type(error).__name__ == "OutOfMemoryError" else lines[-1]
    return line.split(". ")[0]
