"""The drill-down to items: both scores of each, texts once and as text, and what is said where there are none."""

from __future__ import annotations

import html

from poolwise.report.blocks import Drilldown, Folded, Paragraph
from poolwise.report.document import study_document
from poolwise.report.items import drilldowns
from poolwise.report.markdown import markdown_document
from poolwise.report.page import html_block, html_document
from poolwise.results import Comparison, Extremes, TaskExtremes
from unit.report.synthetic import HAZARD, RIGHT_TO_LEFT, build_study


def comparison(**changes: object) -> Comparison:
    task = TaskExtremes(
        task="retrieval/A",
        measure="nDCG@10 of the query",
        ids=["q1", "q2", "q3"],
        parts={"query": ["one <b>", RIGHT_TO_LEFT, ""], "relevant": ["1", "2", "3"]},
        contrasts=[
            Extremes(a="mean+causal", b="last+causal", items=[2, 0], a_scores=[0.875, 0.1], b_scores=[0.25, 0.6]),
            Extremes(a="mean+causal", b="x", items=[0, 1], a_scores=[0.9, 0.7], b_scores=[0.3, 0.2]),
        ],
    ).model_copy(update=changes)
    return Comparison(reference=None, designs=[], means=[], contrasts=[], extremes=[task])


def drilldown(found: Comparison) -> Drilldown:
    (folded,) = [block for block in drilldowns(found) if isinstance(block, Folded)]
    (block,) = folded.blocks
    assert isinstance(block, Drilldown)
    return block


def paragraphs(found: Comparison) -> str:
    return " ".join(block.text for block in drilldowns(found) if isinstance(block, Paragraph))


def test_each_side_of_a_contrast_has_its_items_with_both_scores() -> None:
    first, second = drilldown(comparison()).contrasts
    assert first.a_higher == [(2, 0.875, 0.25)] and first.b_higher == [(0, 0.1, 0.6)]
    assert len(second.a_higher) == 2 and second.b_higher == []
    page = html_block(drilldown(comparison()))
    assert "<td>0.8750</td><td>0.2500</td>" in page
    assert page.count("Higher with the first") == 2 and page.count("Higher with the second") == 1


def test_a_text_stands_once_however_many_contrasts_show_its_item() -> None:
    page = html_block(drilldown(comparison()))
    assert page.count("one &lt;b&gt;") == 1
    assert page.count('href="#i0-0"') == 2 and page.count('id="i0-0"') == 1


def test_texts_are_escaped_and_empty_ones_named() -> None:
    page = html_block(drilldown(comparison()))
    assert "<b>" not in page
    assert f"<dd>{html.escape(RIGHT_TO_LEFT)}</dd>" in page
    assert "<dd><em>empty</em></dd>" in page


def test_without_texts_the_ids_stand_alone_and_the_way_to_texts_is_told() -> None:
    bare = comparison(parts={})
    assert "<a href" not in html_block(drilldown(bare)) and ">q3<" in html_block(drilldown(bare))
    assert "Items are shown by id: no texts" in paragraphs(bare) and "poolwise study" in paragraphs(bare)
    assert "poolwise study" not in paragraphs(comparison())
    assert "by id on sts/STS12:" in paragraphs(build_study().results.comparison)


def test_records_from_before_items_were_kept_say_how_to_get_them() -> None:
    old = build_study().results.comparison
    old.extremes = []
    assert "same command again" in paragraphs(old)
    old.task_contrasts = []  # foreign scores without items: nothing to wait for
    assert drilldowns(old) == []


def test_a_contrast_without_differing_items_says_so() -> None:
    equal = comparison(contrasts=[Extremes(a="a", b="b", items=[], a_scores=[], b_scores=[])])
    assert "No item differs." in html_block(drilldown(equal))


def test_the_page_holds_hostile_texts_as_text_and_markdown_leaves_them_out() -> None:
    document = study_document(build_study())
    page = html_document(document)
    assert "taken" in page and "</script><script>" not in page
    assert html.escape(HAZARD) in page
    assert "taken" not in markdown_document(document)


def test_27_tasks_of_18_contrasts_add_less_than_a_megabyte() -> None:
    """The texts of an item are 220 characters here, which is what the 27 tasks of the recorded study come to."""
    design = "latent(keys=last)+bidirectional"
    ids = [f"query-{number:05d}" for number in range(60)]
    contrasts = [
        Extremes(
            a=design,
            b=f"multilayer+causal{number}",
            items=[(4 * number + place) % 60 for place in range(6)],
            a_scores=[0.123456789012345] * 3 + [0.1] * 3,
            b_scores=[0.1] * 3 + [0.123456789012345] * 3,
        )
        for number in range(18)
    ]
    parts = {"query": ["q" * 60] * 60, "relevant": ["d" * 160] * 60}
    tasks = [
        TaskExtremes(task=f"retrieval/T{n}", measure="m", ids=ids, parts=parts, contrasts=contrasts) for n in range(27)
    ]
    found = Comparison(reference=None, designs=[], means=[], contrasts=[], extremes=tasks)
    assert sum(len(html_block(block)) for block in drilldowns(found)) < 1_000_000
    assert len(found.model_dump_json(indent=2)) < 1_000_000
