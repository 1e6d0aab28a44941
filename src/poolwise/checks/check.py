"""The result of one check, of all checks of a model, and what each line of the table means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, overload

Status = Literal["pass", "warn", "fail", "skip"]
"""``skip``: not judged, because it does not apply or another line's fault hides it; ``found`` says which."""
Kind = Literal["embedding model", "base"]
Measured = Mapping[str, float | int | str | bool | None]


@dataclass(frozen=True)
class Line:
    """What a line of the table measures, what it guards against, and what to do if it is not passed.

    A figure, which never fails, guards against nothing.
    """

    measures: str
    guards: str
    todo: str


LINES: dict[str, Line] = {
    "custom code": Line(
        "whether the folder names Python code of its own, and whether that code was run",
        "another model behind the same name: with the code, attention or pooling may differ",
        "read the files; pass --trust-remote-code to check the model with them",
    ),
    "attention": Line(
        "whether a token sees later ones, in each layer: the last token is replaced, with padding left, right and none",
        "a model that is silently causal, or whose attention depends on the padding",
        "set is_causal in config.json (false for bidirectional), or use another base or kernel",
    ),
    "attention kernels": Line(
        "the same in eager, sdpa and, where available, flash attention",
        "a server that uses another kernel and so gives other embeddings",
        "load the model everywhere with the kernel that agrees with its claim: attn_implementation=...",
    ),
    "chat template": Line(
        "whether texts are wrapped in the tokenizer's chat template",
        "a merged decoder that reads instructions around every text, which it was not trained with",
        "unless it was trained with the template, keep only `text` in modality_config of sentence_bert_config.json",
    ),
    "bos": Line(
        "the first id of short, long and prompted texts",
        "a BOS token that is promised and missing, or there for some texts only",
        "add BOS in the tokenizer's post-processor (tokenizer.json)",
    ),
    "eos": Line(
        "the last id of short texts",
        "a last-token pooling that reads whichever word comes last; an EOS token that is promised and missing",
        "append EOS in the tokenizer's post-processor (tokenizer.json)",
    ),
    "truncation": Line(
        "the last id of a text that is longer than the limit",
        "an EOS token that is appended before truncation, so long texts lose it",
        "append EOS after truncation: in the tokenizer's post-processor, not in the text",
    ),
    "padding token": Line(
        "whether batches can be padded, and whether the mask keeps every token of a text (EOS too, if padding is EOS)",
        "an EOS token that is masked as padding; padding without an embedding",
        "set pad_token in tokenizer_config.json; make masks from lengths, not from ids",
    ),
    "max length": Line(
        "the limit of tokens, whether texts are cut there, and the positions that the transformer has",
        "an index error, or positions that were never trained, on long texts",
        "set max_seq_length in sentence_bert_config.json to at most the positions",
    ),
    "finite values": Line(
        "NaN and infinity in texts of 0 to 200 words, as far as the limit allows, alone and in one batch",
        "half-precision overflow, and rows of a mask that hide everything",
        "load the model in fp32 or bf16; check the attention mask of padded texts",
    ),
    "distinct vectors": Line(
        "the share of zero vectors, and of equal vectors of different texts",
        "a pooling without tokens, dead weights, a failed export",
        "check pooling and mask; load the weights again and look for missing ones",
    ),
    "batch invariance": Line(
        "the largest distance between a text alone and in a batch of mixed lengths; in fp32 too if the model rounds",
        "padding that is attended to or pooled: a text's embedding then depends on its neighbours",
        "check that the tokenizer returns attention_mask, and that attention, positions and pooling use it",
    ),
    "padding side": Line(
        "the same with padding on the other side",
        "a padding side that attention, positions or pooling cannot handle",
        "set padding_side in tokenizer_config.json to the side named",
    ),
    "pooling": Line(
        "the pooled vector compared with last, mean, weighted mean, first, max and others, and with the configuration",
        "a model served with another pooling than it was trained with",
        "make every key of the pooling's config.json say the same",
    ),
    "prompt": Line(
        "whether tokens of the prompt are pooled, compared with include_prompt",
        "a prompt that is pooled although it should be left out, or left out although it should be pooled",
        "pass the prompt as prompt=, not inside the text; set include_prompt in the pooling's config.json",
    ),
    "final norm": Line(
        "whether the pooled states are those after the transformer's final norm",
        "engines that disagree: hidden_states[-1] is before the norm in some architectures",
        "read last_hidden_state, not a list of hidden states",
    ),
    "normalisation": Line(
        "how often embeddings are scaled to length 1, and whether they leave the model so",
        "scores that depend on length under dot product; a module that does nothing",
        "keep one Normalize as the last module",
    ),
    "dtype": Line(
        "the dtype of weights and embeddings",
        "rounded scores nobody asked for: a folder in bf16 is loaded in bf16",
        'load with model_kwargs={"dtype": "float32"} if scores must be exact',
    ),
    "spread": Line(
        "anisotropy: the mean cosine of 16 unrelated texts",
        "embeddings that all point one way, so scores hardly differ",
        "train the model (an untrained base often warns), or subtract the mean embedding",
    ),
    "distractors": Line(
        "how far one relevant sentence among irrelevant ones moves the embedding, in distances between unrelated texts",
        "long documents whose embedding does not show what one passage says",
        "split documents into passages, or train on long ones",
    ),
    "speed": Line(
        "texts and tokens per second of encode on this device, batches of 32 short texts",
        "",
        "",
    ),
    "usable as a base": Line(
        "whether poolwise can read it, append EOS, and set and verify an attention",
        "a study that stops at its first job",
        "use one of the architectures that are known to work",
    ),
    "causal": Line(
        "the attention of `mean+causal` on this base, layer by layer and per kernel",
        "a causal class that looks ahead",
        "use another kernel or base for causal designs",
    ),
    "bidirectional": Line(
        "the attention of `mean+bidirectional` on this base, layer by layer and per kernel",
        "an architecture that ignores is_causal, or has layers that are always causal",
        "use causal designs only, or another base",
    ),
}
"""Every line of the table by its stable name, in the order of the table; a base has fewer lines than a model."""


@dataclass(frozen=True)
class Check:
    """One check: its stable name, its status, what was found and wanted, and what to do if it is not passed.

    Args:
        measured: the numbers and facts behind ``found``, by name.
    """

    name: str
    status: Status
    found: str
    wanted: str = ""
    hint: str = ""
    measured: Measured = field(default_factory=dict)

    @property
    def guards(self) -> str:
        """What this check guards against."""
        return LINES[self.name].guards


@dataclass(frozen=True)
class Fix:
    """A corrected copy of a model.

    Args:
        out: its folder.
        changes: by the name of each check that the copy now passes: which setting was changed.
        checks: of the copy.
    """

    out: str
    changes: Mapping[str, str]
    checks: tuple[Check, ...]

    @property
    def has_failed(self) -> bool:
        """Whether a check of the copy failed."""
        return any(check.status == "fail" for check in self.checks)


@dataclass(frozen=True)
class Diagnosis(Sequence[Check]):
    """The checks of a model, as a sequence.

    Args:
        kind: "embedding model", or "base" for a transformer without an embedding head, which is judged as a base.
        fix: the corrected copy, if one was asked for.
    """

    kind: Kind
    checks: tuple[Check, ...]
    fix: Fix | None = None

    @overload
    def __getitem__(self, place: int) -> Check: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Check]: ...
    def __getitem__(self, place: int | slice) -> Check | Sequence[Check]:
        return self.checks[place]

    def __len__(self) -> int:
        return len(self.checks)

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    @property
    def has_failed(self) -> bool:
        """Whether a check failed."""
        return any(check.status == "fail" for check in self.checks)

    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        found = {check.status for check in self.checks}
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON; docs/how-to/doctor.md documents its keys."""
        fix = None
        if self.fix is not None:
            fix = {"out": self.fix.out, "changes": dict(self.fix.changes), "checks": _listed(self.fix.checks)}
        return {"kind": self.kind, "status": self.status, "checks": _listed(self.checks), "fix": fix}


def _listed(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [{**asdict(check), "guards": check.guards} for check in checks]
