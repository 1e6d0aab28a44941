"""Engines: what turns a stream of tasks into shards, in this process or in several."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolwise.corpus.manifest import Output, Rejected, ShardRecord
from poolwise.corpus.quantise import to_stored
from poolwise.corpus.rows import Row
from poolwise.corpus.shards import rows_table, save_shard
from poolwise.crashes import tell_crashes
from poolwise.errors import ModelError
from poolwise.hangup import ignore_hangup
from poolwise.jobs import end_with_parent, prepare_workers, usable_cores
from poolwise.jobs.rank_processes import free_gpu_memory

T = TypeVar("T")
_POLL_SECONDS = 0.2
STOP_SECONDS = 5.0
"""How long an interrupted run waits for the thread that reads rows."""


@dataclass(frozen=True)
class ShardTask:
    """The rows of one shard.

    Args:
        start: how many rows of the input had been read before the first of them.
        position: how many with the last.
    """

    number: int
    rows: list[Row]
    start: int
    position: int


@dataclass(frozen=True)
class ShardResult:
    """A finished shard, and its rows that were set aside."""

    position: int
    record: ShardRecord
    rejected: list[Rejected] = field(default_factory=list)


Encode = Callable[[Sequence[Row], Callable[[int], None]], NDArray[np.float32]]
"""Returns the embeddings (N D) of rows, in order; the function given is called with the number of rows done."""


Results = Generator[ShardResult, None, None]
"""Finished shards; closing it ends what still runs."""


class Engine(Protocol):
    """Encodes tasks and writes their shards; the results come as they finish.

    It takes tasks no faster than it finishes them, so that memory stays flat. When the caller closes the iterator, it
    ends at once; a shard that was not finished then is not there.
    """

    def run(self, tasks: Iterator[ShardTask], on_rows: Callable[[int], None]) -> Results:
        """Yield a result for each task.

        Args:
            on_rows: called with the rows of the input that are done, between results where the engine knows them.
        """
        ...


@dataclass(frozen=True)
class ShardWriter:
    """Writes the shard of a task: the last step of every engine.

    Args:
        folder: of the corpus.
        ranges: of int8 (2 D).
    """

    folder: Path
    output: Output
    ranges: NDArray[np.float32] | None = None

    def write(self, task: ShardTask, vectors: NDArray[np.float32]) -> ShardResult:
        """Write a shard; rows whose embedding is not finite are set aside.

        Raises: ModelError where no embedding is finite; OSError where the disk is full.
        """
        return self.save(task, *self.pack(vectors))

    def pack(self, vectors: NDArray[np.float32]) -> tuple[list[bool], NDArray[Any]]:
        """Return which embeddings are finite (N), and those as they are stored.

        Raises: ModelError where no embedding is finite.
        """
        is_good: list[bool] = np.asarray(np.isfinite(vectors).all(axis=1)).tolist()
        if not any(is_good):
            raise ModelError(
                f"none of {len(vectors)} embeddings is finite",
                "wanted finite numbers",
                "try --precision fp32, and poolwise doctor with this model",
            )
        return is_good, to_stored(vectors[is_good], self.output.dtype, self.ranges)

    def save(self, task: ShardTask, is_good: Sequence[bool], stored: NDArray[Any]) -> ShardResult:
        """Write the shard of a task from what ``pack`` returned. Raises: OSError where the disk is full."""
        rows = [row for row, good in zip(task.rows, is_good, strict=True) if good]
        rejected = [
            Rejected(source="model", line=0, id=row.id, reason="the embedding is not finite")
            for row, good in zip(task.rows, is_good, strict=True)
            if not good
        ]
        record = save_shard(self.folder, task.number, rows_table(rows, self.output), stored, self.output)
        return ShardResult(task.position, record, rejected)


class InThisProcess:
    """Encodes here, while one thread reads the next rows and another writes the last shard."""

    def __init__(self, encode: Encode, writer: ShardWriter) -> None:
        self._encode, self._writer = encode, writer

    def run(self, tasks: Iterator[ShardTask], on_rows: Callable[[int], None]) -> Results:
        """Yield the results in the order of the tasks."""
        with ThreadPoolExecutor(1) as thread, read_ahead(tasks) as ahead:
            before: Future[ShardResult] | None = None
            for task in ahead:
                vectors = self._encode(task.rows, partial(_tell, task, on_rows))
                # One shard waits to be written, not more: they would fill the memory behind a slow disk.
                if before is not None:
                    yield before.result()
                before = thread.submit(self._writer.write, task, vectors)
            if before is not None:
                yield before.result()


def _tell(task: ShardTask, on_rows: Callable[[int], None], num_rows: int) -> None:
    on_rows(task.start + (task.position - task.start) * num_rows // len(task.rows))


OpenEncode = Callable[[], Encode]
"""Loads the model in a worker. It is pickled, so it must be a function that workers can import, with its arguments."""


class InProcesses:
    """Encodes in several processes, each with the model and, where there are GPUs, one of its own.

    Args:
        gpus: CUDA_VISIBLE_DEVICES of each process, from ``share_gpus``; empty to leave it as it is.
    """

    def __init__(self, open_encode: OpenEncode, writer: ShardWriter, count: int, gpus: Sequence[str] = ()) -> None:
        self._open, self._writer, self._count, self._gpus = open_encode, writer, count, gpus

    def run(self, tasks: Iterator[ShardTask], on_rows: Callable[[int], None]) -> Results:
        """Yield the results as they come.

        Raises: ModelError where a process was killed; what a process raises.
        """
        if self._gpus:
            free_gpu_memory()
        context = prepare_workers(["poolwise.corpus.opened"])
        gpus = context.SimpleQueue()
        for visible in [*self._gpus, *[None] * self._count][: self._count]:
            gpus.put(visible)
        threads = max(1, len(usable_cores()) // self._count)
        arguments = (self._open, self._writer, threads, gpus)
        pool = ProcessPoolExecutor(self._count, context, initializer=_start, initargs=arguments)
        running: set[Future[ShardResult]] = set()
        is_over = False
        try:
            with read_ahead(tasks) as ahead:
                while running or not is_over:
                    # One more than there are processes, so that none waits for its next task.
                    while not is_over and len(running) <= self._count:
                        if (task := next(ahead, None)) is None:
                            is_over = True
                        else:
                            running.add(pool.submit(_run, task))
                    ended, running = wait(running, return_when=FIRST_COMPLETED) if running else (set(), running)
                    yield from (future.result() for future in ended)
        except BrokenProcessPool as error:
            raise ModelError(
                "a process was killed (out of memory?)",
                hint="lower --processes or --shard-rows, then run the same command again: it resumes",
            ) from error
        finally:
            # Shards are written whole or not at all, so nothing is lost with a process beyond its running shard.
            processes = list((pool._processes or {}).values())
            if is_over and not running:
                pool.shutdown()
            else:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.kill()
                for process in processes:
                    process.join()


_worker: Callable[[ShardTask], ShardResult] | None = None


def _start(open_encode: OpenEncode, writer: ShardWriter, threads: int, gpus: object) -> None:
    global _worker
    tell_crashes()
    # Before anything uses CUDA, which reads this once.
    if (visible := gpus.get()) is not None:  # type: ignore[attr-defined]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    # Ctrl-C reaches every process of the terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_hangup()
    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    _worker = partial(_work, _Opened(open_encode), writer)


class _Opened:
    """The model of a worker, loaded with its first task, so that an error is reported and does not break the pool."""

    def __init__(self, open_encode: OpenEncode) -> None:
        self._open = open_encode
        self._encode: Encode | None = None

    def __call__(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        self._encode = self._encode or self._open()
        return self._encode(rows, lambda _: None)


def _work(encode: _Opened, writer: ShardWriter, task: ShardTask) -> ShardResult:
    return writer.write(task, encode(task.rows))


def _run(task: ShardTask) -> ShardResult:
    assert _worker is not None
    return _worker(task)


_END = object()


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Yield an iterator over the same items, the next of which is made in another thread meanwhile.

    An error of the items is raised where they are consumed. After the block, the thread has ended.
    """
    waiting: queue.Queue[object] = queue.Queue(1)
    is_stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not is_stopped.is_set():
            try:
                waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            failure.append(error)
        put(_END)

    def consume() -> Iterator[T]:
        while (item := waiting.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        is_stopped.set()
        # Reading from standard input or a silent server cannot be interrupted; the thread dies with the process.
        thread.join(STOP_SECONDS)
