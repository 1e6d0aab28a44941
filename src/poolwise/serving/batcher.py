"""Dynamic batching: the texts of all waiting requests are tokenised together and read together, up to a token budget.

Each model has a thread that tokenises what has arrived, one that tokenises long texts, for which nobody else should
wait (a text of megabytes takes seconds), and threads that read what is tokenised: one for each lane. A
lane takes its next batch as soon as it is free, so none waits for another. While all of them read, further requests
gather, so batches are as large as the load makes them. A request alone never waits, and gets the threads of all lanes.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, groupby, takewhile
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolwise.errors import PoolwiseError, explain
from poolwise.serving.readings import Input, Reading, Row, Truncate

T = TypeVar("T")
BYTES_PER_TOKEN = 4
"""For the tokens of a text before they are counted: English text has about four bytes a token."""
FEW_TOKENS = 256
"""So few are read sooner by all threads together than by lanes in parallel (measured on two cores)."""
LONG = 1 << 18
"""Characters, or token ids, of the texts of a request that is tokenised apart: a tenth of a second of work."""
SMOOTHING = 0.2
"""Weight of the newest batch in the measured speed."""


class QueueFullError(PoolwiseError):
    """The queue of a model is full. ``retry_after`` is in seconds."""

    def __init__(self, name: str, waiting: int, limit: int, retry_after: int) -> None:
        super().__init__(
            f"{waiting} tokens wait for {name}", f"wanted at most {limit}", f"try again in {retry_after} s"
        )
        self.retry_after = retry_after


@dataclass(eq=False, repr=False)  # a text must not get into a log
class Job:
    """The texts of one request on their way through a batcher.

    Args:
        done: gets the job once all its embeddings are there, or an exception.
        num_waiting: the tokens that count as waiting: estimated until they are counted, then those not yet read.
        unread: the indices of the rows that no batch has taken yet, in order.
    """

    inputs: Sequence[Input]
    prompt: str
    truncate: Truncate
    done: asyncio.Future[Job]
    num_waiting: int
    rows: list[Row] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    num_read: int = 0
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    error: Exception | None = None
    is_cancelled: bool = False
    arrived: float = field(default_factory=time.perf_counter)
    begun: float = 0.0
    finished: float = 0.0
    served: float = 0.0
    """When a batch last took texts of it; before the first one, when they were tokenised."""

    @property
    def num_tokens(self) -> int:
        """The number of tokens that the model reads for it."""
        return sum(row.num_tokens for row in self.rows)


@dataclass(frozen=True)
class _Batch:
    """Rows that one lane reads together: the jobs they belong to, and their indices there."""

    taken: Sequence[tuple[Job, int]]
    num_reading: int
    """The lanes that read when it began, its own included."""
    is_alone: bool
    """Nothing else waited or was read when it began."""

    @property
    def rows(self) -> list[Row]:
        return [job.rows[place] for job, place in self.taken]

    @property
    def jobs(self) -> list[Job]:
        return list({id(job): job for job, _ in self.taken}.values())


@dataclass(frozen=True)
class BatchFacts:
    """What one batch was: its texts, tokens and seconds."""

    num_texts: int
    num_tokens: int
    seconds: float


class Batcher:
    """Reads the texts of many requests with one model.

    Args:
        name: of the model, for messages.
        max_queue_tokens: most tokens that may wait; a job alone in the queue may have more.
        on_batch: called after each batch, in the model's thread.
    Law: every job that ``submit`` accepted and nobody cancelled gets its embeddings or an error, also after ``close``.
    """

    def __init__(
        self,
        name: str,
        reading: Reading,
        max_queue_tokens: int,
        on_batch: Callable[[BatchFacts], None] = lambda facts: None,
    ) -> None:
        self.name, self.reading, self.max_queue_tokens = name, reading, max_queue_tokens
        self._on_batch = on_batch
        self.num_waiting = 0
        self.tokens_per_second = 0.0
        self._changed = threading.Condition()
        self._arrived: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_closing = False
        self._num_tokenising = 0
        self._num_reading = 0
        self._is_calling = False
        work: list[tuple[str, Callable[[], None]]] = [
            ("tokens", partial(self._tokenise_all, self._arrived, reading)),
            ("long texts", partial(self._tokenise_all, self._long, reading.beside())),
            *[("model", self._read_all)] * reading.num_lanes,
        ]
        self._threads = [threading.Thread(target=run, name=f"{name} {part}", daemon=True) for part, run in work]
        for thread in self._threads:
            thread.start()

    def submit(self, inputs: Sequence[Input], prompt: str, truncate: Truncate) -> Job:
        """Return the job of some texts, from within an event loop; ``job.done`` is its future.

        Raises: QueueFullError; RuntimeError after ``close``.
        """
        job = Job(inputs, prompt, truncate, asyncio.get_running_loop().create_future(), self._estimate(inputs))
        with self._changed:
            if self._is_closing:
                raise RuntimeError(f"{self.name} is closed")
            if self.num_waiting and self.num_waiting + job.num_waiting > self.max_queue_tokens:
                raise QueueFullError(self.name, self.num_waiting, self.max_queue_tokens, self.seconds_to_wait())
            self.num_waiting += job.num_waiting
            (self._long if sum(map(len, inputs)) > LONG else self._arrived).append(job)
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Drop the texts of a job that the model has not begun to read; ``job.done`` is cancelled.

        It is called from the event loop of the job.
        """
        job.done.cancel()
        self._drop(job)

    def _drop(self, job: Job) -> None:
        with self._changed:
            job.is_cancelled = True
            self.num_waiting -= job.num_waiting
            job.num_waiting = 0
            for queue in (self._arrived, self._long, self._ready):
                if job in queue:
                    queue.remove(job)

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run something in a thread of the model while it reads nothing."""
        found: Future[T] = Future()
        with self._changed:
            self._calls.append((work, found))
            self._changed.notify_all()
        return found

    def warm(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts without a prompt, read at once; this also measures the speed."""
        rows = self.reading.finish(self.reading.tokenise(texts, "", "END"), "", "END")
        vectors = np.empty((len(rows), self.reading.width), np.float32)

        def read() -> None:
            start = time.perf_counter()
            for numbers, found in self.reading.read(rows, is_alone=True):
                vectors[numbers] = found
            self._measure(BatchFacts(len(rows), sum(row.num_tokens for row in rows), time.perf_counter() - start))

        self.call(read).result()
        return vectors

    def close(self) -> None:
        """Read everything that waits, then end the threads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def seconds_to_wait(self) -> int:
        """Return the seconds until the queue is read at the measured speed, at least 1."""
        speed = self.tokens_per_second
        return max(1, math.ceil(self.num_waiting / speed)) if speed else 1

    def _estimate(self, inputs: Sequence[Input]) -> int:
        limit = self.reading.limit
        counts = (2 + (len(one) // BYTES_PER_TOKEN if isinstance(one, str) else len(one)) for one in inputs)
        return sum(min(count, limit) if limit else count for count in counts)

    def _tokenise_all(self, arrived: deque[Job], reading: Reading) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: arrived or self._is_closing)
                if not arrived:
                    return
                self._num_tokenising += 1
                # Long ones one by one, so that those that are cancelled meanwhile are not tokenised.
                count = 1 if arrived is self._long else len(arrived)
                jobs = [arrived.popleft() for _ in range(count)]
            groups = groupby(jobs, key=lambda job: (job.prompt, job.truncate))
            ready = [job for _, group in groups for job in self._tokenise(group, reading)]
            self._deliver([job for job in jobs if job.error is not None])
            with self._changed:
                for job in ready:
                    if job.is_cancelled:
                        continue
                    counted = job.num_tokens
                    self.num_waiting += counted - job.num_waiting
                    job.num_waiting, job.served = counted, time.perf_counter()
                    self._ready.append(job)
                self._num_tokenising -= 1
                self._changed.notify_all()

    def _tokenise(self, group: Any, reading: Reading) -> list[Job]:
        """Return jobs of one prompt and truncation with their rows; those that failed have an error instead."""
        jobs: list[Job] = [job for job in group if not job.is_cancelled]
        try:
            found = (
                iter(reading.tokenise([one for job in jobs for one in job.inputs], jobs[0].prompt, jobs[0].truncate))
                if jobs
                else iter(())
            )
        except Exception as error:
            if len(jobs) == 1:
                self._fail(jobs[0], error)
                return []
            # One of them is bad: find out which.
            return [done for job in jobs for done in self._tokenise([job], reading)]
        ready = []
        for job in jobs:
            rows = [next(found) for _ in job.inputs]
            try:
                job.rows = reading.finish(rows, job.prompt, job.truncate)
            except Exception as error:
                self._fail(job, error)
                continue
            job.unread = list(range(len(rows)))
            job.vectors = np.empty((len(rows), self.reading.width), np.float32)
            ready.append(job)
        return ready

    def _read_all(self) -> None:
        while True:
            call, batch = None, None
            with self._changed:
                self._changed.wait_for(lambda: self._may_call() or self._may_read() or self._is_done())
                if self._may_call():
                    call, self._is_calling = self._calls.popleft(), True
                elif self._may_read():
                    batch = self._take()
                    self._num_reading += 1
                else:
                    return
            if call is not None:
                _settle(*call)
            if batch is not None:
                self._read(batch)
            with self._changed:
                self._is_calling = False if call is not None else self._is_calling
                self._num_reading -= batch is not None
                self._changed.notify_all()

    def _may_call(self) -> bool:
        return bool(self._calls) and not self._is_calling and not self._num_reading

    def _may_read(self) -> bool:
        return bool(self._ready) and not self._is_calling and not self._calls

    def _is_done(self) -> bool:
        waits = self._arrived or self._long or self._num_tokenising or self._ready or self._calls
        return self._is_closing and not waits

    def _take(self) -> _Batch:
        """Return the next batch: a text of the request that was served longest ago, and others of about its length."""
        reading = self.reading
        num_waiting = sum(job.num_waiting for job in self._ready)
        num_free = reading.num_lanes - self._num_reading
        is_alone = not self._num_reading and (num_waiting <= FEW_TOKENS or reading.num_lanes == 1)
        budget = reading.budget if is_alone else min(reading.budget, max(FEW_TOKENS // 2, -(-num_waiting // num_free)))
        next_ones = self._next_ones(budget if is_alone else reading.num_lanes * reading.budget)
        is_alone |= len(next_ones) == 1 and not self._num_reading
        taken = next_ones if is_alone else _of_like_length(next_ones, budget)
        now = time.perf_counter()
        for job, place in taken:
            job.begun, job.served = job.begun or now, now
            job.unread.remove(place)
            size = job.rows[place].num_tokens
            job.num_waiting, self.num_waiting = job.num_waiting - size, self.num_waiting - size
        self._ready = deque(job for job in self._ready if job.unread)
        return _Batch(taken, self._num_reading + 1, is_alone)

    def _next_ones(self, budget: int) -> list[tuple[Job, int]]:
        """Return the texts whose turn it is: from each job its share of the budget, then the rest in order.

        They have at most the budget's tokens, or are a single text. A request of one text so does not wait for one of
        two thousand that came before it.
        """
        chosen: list[tuple[Job, int]] = []
        used = 0
        begun = dict.fromkeys(map(id, self._ready), 0)
        for share in (budget // max(1, len(self._ready)), budget):
            for job in self._ready:
                mine = 0
                for place in job.unread[begun[id(job)] :]:
                    size = job.rows[place].num_tokens
                    if (chosen and used + size > budget) or (mine and mine + size > share):
                        break
                    chosen.append((job, place))
                    begun[id(job)] += 1
                    used, mine = used + size, mine + size
        return chosen

    def _read(self, batch: _Batch) -> None:
        rows = batch.rows
        start = time.perf_counter()
        try:
            for numbers, vectors in self.reading.read(rows, is_alone=batch.is_alone):
                for number, vector in zip(numbers, vectors, strict=True):
                    job, place = batch.taken[number]
                    job.vectors[place] = vector
        except Exception as error:
            for job in batch.jobs:
                self._drop(job)
                self._fail(job, error)
            finished = batch.jobs
        else:
            with self._changed:  # two lanes may read texts of one job
                for job, _ in batch.taken:
                    job.num_read += 1
                finished = [job for job in batch.jobs if job.num_read == len(job.rows)]
        seconds = time.perf_counter() - start
        # First, so that whoever has an answer finds it in the counters.
        facts = BatchFacts(len(rows), sum(row.num_tokens for row in rows), seconds)
        self._measure(facts, batch.num_reading)
        self._deliver(finished)

    def _measure(self, facts: BatchFacts, num_reading: int = 1) -> None:
        speed = num_reading * facts.num_tokens / max(facts.seconds, 1e-9)
        before = self.tokens_per_second
        self.tokens_per_second = before + SMOOTHING * (speed - before) if before else speed
        self._on_batch(facts)

    def _fail(self, job: Job, error: Exception) -> None:
        with self._changed:
            self.num_waiting -= job.num_waiting
            job.num_waiting, job.error = 0, explain(error) or error

    def _deliver(self, jobs: Sequence[Job]) -> None:
        """Wake the requests of finished jobs, all of one event loop at once."""
        now = time.perf_counter()
        for job in jobs:
            job.finished = now
        loops = {id(loop): loop for loop in (job.done.get_loop() for job in jobs)}
        for loop in loops.values():
            mine = [job for job in jobs if job.done.get_loop() is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, mine)


def _of_like_length(next_ones: Sequence[tuple[Job, int]], budget: int) -> list[tuple[Job, int]]:
    """Return a text of the job that was served longest ago, and those nearest to its length.

    They have at most the budget's tokens when they are padded, or are a single text.
    """
    lengths = [job.rows[place].num_tokens for job, place in next_ones]
    first = min(range(len(next_ones)), key=lambda number: next_ones[number][0].served)
    nearest = sorted(range(len(next_ones)), key=lambda number: (number != first, abs(lengths[number] - lengths[first])))
    longest = list(accumulate((lengths[number] for number in nearest), max))
    fitting = takewhile(lambda count: count * longest[count - 1] <= budget, range(1, len(nearest) + 1))
    return [next_ones[number] for number in nearest[: max(1, *fitting, 1)]]


def _resolve(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.done.done():
            continue
        if job.error is not None:
            job.done.set_exception(job.error)
        else:
            job.done.set_result(job)


def _settle(work: Callable[[], Any], result: Future[Any]) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(work())
    except Exception as error:
        result.set_exception(error)
