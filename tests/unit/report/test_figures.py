"""Drawings: round ticks, places worked out by hand, and what is left out where there is nothing to draw."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET

import pytest

from poolwise.report import critical_difference_svg
from poolwise.report.blocks import Figure
from poolwise.report.figures.critical import ranks_figure
from poolwise.report.figures.curves import curves_figure
from poolwise.report.figures.forest import forest_figure
from poolwise.report.figures.layer_bars import layers_figure
from poolwise.report.figures.scatter import PARAMETERS, scatter_figure
from poolwise.report.figures.seed_ticks import seeds_figure
from poolwise.report.figures.svg import Scale, linear_ticks, log_ticks, padded, signed_tick_text, tick_text
from poolwise.report.styles import assign_styles
from poolwise.report.view import View, runs_view, study_view
from poolwise.results import DesignInfo, TrainingCurve
from poolwise.stats import compare_runs
from unit.report.synthetic import DESIGNS, build_study
from unit.stats.designs.builders import score_runs


def _figures(**changes: object) -> list[Figure]:
    study = build_study(**changes)  # type: ignore[arg-type]
    view, results = study_view(study), study.results
    costs = {name: float(count) for name, count in view.parameters.items()}
    found = [forest_figure(view), seeds_figure(view), scatter_figure(view, PARAMETERS, costs)]
    found += [layers_figure(results.designs), curves_figure(results.training, view.designs)]
    # One seed has no spread to draw.
    assert [number for number, figure in enumerate(found) if figure is None] == [1] * (changes.get("num_seeds") == 1)
    return [figure for figure in found if figure]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.5, 1]), (-0.021, 0.043, [-0.02, 0, 0.02, 0.04]), (0.79, 0.82, [0.79, 0.8, 0.81, 0.82]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(ticks)


def test_there_are_three_to_eight_ticks_whatever_the_range() -> None:
    chance = random.Random(0)
    for _ in range(2000):
        low = chance.uniform(-1, 1) * 10 ** chance.uniform(-4, 4)
        ticks = linear_ticks(low, low + 10 ** chance.uniform(-4, 4))
        assert 3 <= len(ticks) <= 8


def test_logarithmic_ticks_are_powers_of_ten_or_finer_where_few() -> None:
    assert log_ticks(1, 1000) == pytest.approx([1, 10, 100, 1000])
    assert log_ticks(8e6, 7e7) == pytest.approx([1e7, 2e7, 5e7])


def test_a_scale_maps_ends_and_middle() -> None:
    assert [Scale(0, 10, 100, 200)(v) for v in (0, 5, 10)] == [100, 150, 200]
    assert Scale(1, 100, 0, 50, is_log=True)(10) == pytest.approx(25)
    assert Scale(2, 2, 0, 50)(2) == 0


def test_a_range_has_room_even_for_one_value() -> None:
    assert padded([1.0, 2.0], share=0.1) == pytest.approx((0.9, 2.1))
    assert padded([0.5], zero=True)[0] < 0 < 0.5 < padded([0.5], zero=True)[1]
    assert padded([0.0])[0] < 0 < padded([0.0])[1]


def test_tick_labels_have_no_trailing_zeros() -> None:
    assert (tick_text(0.8), tick_text(2000), signed_tick_text(-0.02), signed_tick_text(0)) == (
        "0.8",
        "2,000",
        "−0.02",
        "0",
    )


@pytest.mark.parametrize("changes", [{}, {"num_seeds": 1}, {"intervals": False}, {"steps": 1000}, {"steps": 1}])
def test_every_drawing_is_well_formed_and_says_what_it_shows(changes: dict[str, object]) -> None:
    for figure in _figures(**changes):
        for panel in figure.panels:
            root = ET.fromstring(panel.svg)
            assert root.get("role") == "img" and root.get("aria-label") == panel.alt
            assert not re.search(r"nan|inf\b", panel.svg)


def test_a_mark_stands_for_every_contrast_and_a_bar_for_every_interval() -> None:
    study = build_study()
    figure = forest_figure(study_view(study))
    assert figure is not None
    for category, panel in zip(["sts", "pair_classification"], [figure.panels[0], figure.panels[-1]], strict=True):
        contrasts = [c for c in study.results.comparison.contrasts if c.category == category]
        assert panel.svg.count("<circle") == len(contrasts)
        assert panel.svg.count('class="bar') == sum(c.interval is not None for c in contrasts)
        assert panel.svg.count('class="spread') == len(contrasts)
        assert panel.svg.count('class="region"') == 1
    assert len(figure.csv.rows) == len(study.results.comparison.contrasts)


def test_only_a_decided_contrast_has_a_filled_mark() -> None:
    study = build_study()
    figure = forest_figure(study_view(study))
    assert figure is not None
    marks = [kind for panel in figure.panels for kind in re.findall(r'class="mark ([^"]*)"', panel.svg)]
    decided = {"better": "better", "worse": "worse", "equal": "equal", "not decided": "undecided hollow"}
    assert sorted(marks) == sorted(decided[c.verdict or ""] for c in study.results.comparison.contrasts)


def test_layer_weights_are_drawn_at_their_share() -> None:
    info = DesignInfo(design="multilayer+causal", summary="", layer_weights={"0": [0.25, 0.75]})
    figure = layers_figure([info])
    assert figure is not None
    shares = [float(y) for y in re.findall(r'cy="([\d.]+)"', figure.panels[0].svg)]
    # y runs from 142 (share 0) to 8 (1.08 times the largest share), rounded to a tenth.
    assert shares == pytest.approx([142 - 134 / 1.08 / 3, 142 - 134 / 1.08], abs=0.06)
    assert list(figure.csv.rows) == [("multilayer+causal", "0", 1, 0.25), ("multilayer+causal", "0", 2, 0.75)]


def test_long_curves_are_drawn_by_means_of_steps_and_kept_whole_in_the_csv() -> None:
    curve = TrainingCurve(
        design="last+causal", seed=0, steps=list(range(1, 241)), loss=[1.0, 3.0] * 120, learning_rate=[0.1] * 240
    )
    figure = curves_figure([curve], ["last+causal"])
    assert figure is not None
    path = re.findall(r'class="curve[^"]*" d="M([^"]*)"', figure.panels[0].svg)[0]
    assert len(path.split("L")) == 120
    assert len({point.split(",")[1] for point in path.split("L")}) == 1
    assert "mean of 2 steps" in figure.caption
    assert len(figure.csv.rows) == 240


def test_nothing_to_draw_gives_no_figure() -> None:
    view = study_view(build_study())
    assert curves_figure([], DESIGNS) is None
    assert layers_figure([DesignInfo(design="last+causal", summary="")]) is None
    assert scatter_figure(view, PARAMETERS, {DESIGNS[0]: 5.0}) is None
    assert scatter_figure(view, PARAMETERS, {DESIGNS[0]: 0.0, DESIGNS[1]: 5.0}) is None


def test_labels_of_equal_points_do_not_cover_each_other() -> None:
    study = build_study()
    view = study_view(study)
    figure = scatter_figure(view, PARAMETERS, dict.fromkeys(DESIGNS, 1e7))
    assert figure is not None
    heights = [float(y) for y in re.findall(r'class="point-label" x="[\d.]+" y="([\d.]+)"', figure.panels[0].svg)]
    gaps = [b - a for a, b in zip(sorted(heights), sorted(heights)[1:], strict=False)]
    assert len(heights) == len(DESIGNS) and min(gaps) >= 10.9


def test_designs_of_one_pooling_share_a_colour_and_causal_is_hollow() -> None:
    styles = assign_styles(["last+causal", "mean+causal", "last+bidirectional", "some/model"])
    assert styles["last+causal"].colour == styles["last+bidirectional"].colour != styles["mean+causal"].colour
    assert [style.is_hollow for style in styles.values()] == [True, True, False, False]
    assert [style.number for style in styles.values()] == [1, 2, 3, 4]


def test_a_partial_attention_is_pale_and_captions_say_so_where_one_is_drawn() -> None:
    names = ["mean+causal", "mean+bidirectional", "mean+bidirectional(top=4)", "mean+bidirectional(on=prompt)"]
    styles = assign_styles(names)
    assert [style.classes for style in styles.values()] == ["c1 hollow", "c1", "c1 pale", "c1 pale"]
    captions = []
    for shown in (names, names[:2]):
        curves = [
            TrainingCurve(design=n, seed=0, steps=[1, 2], loss=[2.0, 1.0], learning_rate=[0.1] * 2) for n in shown
        ]
        figure = curves_figure(curves, shown)
        assert figure is not None
        captions.append(figure.caption)
    assert "(dashed: causal; dotted: partly bidirectional)" in captions[0]
    assert "(dashed: causal);" in captions[1]


def test_layers_that_a_design_leaves_out_are_not_drawn() -> None:
    info = DesignInfo(design="layer_mix(layers=last2)+causal", summary="", layer_weights={"0": [0.0, 0.75, 0.25]})
    figure = layers_figure([info])
    assert figure is not None
    svg = figure.panels[0].svg
    assert svg.count("<circle") == 2
    heights = re.findall(r'<line class="uniform"[^>]* y1="([\d.]+)"', svg)
    # The uniform share of two layers, a half, on the scale of the test above.
    assert float(heights[0]) == pytest.approx(142 - 134 / 1.08 * 0.5 / 0.75, abs=0.06)
    assert [row[3] for row in figure.csv.rows] == [0.0, 0.75, 0.25]


def test_a_critical_difference_diagram_orders_by_rank_and_joins_groups() -> None:
    ranks = {"a": 2.6, "c": 1.2, "b<": 2.2}
    svg = critical_difference_svg(ranks, [["b<", "a"], ["c"]], "STS")
    root = ET.fromstring(svg)
    names = [node.text for node in root.iter("text") if node.get("class") == "label"]
    assert names == ["c", "b<", "a"]
    bars = [node for node in root.iter("line") if node.get("class") == "clique"]
    assert len(bars) == 1
    assert (bars[0].get("y1"), bars[0].get("y2")) == ("79.0", "111.0")  # the second and third row's middles
    assert "no significant difference: b<, a" in (root.get("aria-label") or "")


def _long_names() -> View:
    names = ("organisation-of-some-length/all-large-model-v2", "another-organisation/an-embedding-model-" + "x" * 60)
    table = {name: [0.5 + k / 100 + j / 50 for k in range(6)] for j, name in enumerate((*names, "short"))}
    return runs_view(compare_runs(score_runs(table, kind="external")), ())


def test_long_names_stay_clear_of_the_numbers() -> None:
    view = _long_names()
    figures = [forest_figure(view), ranks_figure(view.comparison.rank_pictures)]
    for figure in figures:
        assert figure is not None
        for panel in figure.panels:
            texts = [node for node in ET.fromstring(panel.svg).iter() if node.tag.endswith("text")]
            labels = [node.text or "" for node in texts if node.get("class") == "label"]
            assert labels and max(map(len, labels)) <= 48
    (panel,) = figures[0].panels if figures[0] else ()
    labels = [node.text for node in ET.fromstring(panel.svg).iter() if node.get("class") == "label"]
    # Both names of a row, one below the other; the whole of them in the text for readers who do not see.
    assert [label for label in labels if label and label.startswith("−")] == [f"− {view.designs[0]}"] * 2 + [
        "− another-organisation/…xxxxxxxxxxxxxxxxxxxxxxx"
    ]
    assert view.designs[1] in panel.alt


def test_without_two_seeds_of_anything_there_is_no_seed_spread() -> None:
    assert seeds_figure(_long_names()) is None
