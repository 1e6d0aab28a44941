"""The engine on a Ray cluster: workers encode, and this process alone reads rows and writes shards.

So ``--out`` need not be seen by the nodes, and a worker that is lost, or only cut off, can leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from poolwise.corpus.engines import OpenEncode, Results, ShardTask, ShardWriter, read_ahead
from poolwise.errors import ModelError
from poolwise.jobs.rank_processes import free_gpu_memory
from poolwise.jobs.ray_cluster import Cluster, Share
from poolwise.jobs.ray_pool import Do, RayPool, Tell

DEPTH = 2
"""Tasks of a worker: it encodes one while its last result is fetched and written."""
ATTEMPTS = 3
"""How many workers may be lost with the same task, before the task is taken to be the reason."""
_WAIT_SECONDS = 1.0


class OnRay:
    """Encodes on the workers of a cluster, each with the model and, where there are GPUs, one of its own."""

    def __init__(self, open_encode: OpenEncode, writer: ShardWriter, cluster: Cluster, share: Share) -> None:
        self._open, self._writer, self._cluster, self._share = open_encode, writer, cluster, share

    def run(self, tasks: Iterator[ShardTask], on_rows: Callable[[int], None]) -> Results:
        """Yield the results as they come.

        Raises: ModelError where ``ATTEMPTS`` workers were lost with one task; what a worker raises; see ``RayPool``.
        """
        free_gpu_memory()  # of this process's model, for a cluster on this machine
        opened = partial(open_work, self._open, self._writer)
        pool: RayPool[ShardTask] = RayPool(self._cluster, self._share, opened, depth=DEPTH, attempts=ATTEMPTS)
        most = self._share.count * DEPTH
        is_over = False
        try:
            with read_ahead(tasks) as ahead:
                while not is_over or pool.num_pending:
                    has_room = not is_over and pool.num_pending < most
                    if has_room and (task := next(ahead, None)) is not None:
                        pool.submit(task)
                    elif has_room:
                        is_over = True
                    # One task at a time, so that the first workers start while the others' rows are read.
                    for ended in pool.step(0 if has_room else _WAIT_SECONDS):
                        if ended.error is not None:
                            raise ended.error
                        if ended.lost is not None:
                            raise ModelError(
                                f"{ATTEMPTS} workers were lost with the same {len(ended.item.rows)} rows, from "
                                f"{ended.item.rows[0].id!r} on: {ended.lost}",
                                hint="lower --shard-rows, or give each worker more memory (fewer --processes); "
                                "the same command then resumes",
                            )
                        yield self._writer.save(ended.item, *ended.result)
        finally:
            pool.close()


def open_work(open_encode: OpenEncode, writer: ShardWriter) -> Do:
    """Load the model in a worker, and return what encodes a task there."""
    return partial(_encode, open_encode(), writer)


def _encode(encode: Any, writer: ShardWriter, task: ShardTask, tell: Tell) -> Any:
    return writer.pack(encode(task.rows, lambda _: None))
