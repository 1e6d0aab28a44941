"""The model under examination: how it tokenises, embeds and pools, with what other checks need to know about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.checks.probe_texts import UNRELATED
from poolwise.errors import ModelError
from poolwise.models.attention import exact, rounds
from poolwise.models.backbone import Backbone
from poolwise.storage.json_text import load_json

NO_LIMIT = 10**6
"""Tokenizers without a limit have one of 10**30."""


@dataclass(frozen=True)
class Trace:
    """How one text went through a model.

    Args:
        ids: of its tokens, without padding.
        tokens: their states as the pooling read them (T D); None if the model gives none.
        stages: for each module after which there was an embedding: its class, and the embedding (D).
    """

    ids: tuple[int, ...]
    tokens: Float[Tensor, "T D"] | None
    stages: tuple[tuple[str, Float[Tensor, " D"]], ...]

    @property
    def pooled(self) -> Float[Tensor, " D"]:
        """The embedding as the pooling returned it."""
        return self.stages[0][1]


class Subject:
    """A loaded model and, if known, the folder with its configuration.

    Raises: ModelError if the model has no transformer inside.
    """

    def __init__(self, model: SentenceTransformer, folder: Path | None = None) -> None:
        if model.transformers_model is None:
            raise ModelError(f"the model starts with {type(model[0]).__name__}", "wanted a model with a transformer")
        self.model = model
        self.folder = folder
        self.known: dict[str, Any] = {}
        """What a check has measured once for others."""
        self.has_lent_padding = False
        """Whether the tokenizer has no padding token that can be used, so the checks pad with another one."""

    @property
    def transformer(self) -> PreTrainedModel:
        """The transformer inside the model."""
        found: PreTrainedModel = self.model.transformers_model
        return found

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def backbone(self) -> Backbone | None:
        """The first module, if this is a poolwise model."""
        first = self.model[0]
        return first if isinstance(first, Backbone) else None

    @cached_property
    def limit(self) -> int | None:
        """The number of tokens at which texts are truncated; None without a limit."""
        limit = self.model.max_seq_length
        return None if limit is None or limit > NO_LIMIT else int(limit)

    @property
    def room(self) -> int:
        """The number of tokens that the transformer can read of a text; very large without a limit."""
        return min(n for n in (self.limit, self.positions, NO_LIMIT) if n is not None)

    @property
    def longest_row(self) -> int:
        """The most ids that a text may become: more than ``room`` where a design repeats it or adds tokens."""
        if self.backbone is None or self.limit is None:
            return self.room
        tokens = self.backbone.tokens
        added = self.limit * (2 if tokens.echoes else 1) + len(tokens.soft_ids)
        added += self.limit // tokens.landmark_every if tokens.landmark_every is not None else 0
        return added if self.positions is None else min(added, self.positions)

    @property
    def positions(self) -> int | None:
        """The number of positions that the transformer has; None if it names none."""
        found = getattr(self.transformer.config.get_text_config(), "max_position_embeddings", None)
        return int(found) if found and found > 0 else None

    def settings(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file of the model's folder; {} without such a file."""
        path = None if self.folder is None else self.folder / name
        return read_json(path) if path is not None else {}

    def features(self, texts: Sequence[str], prompt: str | None = None) -> dict[str, Any]:
        """Return the features of texts on the model's device."""
        found = self.model.preprocess(list(texts), **({"prompt": prompt} if prompt else {}))
        return {name: x.to(self.model.device) if isinstance(x, Tensor) else x for name, x in found.items()}

    def embed(self, texts: Sequence[str], prompt: str | None = None) -> Float[Tensor, "B D"]:
        """Return the embeddings of one batch, in fp32."""
        return self.model(self.features(texts, prompt))["sentence_embedding"].float()

    def embed_alone(self, texts: Sequence[str]) -> Float[Tensor, "B D"]:
        """Return the embeddings of texts, each computed without neighbours and padding."""
        return torch.cat([self.embed([text]) for text in texts])

    def ids(self, text: str, prompt: str | None = None) -> list[int]:
        """Return the ids of a text as the model reads it, without padding and without trained tokens."""
        features = self.features([text], prompt)
        ids = features["input_ids"].flatten()
        if (mask := features.get("attention_mask")) is not None and mask.shape == features["input_ids"].shape:
            ids = ids[mask.flatten().bool()]
        if self.backbone is not None:  # trained tokens follow EOS; they have no place in the vocabulary
            ids = ids[ids < self.backbone.tokens.vocab_size]
        return [int(i) for i in ids]

    def hides_end(self, text: str) -> bool:
        """Return whether the mask of a text alone leaves out an EOS token that follows the others."""
        features = self.features([text])
        ids, mask = features["input_ids"][0], features.get("attention_mask")
        if mask is None or mask[0].shape != ids.shape or bool(mask[0].all()):
            return False
        hidden = ids[int(mask[0].nonzero().max()) + 1 :]
        # Padding to a fixed length hides many; one is EOS itself.
        return len(hidden) == 1 and int(hidden[0]) == self.tokenizer.eos_token_id

    def trace(self, text: str, prompt: str | None = None) -> Trace:
        """Return how a text alone goes through the model's modules."""
        stages: list[tuple[str, Tensor]] = []
        tokens: list[Tensor] = []

        def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
            if (vector := output.get("sentence_embedding")) is not None:
                stages.append((type(module).__name__, vector[0].detach().float().clone()))
            elif (states := output.get("token_embeddings")) is not None:
                tokens[:] = [states[0].detach().float().clone()]

        features = self.features([text], prompt)
        ids, mask = features["input_ids"][0], features.get("attention_mask")
        handles = [child.register_forward_hook(keep) for child in self.model.children()]
        try:
            self.model(features)
        finally:
            for handle in handles:
                handle.remove()
        real = mask[0].bool() if mask is not None and mask[0].shape == ids.shape else torch.ones_like(ids).bool()
        states = tokens[0] if tokens and len(tokens[0]) == len(real) else None
        return Trace(tuple(int(i) for i in ids[real]), None if states is None else states[real], tuple(stages))

    def traces(self, texts: Sequence[str], prompt: str | None = None) -> tuple[list[Trace], bool]:
        """Return how texts go through the model, each alone, and whether that was computed in fp32.

        It is not where an architecture casts to the dtype of its weights.
        """
        try:
            with self.in_fp32():
                return [self.trace(text, prompt) for text in texts], True
        except RuntimeError:
            if not rounds(self.model):
                raise
            return [self.trace(text, prompt) for text in texts], False

    @contextmanager
    def in_fp32(self) -> Iterator[None]:
        """Compute in fp32 inside the block, whatever the dtype of the weights."""
        with exact(self.model) if rounds(self.model) else nullcontext():
            yield

    @cached_property
    def unrelated(self) -> Float[Tensor, "B D"]:
        """The embeddings of ``UNRELATED``, each computed alone."""
        return self.embed_alone(UNRELATED)

    @cached_property
    def blocked(self) -> str:
        """Why embeddings cannot be compared: all are zero, equal or not finite; empty if they can."""
        vectors = self.unrelated
        finite = vectors[vectors.isfinite().all(dim=1)]
        if len(finite) < 2:
            return "not judged: see finite values"
        if not bool(finite.any()) or float(torch.pdist(finite).max()) <= 1e-6 * float(finite.norm(dim=1).max()):
            return "not judged: see distinct vectors"
        return ""

    @cached_property
    def distance(self) -> float:
        """The mean distance between the embeddings of unrelated texts, the unit of all differences."""
        vectors = self.unrelated
        return float(torch.pdist(vectors[vectors.isfinite().all(dim=1)]).mean())


@contextmanager
def examined(subject: Subject) -> Iterator[None]:
    """Switch off dropout and gradients inside the block, and lend settings without which nothing could be measured."""
    model = subject.model
    was_training = model.training
    model.eval()
    try:
        with _sound_settings(subject), torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _sound_settings(subject: Subject) -> Iterator[None]:
    """Lend a padding token and a limit that can be used, so that a fault of one shows on its own line only."""
    model, limit, positions = subject.model, subject.limit, subject.positions
    if subject.backbone is not None:  # checked when it was built
        yield
        return
    padding, length = subject.tokenizer.pad_token_id, model.max_seq_length
    is_too_long = positions is not None and (limit is None or limit > positions)
    try:
        _lend_padding(subject)
        if is_too_long:
            model.max_seq_length = positions
        yield
    finally:
        if subject.has_lent_padding:
            subject.tokenizer.pad_token_id = padding
        if is_too_long:
            model.max_seq_length = length


def _lend_padding(subject: Subject) -> None:
    tokenizer = subject.tokenizer
    rows = num_embeddings(subject)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows:
        return
    subject.has_lent_padding = True
    others = (tokenizer.eos_token_id, tokenizer.unk_token_id, 0)
    tokenizer.pad_token_id = next(i for i in others if i is not None and i < rows)


def num_embeddings(subject: Subject) -> int:
    """Return the number of ids that the transformer has an embedding for."""
    return int(subject.transformer.get_input_embeddings().weight.shape[0])


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """Return the modules that a folder's modules.json lists; [] without such a file.

    Raises: ModelError if it cannot be read.
    """
    path = folder / "modules.json"
    found = _parsed(path) if path.is_file() else []
    return [module for module in found if isinstance(module, dict)] if isinstance(found, list) else []


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object; {} if there is no such file.

    Raises: ModelError if it cannot be read.
    """
    found = _parsed(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _parsed(path: Path) -> Any:
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", "wanted JSON") from error
