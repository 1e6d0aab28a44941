"""The processes that train one model together: which of them this process is, and how it joins the others.

A process and its number are both called a rank, as torch does. torchrun and ``accelerate launch`` describe the ranks in
environment variables; ``jobs.rank_processes`` starts them itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from poolwise.errors import ConfigError, ModelError, PoolwiseError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")

TIMEOUT = timedelta(hours=2)
"""How long a rank waits for the others, for instance while the first one writes a large model."""

_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_OTHER_SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model.

    Args:
        rank: its number, from 0; only rank 0 writes files and shows progress.
        size: the number of processes.
        local_size: those of them on this machine.
        num_gpus: the GPUs of this machine that they share.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    num_gpus: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress; true for a process that trains alone."""
        return self.rank == 0

    def part(self, num_rows: int) -> slice:
        """Return the rows of a batch that this rank reads. In the order of ranks, the parts make up the batch.

        Law: the sizes of two parts differ by at most one row.
        """
        return slice(num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size)


ALONE = Ranks()
_ranks = ALONE
_store: Store | None = None
_failed_first: bool | None = None


def current_ranks() -> Ranks:
    """Return this process's place among those that train together; ``ALONE`` before it joins others."""
    return _ranks


def is_launched() -> bool:
    """Return whether torchrun or ``accelerate launch`` started this process, and it has not joined the others yet."""
    return all(name in os.environ for name in _LAUNCHER)


def join_launched() -> Ranks:
    """Join the ranks that torchrun or ``accelerate launch`` started, and return this process's place.

    This process then sees its own GPU only. Other libraries take it for a process that trains alone: sharing the batch
    and adding gradients is done in ``training``.

    Raises: ConfigError if accelerate is configured to shard the model.
    """
    for name, what in _OTHER_SHARDING.items():
        if os.environ.get(name, "").lower() == "true":
            raise ConfigError(
                f"accelerate launch is configured for {what}",
                "wanted plain data parallel training",
                "run accelerate launch with --multi_gpu, or use torchrun",
            )
    rank, size, local_rank, local_size = (int(os.environ[name]) for name in _LAUNCHER)
    store = _meet("env://", rank, size) if size > 1 else None
    # Other libraries would wrap the model for training in parallel, even for one process.
    for name in _LAUNCHER:
        del os.environ[name]
    if store is None:
        return ALONE
    gpus = visible_gpus()
    if local_size <= len(gpus):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[local_rank]
    return _join(store, Ranks(rank, size, local_size, len(gpus)))


def join_by_file(path: Path, rank: int, size: int, num_gpus: int) -> Ranks:
    """Join ranks on this machine that all name the same new file, and return this process's place."""
    return _join(_meet(f"file://{path}", rank, size), Ranks(rank, size, size, num_gpus))


def _meet(place: str, rank: int, size: int) -> Store:
    from torch import distributed

    store, _, _ = next(iter(distributed.rendezvous(place, rank, size)))  # type: ignore[attr-defined]
    found: Store = store
    return found


def _join(store: Store, ranks: Ranks) -> Ranks:
    global _ranks, _store
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if visible_gpus() and distributed.is_nccl_available() else "gloo"
    _store = store
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=TIMEOUT)
    _ranks = ranks
    return ranks


def end_process(code: int) -> NoReturn:
    """End a process that was one of several at once, with its exit code; after its work, first ``wait_for_all``.

    Python's own end and that of a process group can crash in a thread of torch after all work is done and written, and
    the others would take that for a failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first_to_fail() -> bool:
    """Return whether no other rank has asked this before: an error of all ranks is printed once.

    Asked again, it gives the same answer.
    """
    global _failed_first
    if _store is None:
        return True
    if _failed_first is None:
        _failed_first = _ranks.is_first
        with contextlib.suppress(RuntimeError):  # the process that holds the store has ended
            _failed_first = bool(_store.add("failed", 1) == 1)
    return _failed_first


_LOST = ("connection closed by peer", "connection reset by peer", "connection was likely closed", "broken pipe")
"""What gloo, NCCL and the store of torch say where the process at the other end has ended."""


def lost_partner(error: Exception) -> PoolwiseError | None:
    """Return the error of a rank whose partner was killed as one that the user can fix; None for any other error."""
    if _ranks.size == 1 or not isinstance(error, RuntimeError):
        return None
    if not any(words in str(error).lower() for words in _LOST):
        return None
    return ModelError(
        "another process of this training has ended",
        hint="see its own message, or whether the system killed it (out of memory?); the same command resumes from the "
        "last checkpoint",
    )


def visible_gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES can choose the GPUs that this process sees; CUDA stays unused."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def wait_for_all() -> None:
    """Return when every rank has called this."""
    exchange([0])


def exchange(numbers: Sequence[int]) -> list[list[int]]:
    """Return the numbers that each rank gives, by rank; all ranks call this with as many numbers."""
    if _ranks.size == 1:
        return [list(numbers)]
    import torch
    from torch import distributed

    own = torch.tensor(numbers, dtype=torch.int64)
    parts = [torch.empty_like(own) for _ in range(_ranks.size)]
    distributed.all_gather(parts, own)
    return [part.tolist() for part in parts]


def from_first(value: T) -> T:
    """Return rank 0's value in every rank; it must be small and picklable."""
    if _ranks.size == 1:
        return value
    import torch
    from torch import distributed

    holder: list[Any] = [value]
    distributed.broadcast_object_list(holder, src=0, device=torch.device("cpu"))
    found: T = holder[0]
    return found
