"""``Design = pooling x attention``, a value whose text parses back to an equal value.

A design is written ``multilayer+bidirectional``. Options follow the pooling or the attention in parentheses:
``latent(keys=last)+causal``, ``mean+bidirectional(top=4)``. ``paper:1`` to ``paper:5`` are the five designs of
arXiv:2409.02727.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from poolwise.attentions import ATTENTIONS, Attention, parse_attention
from poolwise.errors import ConfigError, PoolwiseError, nearest
from poolwise.layer_subsets import LayerSubset

OptionValue = str | int | bool

# An option's kind is the tuple of its allowed words, or int (a positive whole number), or bool, or a subset of layers.
OptionKind = tuple[str, ...] | type[int] | type[bool] | type[LayerSubset]

_COMMON: dict[str, OptionKind] = {"prompt": ("keep", "skip"), "dim": int}
_SKIP: dict[str, OptionKind] = {"skip": ("none", "bos")}
_ECHO: dict[str, OptionKind] = {"echo": bool}
_TOKENS: dict[str, OptionKind] = {"tokens": ("last", "mean")}
_LAYERS: dict[str, OptionKind] = _TOKENS | {"layers": LayerSubset}
_HEAD: dict[str, OptionKind] = {
    "size": ("auto", "paper"),
    "latents": int,
    "heads": int,
    "head_dim": int,
    "init": ("mean", "random"),
}


@dataclass(frozen=True)
class PoolingSpec:
    """One pooling: which options it takes, whether it trains parameters, and whether it reads all layers.

    Args:
        changes_input: the base reads other tokens beside prompt, text and EOS, whatever the options; the states that a
            screen stores are then not those that are pooled.
    """

    options: Mapping[str, OptionKind]
    is_trainable: bool
    uses_layers: bool
    summary: str
    changes_input: bool = False


POOLINGS: Mapping[str, PoolingSpec] = {
    "last": PoolingSpec(_COMMON | _ECHO, False, False, "the EOS token's state of the last layer"),
    "mean": PoolingSpec(_COMMON | _SKIP | _ECHO, False, False, "the mean over tokens of the last layer"),
    "weighted_mean": PoolingSpec(_COMMON, False, False, "the mean with weights 1, 2, 3 ... by position"),
    "layer_mean": PoolingSpec(_COMMON | _LAYERS, False, True, "the uniform mean over the layers"),
    "layer_mix": PoolingSpec(_COMMON | _LAYERS, True, True, "a softmax-weighted mean over the layers"),
    "latent": PoolingSpec(
        _COMMON | _HEAD | {"keys": ("all", "last")},
        True,
        False,
        "trained latents query the tokens of the last layer (the paper's last-layer trainable pooling)",
    ),
    "nv_latent": PoolingSpec(
        _COMMON | _HEAD,
        True,
        False,
        "the tokens of the last layer query trained latents and are averaged (NV-Embed's direction)",
    ),
    "pma": PoolingSpec(
        _COMMON | {"queries": int, "heads": int, "init": ("mean", "random")},
        True,
        False,
        "trained queries attend to the tokens of the last layer (pooling by multihead attention, as in C2LLM)",
    ),
    "multilayer": PoolingSpec(
        _COMMON | _LAYERS | _HEAD | {"layer_embedding": bool, "input": ("normalised", "raw")},
        True,
        True,
        "trained latents query one state per layer (the paper's Multi-Layers Trainable Pooling)",
    ),
    "soft_tokens": PoolingSpec(
        _TOKENS | {"count": int, "dim": int},
        True,
        False,
        "trained tokens that the base reads after EOS: the last one's state, or their mean",
        changes_input=True,
    ),
    "landmark": PoolingSpec(
        {"every": int, "dim": int},
        False,
        False,
        "the mean over landmarks: EOS after every N tokens of the text, and after the last",
        changes_input=True,
    ),
    "mlp": PoolingSpec(
        _COMMON | _TOKENS | {"size": ("auto", "paper")},
        True,
        False,
        "last token or mean through an MLP of multilayer's size: the control for capacity",
    ),
}

ALL_DESIGNS: tuple[str, ...] = tuple(
    f"{pooling}+{attention}" for attention in ATTENTIONS for pooling, spec in POOLINGS.items() if not spec.changes_input
)
"""Every pooling that a screen can try with both attentions, without options."""

DEFAULTS: Mapping[str, OptionValue] = {
    "prompt": "keep",
    "skip": "none",
    "echo": False,
    "keys": "all",
    "size": "auto",
    "init": "mean",
    "queries": 1,
    "count": 1,
    "every": 32,
    "layer_embedding": True,
    "input": "normalised",
    "layers": "all",
}
"""Defaults of options. The default of ``tokens`` depends on the attention, those of sizes on the base."""


LARGEST_OPTION = 1_000_000
"""Of options that are numbers, such as a width: larger ones could only be typing errors."""
_MOST_DIGITS = 18


def _checked(name: str, value: OptionValue, kind: OptionKind) -> OptionValue:
    if isinstance(kind, tuple):
        if value not in kind:
            raise ConfigError(f"option {name}={value!s} is unknown", nearest(str(value), kind))
    elif kind is LayerSubset:
        return str(LayerSubset(_text(value)))
    elif kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"option {name}={value!s} is not true or false")
    elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"option {name}={value!s:.40} is not a positive whole number")
    elif value > LARGEST_OPTION:
        raise ConfigError(f"option {name}={value} is too large", f"wanted at most {LARGEST_OPTION:,}")
    return value


def default_tokens(attention: Attention) -> str:
    """Return which state represents a layer: the last token if causal, the mean if bidirectional (paper, 1).

    Of the partial attentions, ``on=prompt`` takes the last token (the text stays causal) and ``top`` takes the mean.
    """
    return "last" if parse_attention(attention).ends_causal else "mean"


@dataclass(frozen=True, order=True)
class Design:
    """One pooling with its options, and one attention.

    Options equal to their default are dropped, so that two ways to write one design give one value.

    Law: ``parse_design(str(design)) == design``.
    Raises: ConfigError where a name or an option is unknown, or a value is out of range.

    Example:

        >>> import poolwise
        >>> design = poolwise.Design("multilayer", "bidirectional")
        >>> str(design), design.is_trainable, design.alias
        ('multilayer+bidirectional', True, 'paper:5')
    """

    pooling: str
    attention: Attention
    options: tuple[tuple[str, OptionValue], ...] = field(default=())

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ConfigError(f"unknown pooling {self.pooling!r}", nearest(self.pooling, POOLINGS))
        object.__setattr__(self, "attention", str(parse_attention(self.attention)))
        kinds = POOLINGS[self.pooling].options
        kept = {}
        for name, value in self.options:
            if name not in kinds:
                raise ConfigError(f"pooling {self.pooling!r} has no option {name!r}", nearest(name, kinds))
            if name in kept:
                raise ConfigError(f"option {name!r} of pooling {self.pooling!r} is given twice")
            kept[name] = _checked(name, value, kinds[name])
        kept = {name: value for name, value in kept.items() if value != self._default(name)}
        object.__setattr__(self, "options", tuple(sorted(kept.items())))
        if self.echoes and (left := [name for name in ("prompt", "skip") if name in kept]):
            raise ConfigError(
                f"pooling {self.pooling!r} has echo=true and {left[0]}={kept[left[0]]}",
                "wanted one of them",
                "echo pools the second occurrence of the text, which has no prompt and no BOS",
            )

    def _default(self, name: str) -> OptionValue | None:
        return default_tokens(self.attention) if name == "tokens" else DEFAULTS.get(name)

    def option(self, name: str) -> OptionValue | None:
        """Return the value of an option of this pooling: as written, or its default, or None if it has no default.

        Raises: ConfigError where this pooling does not take the option.
        """
        if name not in POOLINGS[self.pooling].options:
            raise ConfigError(
                f"pooling {self.pooling!r} has no option {name!r}",
                nearest(name, POOLINGS[self.pooling].options),
            )
        return dict(self.options).get(name, self._default(name))

    def require_layers(self, num_layers: int) -> None:
        """Check that a base with ``num_layers`` layers has the layers that this design names.

        Raises: ConfigError naming the design and the range.
        """
        try:
            parse_attention(self.attention).num_causal(num_layers)
            if "layers" in POOLINGS[self.pooling].options:
                LayerSubset(str(self.option("layers"))).numbers(num_layers)
        except PoolwiseError as error:
            raise ConfigError(f"design {self}: {error.got}", error.wanted, error.hint) from None

    def require_width(self, dim: int) -> None:
        """Check that the heads of ``pma`` divide the width of its embeddings, on a base of width ``dim``.

        Raises: ConfigError naming the design and the width.
        """
        heads, width = dict(self.options).get("heads"), self.width or dim
        if self.pooling == "pma" and isinstance(heads, int) and width % heads:
            raise ConfigError(
                f"design {self}: heads={heads} does not divide the width of the embeddings, {width}",
                f"wanted a divisor of {width}",
                "give another heads=, or a dim= that it divides",
            )

    @property
    def width(self) -> int | None:
        """The width of the embeddings if the design sets it (``dim=N``), else None: the width of the base."""
        width = dict(self.options).get("dim")
        return None if width is None else int(width)

    @property
    def is_trainable(self) -> bool:
        """Whether there are parameters to train after the base: the pooling's own, or the projection of ``dim=N``."""
        return POOLINGS[self.pooling].is_trainable or self.width is not None

    @property
    def skips_bos(self) -> bool:
        """Whether the first token of every text is left out of the pooling."""
        return dict(self.options).get("skip") == "bos"

    @property
    def echoes(self) -> bool:
        """Whether the base reads every text twice, and the second occurrence is pooled."""
        return dict(self.options).get("echo") is True

    @property
    def skips_prompt(self) -> bool:
        """Whether the tokens of the prompt are left out of the pooling."""
        return dict(self.options).get("prompt") == "skip"

    @property
    def num_soft_tokens(self) -> int:
        """The number of trained tokens that the base reads after EOS."""
        return int(self.option("count") or 1) if "count" in POOLINGS[self.pooling].options else 0

    @property
    def landmark_every(self) -> int | None:
        """The number of text tokens from one landmark to the next; None if the base reads no landmarks."""
        return int(self.option("every") or 0) if "every" in POOLINGS[self.pooling].options else None

    @property
    def reads_more(self) -> bool:
        """Whether the base reads more than prompt, text and EOS: the text again, trained tokens, or landmarks."""
        return self.echoes or POOLINGS[self.pooling].changes_input

    def num_read(self, num_tokens: float) -> float:
        """Return about how many tokens the base reads of a text with ``num_tokens`` tokens, at most."""
        # One of the tokens is EOS, and no landmark is put directly before it.
        num_landmarks = max(0.0, num_tokens - 2) / self.landmark_every if self.landmark_every else 0
        return num_tokens * (2 if self.echoes else 1) + self.num_soft_tokens + num_landmarks

    def most_tokens(self, limit: int) -> int:
        """Return a ``max_tokens`` with which the base reads at most ``limit`` tokens of a text."""
        if self.landmark_every:
            return most_between_landmarks(limit, self.landmark_every) + 1
        # EOS is not repeated.
        return ((limit + 1) // 2 if self.echoes else limit) - self.num_soft_tokens

    @property
    def pooling_text(self) -> str:
        """The pooling with its options, as written before the ``+``."""
        if not self.options:
            return self.pooling
        inner = ",".join(f"{name}={_text(value)}" for name, value in self.options)
        return f"{self.pooling}({inner})"

    @property
    def alias(self) -> str | None:
        """``paper:1`` to ``paper:5`` if this is one of the paper's designs, else None."""
        return next((alias for alias, paper in PAPER.items() if paper.design == self), None)

    @property
    def slug(self) -> str:
        """A name for folders: only letters, digits, ``_``, ``-`` and ``+``."""
        return re.sub(r"[^\w+-]+", "-", str(self)).replace("-+", "+").strip("-")

    def __str__(self) -> str:
        return f"{self.pooling_text}+{self.attention}"


@dataclass(frozen=True)
class PaperDesign:
    """One of the paper's five designs, and what we do where the paper's code has a defect."""

    design: Design
    decision: str


PAPER: Mapping[str, PaperDesign] = {
    "paper:1": PaperDesign(
        Design("last", "causal"),
        "EOS is appended by id after truncation and found by the attention mask; the paper's code relies on "
        "a Llama tokenizer option and on left padding (defects 4 and 5).",
    ),
    "paper:2": PaperDesign(
        Design("latent", "causal", (("keys", "last"),)),
        "One key, as published: the softmax is always 1, so the query and key weights never train (defect 1). "
        "latent+causal is the same design with all tokens as keys.",
    ),
    "paper:3": PaperDesign(
        Design("multilayer", "causal"),
        "Each layer's state is normalised before the head, and the head has its own learning rate (defect 8); "
        "any number of layers and any width work (defect 7).",
    ),
    "paper:4": PaperDesign(
        Design("latent", "bidirectional"),
        "Padding is masked out of the keys; the paper's code attends to it at evaluation (defect 2).",
    ),
    "paper:5": PaperDesign(
        Design("multilayer", "bidirectional"),
        "The mean uses the attention mask, not ids that differ from the pad id, so that EOS counts "
        "where pad = eos (defect 3); layers are normalised (defect 8).",
    ),
}


def most_between_landmarks(num_read: int, every: int) -> int:
    """Return the most text tokens that fit into ``num_read`` tokens with landmarks after every N and after the last."""
    whole, rest = divmod(num_read, every + 1)
    return whole * every + max(0, rest - 1)


def narrowest(designs: Iterable[str], dim: int) -> tuple[int, str]:
    """Return the smallest width of the embeddings of some designs, on a base of width ``dim``, and a design of it."""
    return min((parse_design(name).width or dim, name) for name in designs)


_FORM = re.compile(r"(?P<pooling>\w+)(?:\((?P<options>[^()]*)\))?\+(?P<attention>\w+(?:\([^()]*\))?)")


def parse_design(text: str) -> Design:
    """Return the design that ``text`` names.

    Args:
        text: ``pooling+attention``, ``pooling(option=value,...)+attention(option=value)`` or ``paper:1`` to
            ``paper:5``.
    Raises: ConfigError for anything else, with the nearest known name.

    Example:

        >>> import poolwise
        >>> str(poolwise.parse_design("paper:1"))
        'last+causal'
    """
    text = "".join(text.split())
    if text.startswith("paper:"):
        if text not in PAPER:
            raise ConfigError(f"unknown design {text!r}", nearest(text, PAPER))
        return PAPER[text].design
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"cannot read design {text!r}",
            "wanted pooling+attention, such as multilayer+bidirectional or paper:5",
        )
    parts = [part for part in (match["options"] or "").split(",") if part]
    if bad := [part for part in parts if part.count("=") != 1]:
        raise ConfigError(f"cannot read option {bad[0]!r} in design {text!r}", "wanted name=value")
    options = tuple((name, _parsed(value)) for name, value in (part.split("=") for part in parts))
    return Design(match["pooling"], match["attention"], options)


def _parsed(value: str) -> OptionValue:
    if value in ("true", "false"):
        return value == "true"
    # Python reads no number of thousands of digits.
    return int(value) if value.isdecimal() and len(value) <= _MOST_DIGITS else value


def _text(value: OptionValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
