"""A store of states on disk: of a set of texts, one frozen base and one attention, named by a hash of all of these."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poolwise.attentions import Attention, parse_attention
from poolwise.base_dtypes import HeldDtype, Precision
from poolwise.errors import EvalError
from poolwise.screening.arrays import Kept, StateFile, bytes_per_state
from poolwise.screening.needs import Need
from poolwise.storage.checksums import checksums, damages
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import whole_file, write_text

Key = tuple[str, str]
"""A prompt and the text after it."""
IntArray = NDArray[np.int64]
_STORE, _LENGTHS = "store.json", "lengths.npy"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreSpec:
    """Everything the states depend on. ``base_hash`` is the hash of the base's files; ``keys`` are sorted and unique.

    Law: equal specs have equal folders with equal states.
    """

    base: str
    base_hash: str
    attention: Attention
    max_tokens: int
    precision: Precision
    kept: Kept
    keys: tuple[Key, ...]
    base_dtype: HeldDtype = "fp32"
    split_special_tokens: bool = True

    @cached_property
    def key(self) -> str:
        """A hash of the spec without the location of the base, nor what was added later and has its default."""
        later = {"base_dtype": self.base_dtype == "fp32", "split_special_tokens": self.split_special_tokens}
        left_out = {"base", *(name for name, is_default in later.items() if is_default)}
        return fingerprint({name: value for name, value in asdict(self).items() if name not in left_out})


@dataclass(frozen=True)
class Lengths:
    """The number of tokens of each row and how many of them are prompt; the longest rows come first."""

    order: IntArray
    num_tokens: IntArray
    num_prompt: IntArray

    @cached_property
    def starts(self) -> IntArray:
        """The start of each row's tokens when all are concatenated; one entry more than rows."""
        return np.concatenate([[0], np.cumsum(self.num_tokens)])


class StateStore:
    """States on disk by (prompt, text), and the same features for a pooling that the backbone would compute.

    Args:
        root: the folder of all stores; this one gets a subfolder.
    """

    def __init__(self, spec: StoreSpec, root: Path) -> None:
        self.spec = spec
        self.folder = root / f"{parse_attention(spec.attention).slug}-{spec.key}"

    @property
    def is_laid_out(self) -> bool:
        """Whether the lengths of all texts are known, and their files are as they were written."""
        if not (self.folder / _STORE).is_file():
            return False
        try:
            _ = self._layout
        except EvalError as error:
            logger.warning("%s; it is made again", error.got)
            return False
        return True

    @cached_property
    def _layout(self) -> dict[str, Any]:
        """The content of ``store.json``. Raises: EvalError where it or ``lengths.npy`` is missing or damaged."""
        path = self.folder / _STORE
        try:
            found = dict(load_json(path))
            shape = {"dim": int(found["dim"]), "num_layers": int(found["num_layers"])}
            lengths = found.get("files", {})  # none of an older version
            bad = damages(self.folder, lengths)
            if "check" in found and found["check"] != fingerprint(shape | {"files": lengths}):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            bad = {_STORE: f"is missing or damaged ({type(error).__name__})"}
        if bad:
            name, problem = next(iter(bad.items()))
            raise EvalError(
                f"{self.folder / name} {problem}",
                "wanted it as the pass over the texts wrote it",
                f"delete {self.folder} and run the same command again",
            )
        return shape

    def lay_out(self, num_tokens: IntArray, num_prompt: IntArray, dim: int, num_layers: int) -> None:
        """Fix the order of the rows, longest text first. Args: token counts in the order of ``spec.keys``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        order = np.argsort(-num_tokens, kind="stable").astype(np.int64)
        with whole_file(self.folder / _LENGTHS) as file:
            np.save(file, np.stack([order, num_tokens[order], num_prompt[order]]))
        files = checksums(self.folder, [self.folder / _LENGTHS])
        layout = {"dim": dim, "num_layers": num_layers, "files": files}
        write_text(self.folder / _STORE, json.dumps(layout | {"check": fingerprint(layout)}) + "\n")
        for known in ("_layout", "lengths", "_rows"):
            self.__dict__.pop(known, None)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of layers and the width of the base. Raises: EvalError where ``store.json`` is damaged."""
        return self._layout["num_layers"], self._layout["dim"]

    @cached_property
    def lengths(self) -> Lengths:
        assert self._layout  # which compares the checksum
        order, num_tokens, num_prompt = np.load(self.folder / _LENGTHS)
        return Lengths(order, num_tokens, num_prompt)

    @cached_property
    def _rows(self) -> dict[Key, int]:
        return {self.spec.keys[number]: row for row, number in enumerate(self.lengths.order)}

    def __len__(self) -> int:
        return len(self.spec.keys)

    def file(self, need: Need) -> StateFile:
        """Return the file of one kind of state, complete or not."""
        num_layers, dim = self.shape
        length = int(self.lengths.starts[-1]) if need.tokens == "all" else len(self)
        shape = (num_layers, dim) if need.layers else (dim,)
        return StateFile(self.folder / need.name, length, shape, self.spec.kept)

    def rows(self, keys: Sequence[Key]) -> IntArray:
        """Return the row of each (prompt, text).

        Raises: EvalError for a text without stored states.
        """
        try:
            return np.array([self._rows[key] for key in keys], np.int64)
        except KeyError as error:
            raise EvalError(f"no states are stored for {error}", "wanted a text of this screen") from None

    def reader(self, need: Need) -> StateReader:
        """Return the reader of features for a pooling.

        Raises: EvalError where states are missing.
        """
        file = self.file(need)
        if file.done < file.length:
            raise EvalError(
                f"{self.folder} holds {file.done} of {file.length} states {need.name}",
                hint="run the screen again: it computes the rest",
            )
        return StateReader(need, file, self.lengths)


@dataclass(frozen=True)
class StateReader:
    """Reads the features of one kind of pooling for given rows."""

    need: Need
    file: StateFile
    lengths: Lengths

    def features(self, rows: IntArray) -> dict[str, Tensor]:
        """Return ``layer_embeddings`` (B L D), or ``token_embeddings`` (B T D) with their ``pooling_mask`` (B T).

        Reduced tokens are returned as the only token of their text.
        """
        if self.need.tokens == "all":
            return self._tokens(rows)
        states = torch.from_numpy(self.file.read(rows))
        if self.need.layers:
            return {"layer_embeddings": states}
        return {"token_embeddings": states[:, None], "pooling_mask": torch.ones(len(rows), 1, dtype=torch.bool)}

    def _tokens(self, rows: IntArray) -> dict[str, Tensor]:
        mask = token_mask(self.lengths.num_tokens[rows])
        states = np.zeros((*mask.shape, *self.file.shape), np.float32)
        first = self.lengths.starts[rows]
        if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):  # contiguous in the file
            flat = self.file.read(slice(int(first[0]), int(self.lengths.starts[rows[-1] + 1])))
        else:
            flat = self.file.read(np.concatenate([np.arange(s, s + n) for s, n in self._spans(rows)]))
        states[mask] = flat
        pooled = mask.copy()
        if self.need.prompt == "skip":
            pooled &= np.arange(mask.shape[1]) >= self.lengths.num_prompt[rows][:, None]
        return {"token_embeddings": torch.from_numpy(states), "pooling_mask": torch.from_numpy(pooled)}

    def _spans(self, rows: IntArray) -> Any:
        return zip(self.lengths.starts[rows], self.lengths.num_tokens[rows], strict=True)


def token_mask(num_tokens: IntArray) -> NDArray[np.bool_]:
    """Return which positions of a right-padded batch hold a token."""
    return np.asarray(np.arange(num_tokens.max()) < num_tokens[:, None])


def disk_bytes(needs: Sequence[Need], num_texts: int, num_tokens: int, shape: tuple[int, int], kept: Kept) -> int:
    """Return the bytes on disk of the states of ``num_texts`` texts with ``num_tokens`` tokens in total.

    Args:
        shape: the number of layers and the width of the base.
    """
    num_layers, dim = shape
    total = 0
    for need in needs:
        states = num_tokens if need.tokens == "all" else num_texts
        total += states * bytes_per_state((num_layers, dim) if need.layers else (dim,), kept)
    return total
