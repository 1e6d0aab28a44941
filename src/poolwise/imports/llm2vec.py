"""LLM2Vec (arXiv:2404.05961): adapters in order, and the tokens that its package adds to a text or does not pool.

A base, a first adapter (MNTP), a second one on top, and the mean under bidirectional attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from poolwise.design import Design
from poolwise.errors import ModelError
from poolwise.imports.adapters import LoraFolder, read_lora
from poolwise.imports.layouts import ADAPTER, LLM2VEC, read_settings

WRAPPERS: Mapping[str, tuple[str, str]] = {
    "meta-llama/Meta-Llama-3-8B-Instruct": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    "mistralai/Mistral-7B-Instruct-v0.2": ("[INST] ", " [/INST]"),
    "meta-llama/Llama-2-7b-chat-hf": ("[INST] ", " [/INST]"),
}
"""What its package puts before and after every text, by the name of the base."""


@dataclass(frozen=True)
class Llm2VecSettings:
    """How its package reads texts; defaults are the package's."""

    pooling_mode: str = "mean"
    max_length: int = 512
    doc_max_length: int = 400
    skip_instruction: bool = True

    def design(self) -> Design:
        """Return the design that pools the same tokens: neither BOS nor the instruction, unless they are kept.

        Raises: ModelError for another pooling than the mean.
        """
        if self.pooling_mode != "mean":
            raise ModelError(
                f"its pooling_mode is {self.pooling_mode}",
                "wanted mean: in the others the package pools tokens that no pooling here does",
            )
        skips = (("prompt", "skip"), ("skip", "bos")) if self.skip_instruction else ()
        return Design("mean", "bidirectional", skips)


def read_llm2vec(folders: Sequence[Path]) -> Llm2VecSettings:
    """Return the settings in the last of the folders that has any.

    Raises: ModelError for unknown ones, or values of other types.
    """
    found: dict[str, Any] = {}
    for folder in folders:
        found = read_settings(folder / LLM2VEC) or found
    known = Llm2VecSettings.__dataclass_fields__
    if odd := sorted(set(found) - set(known)):
        raise ModelError(f"{LLM2VEC} has {', '.join(odd)}", f"wanted only {', '.join(known)}")
    if wrong := [key for key, value in found.items() if type(value) is not type(known[key].default)]:
        raise ModelError(
            f"{wrong[0]} in {LLM2VEC} is {found[wrong[0]]!r}", f"wanted {type(known[wrong[0]].default).__name__}"
        )
    return Llm2VecSettings(**found)


def adapters_in_order(folders: Sequence[Path]) -> list[LoraFolder]:
    """Return the adapters, first the one that is merged first; one that names another adapter as its base follows it.

    Raises: ModelError if a folder has no adapter, or two adapters name different bases.
    """
    found = [read_lora(folder) for folder in folders]
    while found[0].base and (Path(found[0].base) / ADAPTER).is_file():
        found = [read_lora(Path(found[0].base)), *found]
    places = {str(lora.folder.resolve()) for lora in found}
    bases = {lora.base for lora in found if lora.base and str(Path(lora.base).resolve()) not in places}
    if len(bases) > 1:
        raise ModelError(
            f"the adapters name different bases: {', '.join(sorted(bases))}", "wanted adapters of one base"
        )
    return found


def wrapper_ids(tokenizer: PreTrainedTokenizerBase, after: str) -> list[int]:
    """Return the ids that follow every text: those of ``after``, and those the tokenizer itself appends.

    Raises: ModelError if they depend on the text.
    """
    bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", f"a{after}")]
    if bare[1][: len(bare[0])] != bare[0]:
        raise ModelError(f"the tokenizer joins {after!r} with the text before it", "wanted ids of their own")
    full = tokenizer(f"a{after}", add_special_tokens=True)["input_ids"]
    start = next((i for i in range(len(full)) if full[i : i + len(bare[1])] == bare[1]), None)
    if start is None:
        raise ModelError("the tokenizer reads a text in another way with its special tokens")
    return [*bare[1][len(bare[0]) :], *full[start + len(bare[1]) :]]
