"""Learned layer weights: the share of each layer in the pooled embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, tick_text
from poolwise.report.styles import Style, assign_styles
from poolwise.results import DesignInfo

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 186.0, 40.0, 10.0, 8.0, 142.0


def layers_figure(infos: Sequence[DesignInfo]) -> Figure | None:
    """Return one panel for each design with layer weights; None if there is none."""
    styles = assign_styles([info.design for info in infos])
    shown = [info for info in infos if any(info.layer_weights.values())]
    if not shown:
        return None
    top = max(share for info in shown for weights in info.layer_weights.values() for share in weights)
    return Figure(
        key="fig-layers",
        caption="Share of each layer in the pooled embedding, one line a seed. Dashed grey: the uniform share. "
        "A line close to it means that training did not prefer any layer.",
        panels=[_panel(info.design, info.layer_weights, styles[info.design], top) for info in shown],
        csv=_csv(shown),
    )


def _panel(design: str, by_seed: Mapping[str, Sequence[float]], style: Style, top: float) -> Panel:
    num_layers = max(len(weights) for weights in by_seed.values())
    drawing = Drawing(WIDTH, HEIGHT)
    x = Scale(1, max(num_layers, 2), LEFT + 10, WIDTH - RIGHT - 10)
    y = Scale(0.0, top * 1.08, BOTTOM, TOP)
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, tick_text)
    _layer_axis(drawing, x, num_layers)
    uniform = 1 / max(sum(share > 0 for share in weights) for weights in by_seed.values())
    drawing.line(LEFT, y(uniform), WIDTH - RIGHT, y(uniform), "uniform")
    for seed, weights in by_seed.items():
        # Layers that the design does not use have no mark.
        shares = {layer: share for layer, share in enumerate(weights, start=1) if share > 0}
        drawing.path([(x(layer), y(share)) for layer, share in shares.items()], f"curve {style.classes}")
        for layer, share in shares.items():
            drawing.mark(x(layer), y(share), style.classes, f"seed {seed}, layer {layer}: {share:.4f}", 3)
    alt = f"{design}: " + "; ".join(f"seed {seed}: {_words(weights)}" for seed, weights in by_seed.items())
    return Panel(f"{style.number}  {design}", drawing.svg(alt), alt)


def _layer_axis(drawing: Drawing, x: Scale, num_layers: int) -> None:
    step = -(-num_layers // 8)
    for layer in range(1, num_layers + 1):
        if (layer - 1) % step == 0 or layer == num_layers:
            drawing.text(x(layer), BOTTOM + 14, str(layer), "tick", "middle")
    drawing.line(LEFT, BOTTOM, WIDTH - RIGHT, BOTTOM, "axis")
    drawing.text((x.start + x.end) / 2, BOTTOM + 31, "layer", "axis-title", "middle")


def _words(weights: Sequence[float]) -> str:
    return " ".join(f"{share:.3f}" for share in weights)


def _csv(infos: Sequence[DesignInfo]) -> Csv:
    rows = [
        (info.design, seed, layer, share)
        for info in infos
        for seed, weights in info.layer_weights.items()
        for layer, share in enumerate(weights, start=1)
    ]
    return Csv(["design", "seed", "layer", "share"], rows)
