"""Markdown, LaTeX, plain text and JSON: sound tables, escaped names, the records' numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from poolwise.report import comparison_json, comparison_markdown, comparison_text, study_text
from poolwise.report.amounts import difference_text
from poolwise.report.blocks import Cell, Code, Column, Table
from poolwise.report.document import study_document
from poolwise.report.latex import escape as latex_escape
from poolwise.report.latex import latex_table
from poolwise.report.markdown import escape, markdown_block, markdown_document, markdown_table
from poolwise.report.plain import plain_table
from unit.report.synthetic import HAZARD, REFERENCE, build_study

SMALL = Table(
    key="tab-x",
    caption="C",
    columns=[Column("Name"), Column("Value", "8 tasks", is_number=True)],
    rows=[[Cell("a|b"), Cell("+0.1**", note="± 0.2", tone="strong")], [Cell("long name"), Cell("−1")]],
    breaks=[1],
)


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    lines = markdown_document(study_document(build_study())).splitlines()
    tables: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    tables = [table for table in tables if table]
    assert len(tables) == 13
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_markdown_of_a_small_table() -> None:
    assert markdown_table(SMALL) == (
        "**C**\n\n| Name | Value<br>8 tasks |\n| :--- | ---: |\n| a\\|b | **+0.1\\*\\*** (± 0.2) |\n| long name | −1 |"
    )


def test_markdown_shows_names_as_written() -> None:
    assert escape("<b>*x* | `y`\n[z]</b>") == r"&lt;b&gt;\*x\* \| \`y\` \[z\]&lt;/b&gt;"
    assert "<b>" not in markdown_document(study_document(build_study())).replace(HAZARD, "")


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert markdown_block(Code("```\nx", "sh")) == "````sh\n```\nx\n````"


def test_markdown_holds_every_difference_of_the_records() -> None:
    comparison = build_study().results.comparison
    text = comparison_markdown(comparison)
    for contrast in comparison.contrasts:
        assert difference_text(contrast.difference) in text


def test_latex_of_a_small_table() -> None:
    lines = latex_table(SMALL).splitlines()
    assert lines[3:] == [
        r"\label{tab:x}",
        r"\begin{tabular}{@{}lr@{}}",
        r"\toprule",
        r"Name & Value \\",
        r" & {\scriptsize 8 tasks} \\",
        r"\midrule",
        r"a\textbar{}b & \textbf{+0.1$^{**}$} {\scriptsize $\pm$ 0.2} \\",
        r"\midrule",
        r"long name & $-$1 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50%_a&b", r"50\%\_a\&b"),
        ("#1 + $2 ~ ^", r"\#1 + \$2 \textasciitilde{} \textasciicircum{}"),
        ("\\{", r"\textbackslash{}\{"),
        ("p ≥ <>", r"p $\ge$ \textless{}\textgreater{}"),
        ("modèle Žižka", r"mod\`{e}le \v{Z}i\v{z}ka"),
        ("\u4e2d \U0001f600 \u202e", "U+4E2D U+1F600 U+202E"),
        ("a\x00b\n c", "ab c"),
    ],
)
def test_latex_escapes(text: str, latex: str) -> None:
    assert latex_escape(text) == latex


NAMES = ["[bert] *base*", "50%_a&b#c$d^e~f\\g{h}", "modèle \u4e2d \U0001f600", "<a> + b|c"]


def test_latex_of_hostile_names_is_sound() -> None:
    """What TeX would stop at: letters it lacks, open groups, stray specials, rows of another width."""
    columns = [Column(name, note=name, is_number=place > 0) for place, name in enumerate(NAMES)]
    rows = [[Cell(name, note=name, tone="strong") for name in (NAMES[place:] + NAMES[:place])] for place in range(4)]
    text = latex_table(Table("tab-n", NAMES[1], columns, rows, note=NAMES[3]))
    assert text.isascii()
    bare = re.sub(r"\\\\(?=\n)", "", text)
    bare = re.sub(r"\\[&%$#_{}]", "", bare)
    assert bare.count("{") == bare.count("}") and not re.search(r"[%#_]|\^(?!\{)", bare)
    assert bare.count("$") % 2 == 0
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 6
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {3}
    assert not [line for line in body if line[0] in "[*"]
    assert [line for line in text.splitlines() if line.startswith(("\\begin", "\\end"))] == [
        r"\begin{table}",
        r"\begin{tabular}{@{}lrrr@{}}",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_plain_tables_are_aligned() -> None:
    assert plain_table(SMALL).splitlines() == [
        "Name       Value (8 tasks)",
        "---------  ---------------",
        "a|b         +0.1** (± 0.2)",
        "long name               −1",
    ]


def test_the_terminal_ends_with_the_decision_and_shows_methods_only_if_asked() -> None:
    comparison = build_study().results.comparison
    text, verbose = comparison_text(comparison), comparison_text(comparison, verbose=True)
    for part in (comparison.family, comparison.rule, *comparison.methods):
        assert part in verbose and part not in text
    for part in (comparison.recommendations[1].sentence, *comparison.notes):
        assert part in text
    assert text.index("== Overall (") < text.index("== Retrieval: not decided ==")
    assert text.endswith(comparison.recommendations[4].sentence)


def test_the_terminal_text_lists_contrasts_with_a_verdict_and_all_if_asked() -> None:
    comparison = build_study().results.comparison
    text = comparison_text(comparison, verbose=True)
    lines = text.split("Contrasts, the primary family\n")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == len(comparison.contrasts)
    for line, contrast in zip(lines, comparison.contrasts, strict=True):
        assert f"{contrast.a} − {contrast.b}" in line and difference_text(contrast.difference) in line
        assert line.endswith(contrast.verdict or "–")
    decided = [c for c in comparison.contrasts if c.verdict in ("better", "worse")]
    lines = comparison_text(comparison).split("Contrasts with a verdict\n")[1].split("\n\n")[0].splitlines()[2:]
    left = len(comparison.contrasts) - len(decided)
    assert len(lines) == len(decided) + 1
    assert lines[-1] == f"{left} contrasts not decided: see the report, or --verbose."


def test_the_terminal_text_of_a_study_names_the_folder_and_how_to_load_it() -> None:
    study = build_study()
    text = study_text(study, Path("runs/my study"))
    folder = f"runs/my study/runs/{REFERENCE}-s0"
    assert f"Folder: {folder} (seed 0 of 0, 1)\n    import poolwise\n" in text
    assert f'    model = poolwise.load_model("{folder}")\n' in text
    assert f"    poolwise eval '{folder}' --tasks my-tasks --out my-scores" in text
    study.results.kind = "screen"
    text = study_text(study, Path("runs/mine"))
    assert "load_model" not in text and "a screen trains only heads" in text


def test_the_terminal_text_shows_anchors_as_baselines() -> None:
    lines = comparison_text(build_study().results.comparison).splitlines()
    (bm25,) = [line for line in lines if line.startswith("bm25")]
    assert bm25.startswith("bm25 (baseline)")
    assert bm25.split()[2:5:2] == ["–", "–"] and re.fullmatch(r"0\.\d{4}", bm25.split()[3])
    assert {line.split()[0] for line in lines if "(baseline)" in line} == {"untuned", "bm25", "random"}


def test_over_tasks_the_terminal_shows_the_typical_task_beside_the_mean() -> None:
    comparison = build_study().results.comparison
    comparison.contrasts = comparison.contrasts[:2]
    first = comparison.contrasts[0]
    first.typical, first.typical_simultaneous = 0.0021, (0.001, 0.003)
    text = comparison_text(comparison)
    assert "Typical task" in text and "+0.0021 [+0.0010, +0.0030]" in text
    comparison.contrasts = comparison.contrasts[1:]
    assert "Typical task" not in comparison_text(comparison)


def test_json_carries_every_contrast_and_is_json() -> None:
    comparison = build_study().results.comparison
    families = [comparison.contrasts, comparison.tasks_like_these, comparison.seed_contrasts, comparison.task_contrasts]
    tree = json.loads(json.dumps(comparison_json(comparison, [{"path": "x", "kind": "study"}])))
    assert tree["inputs"] == [{"path": "x", "kind": "study"}]
    assert len(tree["comparisons"]) == sum(map(len, families))
    fields = {"category", "task", "a", "b", "difference", "interval", "test", "estimand", "p", "p_holm", "p_bh"}
    assert all(fields | {"num_items", "smallest_p", "verdict"} <= set(row) for row in tree["comparisons"])
    assert [row["difference"] for row in tree["comparisons"][: len(comparison.contrasts)]] == [
        contrast.difference for contrast in comparison.contrasts
    ]


def test_the_package_starts_without_torch_or_numpy() -> None:
    code = "import sys, poolwise.report; print([m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
