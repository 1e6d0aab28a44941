"""Attentions as values: causal, bidirectional, or bidirectional only in the top layers or on the prompt.

An attention is written ``causal``, ``bidirectional``, ``bidirectional(top=4)`` or ``bidirectional(on=prompt)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from poolwise.errors import ConfigError, nearest

Attention = str
"""The canonical text of an ``AttentionMode``, as written in designs and on disk."""
ATTENTIONS: tuple[Attention, ...] = ("causal", "bidirectional")
"""The two attentions without options."""
OPTIONS = ("top", "on")

_FORM = re.compile(r"(?P<kind>\w+)(?:\((?P<options>[^()]*)\))?")


@dataclass(frozen=True)
class AttentionMode:
    """Which tokens a token sees inside the base.

    Args:
        top: only the last ``top`` layers see later tokens; the layers below them are causal.
        on_prompt: tokens of the prompt see each other in both directions; every other token sees the prompt and the
            tokens before it; no token of the prompt sees the text. Without a prompt this is causal attention.
    Law: ``parse_attention(str(mode)) == mode``.
    """

    kind: Literal["causal", "bidirectional"]
    top: int | None = None
    on_prompt: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether some tokens see later ones and some do not."""
        return self.top is not None or self.on_prompt

    @property
    def ends_causal(self) -> bool:
        """Whether only the last token's final state has seen the whole text."""
        return self.kind == "causal" or self.on_prompt

    @property
    def reach(self) -> tuple[int, int]:
        """A sort key: attentions that let a token see less come first."""
        if self.kind == "causal":
            return 0, 0
        return (1, 0) if self.on_prompt else (2, self.top) if self.top is not None else (3, 0)

    @property
    def slug(self) -> str:
        """A name for folders: only letters, digits and ``-``."""
        return re.sub(r"\W+", "-", str(self)).strip("-")

    @property
    def words(self) -> str:
        """The attention in words, for reports."""
        if self.top is not None:
            return f"bidirectional attention in the top {self.top} layers, causal below"
        if self.on_prompt:
            return "bidirectional attention on the prompt, causal on the text"
        return f"{self.kind} attention"

    def num_causal(self, num_layers: int) -> int:
        """Return how many of the first layers are causal, on a base with ``num_layers`` layers.

        Raises: ConfigError where ``top`` is more than ``num_layers``.
        """
        if self.top is not None and self.top > num_layers:
            raise ConfigError(f"top={self.top} on a base of {num_layers} layers", f"wanted top=1 to top={num_layers}")
        if self.ends_causal:
            return num_layers
        return 0 if self.top is None else num_layers - self.top

    def __str__(self) -> str:
        if self.top is not None:
            return f"{self.kind}(top={self.top})"
        return f"{self.kind}(on=prompt)" if self.on_prompt else self.kind


@lru_cache(maxsize=256)
def parse_attention(text: str) -> AttentionMode:
    """Return the attention that ``text`` names.

    Raises: ConfigError for an unknown attention or option, with the nearest name, or a value out of range.
    """
    match = _FORM.fullmatch("".join(text.split()))
    if match is None or match["kind"] not in ATTENTIONS:
        name = match["kind"] if match else text
        raise ConfigError(f"unknown attention {name!r}", nearest(name, ATTENTIONS))
    parts = [part for part in (match["options"] or "").split(",") if part]
    if not parts:
        return AttentionMode(match["kind"])  # type: ignore[arg-type]
    if match["kind"] == "causal":
        raise ConfigError(f"attention 'causal' has no option {parts[0]!r}", "options belong to bidirectional")
    options = [_option(part) for part in parts]
    if len(options) > 1:
        raise ConfigError(f"attention {text!r} has {len(options)} options", "wanted one of top=N and on=prompt")
    return options[0]


_MOST_DIGITS = 18
"""Python reads no number of thousands of digits."""


def _option(part: str) -> AttentionMode:
    name, equals, value = part.partition("=")
    if not equals:
        raise ConfigError(f"cannot read option {part!r} of bidirectional", "wanted top=N or on=prompt")
    if name not in OPTIONS:
        raise ConfigError(f"attention 'bidirectional' has no option {name!r}", nearest(name, OPTIONS))
    if name == "on":
        if value != "prompt":
            raise ConfigError(f"option on={value} is unknown", nearest(value, ["prompt"]))
        return AttentionMode("bidirectional", on_prompt=True)
    if not value.isdecimal() or len(value) > _MOST_DIGITS or int(value) < 1:
        raise ConfigError(f"option top={value:.40} is not a positive whole number")
    return AttentionMode("bidirectional", top=int(value))
