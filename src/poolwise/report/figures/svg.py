"""Building blocks for SVG: elements, linear and logarithmic scales with round ticks, and axes.

Colours and fonts come from the page's style sheet through class names, so one drawing works for light, dark and print.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH = 400
"""Width of a panel in user units: about the width of a phone, so that text keeps its size there."""
MOST_LETTERS = 48
"""Most letters beside a number on one line of a panel, in the widest usual font (DejaVu Sans: 6.7 units each)."""


@dataclass(frozen=True)
class Scale:
    """Maps ``low..high`` to ``start..end`` on the drawing."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(x) if self.is_log else x for x in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        """Return about ``count`` round values within the scale."""
        return log_ticks(self.low, self.high) if self.is_log else linear_ticks(self.low, self.high, count)


def linear_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about ``count`` multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``.

    Law: a count of 4 gives 3 to 8.
    """
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    steps = [m * power for m in (10, 5, 2, 1, 0.5, 0.2)]
    fitting = [ticks for step in steps if len(ticks := _multiples(low, high, step)) >= 3]
    return min(fitting, key=lambda ticks: abs(len(ticks) - count))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between ``low`` and ``high``, with multiples of them if there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [m * 10.0**k for k in powers for m in multiples if low * 0.999 <= m * 10.0**k <= high * 1.001]
        if len(found) >= 3:
            return found
    return found


def padded(values: Sequence[float], *, share: float = 0.06, zero: bool = False) -> tuple[float, float]:
    """Return the range of values with some room at both ends; ``zero`` includes 0."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = (high - low) * share or abs(high) * 0.05 or 0.01
    return low - room, high + room


def log_padded(values: Sequence[float], share: float = 0.12) -> tuple[float, float]:
    """Return the range of positive values with some room at both ends of a logarithmic scale."""
    low, high = math.log(min(values)), math.log(max(values))
    room = max((high - low) * share, 0.25)
    return math.exp(low - room), math.exp(high + room)


def element(tag: str, content: str = "", **attributes: str | float) -> str:
    """Return one element; ``class_`` becomes class, ``_`` becomes ``-``, and floats get one decimal."""
    parts = [
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(f"{v:.1f}" if isinstance(v, float) else str(v))}"'
        for name, v in attributes.items()
    ]
    return f"<{tag}{''.join(parts)}>{content}</{tag}>" if content else f"<{tag}{''.join(parts)}/>"


def tooltip(text: str) -> str:
    """Return the tooltip of a mark."""
    return f"<title>{html.escape(text)}</title>"


def fitted(words: str) -> str:
    """Return a label of at most MOST_LETTERS letters; longer labels lose their middle."""
    if len(words) <= MOST_LETTERS:
        return words
    half = (MOST_LETTERS - 1) // 2
    return f"{words[:half]}…{words[-half:]}"


def label_heights(places: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return the height of each label, moved down if it would overlap one above it."""
    heights: dict[str, float] = {}
    for name, (x, y) in sorted(places.items(), key=lambda item: item[1][1]):
        near = [h for other, h in heights.items() if abs(places[other][0] - x) < 14]
        while any(abs(h - y) < 11 for h in near):
            y += 1.0
        heights[name] = y
    return heights


@dataclass
class Drawing:
    """A drawing in user units; ``svg()`` gives the element."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(
            element("line", class_=kind, x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2)),
        )

    def band(self, left: float, right: float, top: float, bottom: float, kind: str) -> None:
        """Draw a filled rectangle."""
        width, height = float(right - left), float(bottom - top)
        self.parts.append(element("rect", class_=kind, x=float(left), y=float(top), width=width, height=height))

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        self.parts.append(
            element("text", html.escape(words), class_=kind, x=float(x), y=float(y), text_anchor=anchor)
            if words
            else ""
        )

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        self.parts.append(element("path", class_=kind, d=path_data(points)))

    def mark(self, x: float, y: float, kind: str, words: str, radius: float = 4.5) -> None:
        """Draw a round mark with a tooltip."""
        self.parts.append(
            element("circle", tooltip(words), class_=f"mark {kind}", cx=float(x), cy=float(y), r=float(radius))
        )

    def x_axis(
        self,
        scale: Scale,
        top: float,
        bottom: float,
        label: Callable[[float], str],
        title: str = "",
        ticks: Sequence[float] = (),
    ) -> None:
        """Draw vertical grid lines from ``top`` to ``bottom`` with labels below, and the axis's title.

        Args:
            ticks: where the lines are; empty for round values.
        """
        for tick in ticks or scale.ticks():
            self.line(scale(tick), top, scale(tick), bottom, "grid")
            # A label centred on a tick at either end would stick out of the drawing.
            near = [side for side, end in (("start", scale.start), ("end", scale.end)) if abs(scale(tick) - end) < 12]
            self.text(scale(tick), bottom + 14, label(tick), "tick", near[0] if near else "middle")
        self.line(scale.start, bottom, scale.end, bottom, "axis")
        self.text((scale.start + scale.end) / 2, bottom + 31, title, "axis-title", "middle")

    def y_axis(self, scale: Scale, left: float, right: float, label: Callable[[float], str]) -> None:
        """Draw horizontal grid lines from ``left`` to ``right`` with labels at the left."""
        for tick in scale.ticks():
            self.line(left, scale(tick), right, scale(tick), "grid")
            self.text(left - 6, scale(tick) + 3.5, label(tick), "tick", "end")

    def svg(self, alt: str) -> str:
        """Return the ``<svg>`` element, with ``alt`` as its alternative text."""
        head = (
            f'<svg role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}">'
        )
        return head + "".join(self.parts) + "</svg>"


def path_data(points: Sequence[tuple[float, float]]) -> str:
    """Return the ``d`` attribute of a line through the points."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def tick_text(value: float) -> str:
    """Return an axis label without trailing zeros."""
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def signed_tick_text(value: float) -> str:
    """Return an axis label with its sign."""
    text = tick_text(abs(value))
    return text if text == "0" else ("+" if value > 0 else "\u2212") + text
