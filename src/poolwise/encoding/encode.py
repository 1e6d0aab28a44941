"""The fast way from texts to vectors with one of our models."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from poolwise.errors import ModelError
from poolwise.kernels.batches import plan_batches, token_budget
from poolwise.kernels.lanes import num_lanes, open_lanes
from poolwise.kernels.transfer import sent
from poolwise.models import Backbone
from poolwise.models.merge import reads_last_only

WINDOW = 4096
"""Texts sorted by length among themselves; the next window is tokenised while the model reads this one."""

FIRST_WINDOW = 256
"""Of an accelerator, which reads about as fast as texts are tokenised: it gets its first soon. Windows then double."""

Row = tuple[int, list[int], int]
"""A text's number, its token ids, and how many of its first ids are prompt."""


def is_readable(model: object) -> bool:
    """Return whether ``encode_texts`` takes a model: one that poolwise built or loaded."""
    return isinstance(model, SentenceTransformer) and isinstance(model[0], Backbone)


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str = "",
    *,
    budget: int | None = None,
    most_texts: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "B D"]:
    """Return one vector a text, in order, fp32: what ``model.encode`` returns, sooner.

    Best with a model made ready by ``prepare_encoding``.

    Args:
        prompt: put before every text.
        budget: tokens a forward pass; None takes what suits the device. On a processor several passes run at once.
        most_texts: at most so many texts a forward pass.
        on_progress: called with (texts done, texts in all) after every batch.
    Raises: ModelError where the model is not one of ours; DataError where an input is not a text.
    Law: the vectors do not depend on the other texts, beyond the rounding of products of another shape.
    """
    backbone = model[0]
    if not isinstance(backbone, Backbone):
        raise ModelError(
            f"the model starts with {type(backbone).__name__}", "wanted one of poolwise", "use model.encode"
        )
    vectors: NDArray[np.float32] = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    done = 0
    with ExitStack() as stack:
        results = _read_windows(model, texts, prompt, budget or token_budget(model.device), most_texts, stack)
        for rows, found in _sent_ahead(results) if _works_alone(model.device) else chain.from_iterable(results):
            vectors[[number for number, _, _ in rows]] = found.cpu().numpy()
            done += len(rows)
            if on_progress is not None:
                on_progress(done, len(texts))
    return vectors


def _works_alone(device: torch.device) -> bool:
    """Return whether a device computes while the processor, which has sent it the work, does something else."""
    return device.type != "cpu"


def _read_windows(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str,
    budget: int,
    most_texts: int | None,
    stack: ExitStack,
) -> Iterator[Iterator[tuple[list[Row], Tensor]]]:
    """Yield, for each window, its batches as they are read: their rows and vectors."""
    backbone, device, read_all = model[0], model.device, None
    is_packed = _works_alone(device) and backbone.packs_on(device)
    waiting: list[Row] = []
    for window, tokenised in _tokenised(backbone, texts, prompt, device):
        rows = [*waiting, *zip(window, *tokenised, strict=True)]
        batches = plan_batches([len(ids) for _, ids, _ in rows], budget, most_texts, is_packed=is_packed)
        work, waiting = [[rows[i] for i in batch] for batch in batches], []
        # Sending a batch takes as long whether it is full or not: what is less than half full waits for more texts.
        if _works_alone(device) and window.stop < len(texts) and 2 * sum(len(ids) for _, ids, _ in work[-1]) < budget:
            waiting = work.pop()
        if read_all is None:  # one batch alone is read by all threads together
            read_all = stack.enter_context(open_lanes(model, max(1, min(num_lanes(device), len(work)))))
        yield zip(work, read_all(_read, work), strict=True)


def _sent_ahead(windows: Iterable[Iterable[tuple[list[Row], Tensor]]]) -> Iterator[tuple[list[Row], Tensor]]:
    """Yield the results of each window once the work of the next one is sent, so that the device never waits."""
    before: list[tuple[list[Row], Tensor]] = []
    for window in windows:
        sent_now = list(window)
        yield from before
        before = sent_now
    yield from before


def _windows(num_texts: int, device: torch.device) -> list[range]:
    """Return the texts that are sorted together, window by window."""
    size, windows = FIRST_WINDOW if _works_alone(device) else WINDOW, [range(0)]
    while windows[-1].stop < num_texts:
        start = windows[-1].stop
        windows.append(range(start, min(start + size, num_texts)))
        size = min(2 * size, WINDOW)
    return windows[1:]


def _tokenised(
    backbone: Backbone, texts: Sequence[str], prompt: str, device: torch.device
) -> Iterator[tuple[range, tuple[list[list[int]], list[int]]]]:
    """Yield each window with its token ids and how many of them are prompt.

    Lanes on a processor find the next window ready. Work for an accelerator is sent by this thread alone: a tokeniser
    beside it would keep Python's lock from it (25 ms a batch on an H100 became 100), while the device still has the
    window before to read.
    """
    windows = _windows(len(texts), device)

    def tokenise(window: range) -> tuple[list[list[int]], list[int]]:
        return backbone.tokens.encode(list(texts[window.start : window.stop]), prompt, backbone.max_tokens)

    if _works_alone(device):
        yield from ((window, tokenise(window)) for window in windows)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(tokenise, window) for window in windows[:1])
        for number, window in enumerate(windows, start=1):
            tokenised = ahead.popleft().result()
            ahead.extend(pool.submit(tokenise, later) for later in windows[number : number + 1])
            yield window, tokenised


def _read(model: SentenceTransformer, rows: Sequence[Row]) -> Float[Tensor, "B D"]:
    """Return the vectors of a batch; where it is more than the device holds, of its halves, one after the other."""
    try:
        return _vectors(model, rows)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    half = len(rows) // 2
    return torch.cat([_read(model, rows[:half]), _read(model, rows[half:])])


@torch.inference_mode()
def _vectors(model: SentenceTransformer, rows: Sequence[Row]) -> Float[Tensor, "B D"]:
    _, ids, num_prompt = zip(*rows, strict=True)
    features: dict[str, Any] = model[0].arrange(ids, num_prompt)
    packing = model[0].pack(features, model.device, last_only=reads_last_only(model))
    on_device = {name: sent(value, model.device) for name, value in features.items()}
    output = model({**on_device, "packing": packing})
    vectors: Tensor = output["sentence_embedding"].float()
    return vectors
