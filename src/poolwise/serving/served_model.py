"""``ServedModel``: a model behind a name, which embeds texts in batches and is replaced without a gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from sentence_transformers import SentenceTransformer

from poolwise.base_dtypes import Precision
from poolwise.checks.probe_texts import UNRELATED
from poolwise.errors import ConfigError, DataError, ModelError, PoolwiseError
from poolwise.models import EmbeddingModel, load_any, prepare_encoding
from poolwise.serving.batcher import Batcher, BatchFacts, Job
from poolwise.serving.model_info import ModelInfo, describe
from poolwise.serving.named_prompts import find_prompt
from poolwise.serving.readings import Input, Truncate, open_reading, require_finite
from poolwise.serving.settings import ServeSettings

T = TypeVar("T")
HEADROOM = 1.25
"""For the limit of int8, above what the texts that it is measured on need."""


class TimedOutError(PoolwiseError):
    """A request has waited for its embeddings longer than it may. ``retry_after`` is in seconds."""

    def __init__(self, name: str, seconds: float, retry_after: int) -> None:
        super().__init__(f"{name} did not read the texts in {seconds:g} s", "", f"try again in {retry_after} s")
        self.retry_after = retry_after


class AbandonedError(Exception):
    """Nobody waits for the result any more; texts that were not begun are dropped."""


@dataclass(frozen=True)
class Embedded:
    """The embeddings of some texts, in order.

    Args:
        num_tokens: what the model read, BOS, prompt and EOS included.
        queue_seconds: the time before the model began to read them.
        model_seconds: the time from then on.
    """

    vectors: Float[np.ndarray, "B D"]
    num_tokens: int
    queue_seconds: float = 0.0
    model_seconds: float = 0.0


class _Live:
    """A loaded model with its threads; it is closed once it is replaced and nobody uses it."""

    def __init__(
        self, name: str, source: str, model: SentenceTransformer, settings: ServeSettings, on_batch: OnBatch
    ) -> None:
        self.info = describe(model, name, source)
        if source and isinstance(model, EmbeddingModel):
            # Nobody else has it, and a prepared copy beside it would need memory.
            prepare_encoding(model)
        self.model = model
        reading = open_reading(model)
        self.batcher = Batcher(name, reading, settings.max_queue_tokens, lambda facts: on_batch(name, facts))
        self.calibration = np.empty((0, 0), np.float32)
        self.num_users = 0
        self.is_retired = False
        self.is_closed = False


OnBatch = Callable[[str, BatchFacts], None]


class ServedModel:
    """A model behind a name. ``embed`` is called from an event loop; a thread of its own reads the texts.

    Args:
        name: what requests call it.
        source: a run's folder, a model folder or a hub id; or a loaded model, which cannot be loaded again.
        device: where it computes; None takes a GPU if there is one.
        precision: as in ``load_any``; of a loaded model, its own.
        on_batch: called after each batch with the model's name, in its thread.
    Raises: ModelError if the model cannot be loaded, or gives embeddings that are not finite.
    """

    def __init__(
        self,
        name: str,
        source: str | SentenceTransformer,
        settings: ServeSettings | None = None,
        *,
        device: str | None = None,
        precision: Precision = "auto",
        on_batch: OnBatch = lambda name, facts: None,
    ) -> None:
        self.name, self.settings = name, settings or ServeSettings()
        self._source, self._device, self._precision = source, device, precision
        self.on_batch = on_batch
        self.created = int(time.time())
        self.num_freed = 0
        """Models that were replaced and closed, because no request uses them any more."""
        self._reloading = asyncio.Lock()
        self._kept: str | None = None
        self._live = self._load(is_first=True)

    @property
    def info(self) -> ModelInfo:
        """What the model is, measured when it was loaded."""
        return self._live.info

    @property
    def num_waiting(self) -> int:
        """The number of tokens that wait to be read."""
        return self._live.batcher.num_waiting

    @property
    def tokens_per_second(self) -> float:
        """The measured speed of the last batches."""
        return self._live.batcher.tokens_per_second

    def int8_limit(self, dimensions: int | None = None) -> float:
        """Return what the largest int8 stands for: a quarter above the largest number of sixteen shipped texts.

        It is measured when the model is loaded, so a text has the same int8 in every request.
        """
        vectors = self._live.calibration
        kept = vectors if dimensions in (None, vectors.shape[1]) else _first(vectors, dimensions or 0)
        return HEADROOM * float(np.abs(kept).max())

    async def embed(
        self,
        texts: Sequence[Input],
        *,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = "END",
        is_abandoned: Callable[[], Awaitable[None]] | None = None,
    ) -> Embedded:
        """Return the embeddings of texts, each as ``model.encode`` of the library returns it, up to rounding.

        Args:
            texts: texts, or lists of token ids of the model's own tokenizer.
            prompt_name: one of the model's prompts, or what ``find_prompt`` knows; None is what ``encode`` uses.
            dimensions: keep this many first numbers, scaled to length 1; the model must be trained for it.
            truncate: which end of texts that are too long is left out.
            is_abandoned: returns once nobody waits for the result any more.
        Raises: DataError for texts that cannot be read, ConfigError for a prompt or a dimension that the model does not
            have, QueueFullError, TimedOutError, AbandonedError; ModelError for an embedding that is not finite.
        """
        live = self._live
        dimensions = require_dimensions(live.info, dimensions)
        prompt = find_prompt(live.info.prompts, live.info.default_prompt_name, prompt_name)
        require_encodable(texts)
        if not texts:
            return Embedded(np.empty((0, dimensions), np.float32), 0)
        live.num_users += 1
        try:
            job = live.batcher.submit(texts, prompt, truncate)
            try:
                await self._wait(job, live.batcher, is_abandoned)
            except BaseException:
                live.batcher.cancel(job)
                raise
        finally:
            live.num_users -= 1
            self._close_if_unused(live)
        require_finite(job.vectors, self.name)
        vectors = job.vectors if dimensions == job.vectors.shape[1] else _first(job.vectors, dimensions)
        return Embedded(vectors, job.num_tokens, job.begun - job.arrived, job.finished - job.begun)

    async def _wait(self, job: Job, batcher: Batcher, is_abandoned: Callable[[], Awaitable[None]] | None) -> None:
        watch = None if is_abandoned is None else asyncio.ensure_future(is_abandoned())
        waited: list[asyncio.Future[object]] = [job.done, *([] if watch is None else [watch])]  # type: ignore[list-item]
        try:
            await asyncio.wait(waited, timeout=self.settings.request_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if watch is not None and not watch.done():
                watch.cancel()
        if job.done.done():
            job.done.result()
        elif watch is not None and watch.done():
            watch.result()
            raise AbandonedError
        else:
            raise TimedOutError(self.name, self.settings.request_seconds, batcher.seconds_to_wait())

    async def run(self, work: Callable[[SentenceTransformer], T]) -> T:
        """Return ``work(model)``, run in the model's thread between two batches; it must leave the model as it was."""
        live = self._live
        live.num_users += 1
        try:
            return await asyncio.wrap_future(live.batcher.call(lambda: work(live.model)))
        finally:
            live.num_users -= 1
            self._close_if_unused(live)

    def keep(self) -> None:
        """From now on, refuse to become another model by ``reload``: it is an arm of an experiment."""
        self._kept = self.info.fingerprint

    async def reload(self) -> ModelInfo:
        """Load the model again and return what it is now; until it is warm, the old one answers.

        Raises: ModelError if it cannot be loaded, or must not become another; the old one then goes on.
        """
        async with self._reloading:
            fresh = await asyncio.to_thread(self._load)
            if self._kept not in (None, fresh.info.fingerprint):
                await asyncio.to_thread(fresh.batcher.close)
                raise ModelError(
                    f"{self.name} is an arm of an experiment, and is model {fresh.info.fingerprint} now",
                    f"wanted {self._kept}, as it began: users of both would be mixed",
                    "serve the new model under another name, or begin a new experiment",
                )
            old, self._live = self._live, fresh
            old.is_retired = True
            self._close_if_unused(old)
            return fresh.info

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        self._live.batcher.close()

    def _close_if_unused(self, live: _Live) -> None:
        if live.is_retired and not live.num_users and not live.is_closed:
            live.is_closed = True
            closing = asyncio.get_running_loop().run_in_executor(None, live.batcher.close)
            closing.add_done_callback(self._count_freed)

    def _count_freed(self, _closing: asyncio.Future[None]) -> None:
        self.num_freed += 1

    def _load(self, is_first: bool = False) -> _Live:
        if isinstance(self._source, str):
            model = load_any(self._source, self._precision, for_encoding=False, device=self._device)
            source = self._source
        elif not is_first:
            raise ModelError(f"{self.name} was given as a loaded model", "wanted the name of one, to load it again")
        else:
            model, source = self._source, ""
        live = _Live(self.name, source, model, self.settings, lambda name, facts: self.on_batch(name, facts))
        try:
            for texts in (UNRELATED[:1], UNRELATED):
                live.calibration = live.batcher.warm(texts)
                require_finite(live.calibration, self.name)
        except BaseException:
            live.batcher.close()
            raise
        return live


def require_dimensions(info: ModelInfo, dimensions: int | None) -> int:
    """Return the width of embeddings.

    Raises: ConfigError for one that the model was not trained for.
    """
    if dimensions is None or dimensions == info.width or dimensions in info.dimensions:
        return dimensions or info.width
    raise ConfigError(
        f"dimensions is {dimensions}, which {info.name} was not trained for",
        f"wanted one of {', '.join(map(str, info.dimensions))}" if info.dimensions else f"wanted {info.width}",
        "leave it out",
    )


def require_encodable(texts: Sequence[Input]) -> None:
    """Raise DataError for a text that is not Unicode: one with half of a surrogate pair."""
    for number, text in enumerate(texts):
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"input {number} has half of a surrogate pair at character {error.start}", "wanted Unicode text"
                ) from error


def _first(vectors: Float[np.ndarray, "B D"], dimensions: int) -> Float[np.ndarray, "B D"]:
    kept = vectors[:, :dimensions]
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    return kept / np.maximum(lengths, np.finfo(np.float32).tiny)
