"""Subsets of a base's layers as values: all, the last N, every Nth, a range, or one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from poolwise.errors import ConfigError, nearest

FORMS = "all, lastN, everyN, A-B or N"
_EXAMPLES = ("all", "last4", "every2")
_NUMBER = r"[1-9]\d{0,17}"  # Python reads no number of thousands of digits
_FORM = re.compile(rf"all|(?P<word>last|every)(?P<count>{_NUMBER})|(?P<first>{_NUMBER})(?:-(?P<last>{_NUMBER}))?")


@dataclass(frozen=True)
class LayerSubset:
    """A subset of the layers 1 .. L, where L is the last layer, after the final norm.

    Args:
        text: ``all``; ``last4`` (the last four); ``every2`` (every second, from the last down); ``5-8`` (both
            included); or ``6``. ``6-6`` becomes ``6``.
    Raises: ConfigError for anything else, with the nearest form.
    """

    text: str

    def __post_init__(self) -> None:
        match = _FORM.fullmatch(self.text)
        if match is None:
            hint = nearest(self.text, _EXAMPLES)
            hint = hint if hint.startswith("did") else ""
            raise ConfigError(f"option layers={self.text:.40} is unknown", f"wanted {FORMS}", hint)
        if match["word"] == "every" and int(match["count"]) < 2:
            raise ConfigError(f"option layers={self.text} is out of range", "wanted every2 or more, or all")
        if match["last"] is not None:
            first, last = int(match["first"]), int(match["last"])
            if last < first:
                raise ConfigError(f"option layers={self.text} runs backwards", f"wanted layers={last}-{first}")
            if last == first:
                object.__setattr__(self, "text", str(first))

    def numbers(self, num_layers: int) -> tuple[int, ...]:
        """Return the numbers of the layers, ascending, on a base with ``num_layers`` layers.

        Raises: ConfigError where the base has fewer layers than the subset names.
        """
        match = _FORM.fullmatch(self.text)
        assert match is not None
        if self.text == "all":
            return tuple(range(1, num_layers + 1))
        named = int(match["count"] or match["last"] or match["first"])
        if named > num_layers:
            ranges = {"last": f"last1 to last{num_layers}", "every": f"every2 to every{num_layers}"}
            wanted = ranges.get(match["word"] or "", f"layers of 1-{num_layers}")
            raise ConfigError(f"layers={self.text} on a base of {num_layers} layers", f"wanted {wanted}")
        if match["word"] == "last":
            return tuple(range(num_layers - named + 1, num_layers + 1))
        if match["word"] == "every":
            return tuple(range(num_layers, 0, -named))[::-1]
        return tuple(range(int(match["first"]), named + 1))

    def __str__(self) -> str:
        return self.text
