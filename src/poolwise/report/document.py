"""The content and order of a report: the decision comes first, then what was decided and the scores, methods last."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import Run
from poolwise.report.adaptation import adaptation_blocks, adaptation_warnings
from poolwise.report.amounts import count_text, score_text
from poolwise.report.benchmark import benchmark_blocks
from poolwise.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    Definitions,
    Document,
    Folded,
    Paragraph,
    Section,
    Table,
)
from poolwise.report.card import decision_cards
from poolwise.report.decided import decided_sentences
from poolwise.report.dimensions import dimension_means, dimension_table
from poolwise.report.evidence import contrast_table, posterior_table, power_table, variance_table
from poolwise.report.figures.critical import ranks_figure
from poolwise.report.figures.curves import curves_figure
from poolwise.report.figures.forest import forest_figure
from poolwise.report.figures.layer_bars import layers_figure
from poolwise.report.figures.scatter import PARAMETERS, THROUGHPUT, scatter_figure
from poolwise.report.figures.seed_ticks import seeds_figure
from poolwise.report.glossary import glossary
from poolwise.report.hierarchy import hierarchy_table
from poolwise.report.items import drilldowns
from poolwise.report.looks import looks_table
from poolwise.report.matrix import has_matrix, matrix_blocks
from poolwise.report.provenance import entrant_warnings, job_warnings, repeat_blocks, study_facts
from poolwise.report.tables import cost_table, paper_table, task_table
from poolwise.report.trainings import training_warnings
from poolwise.report.view import View, runs_view, study_view
from poolwise.report.within import within_contrasts
from poolwise.results import Comparison, Results, StudyResults
from poolwise.wording import listed

MAX_NOTES = 4
MAX_ROWS = 30
"""A longer table of tests is collapsed."""
MAX_WITHIN = 6
"""Fewer at the top of the report, where the table of scores follows."""
SCREEN_NOTE = (
    "This is a screen: the base is frozen and only the heads are trained, without LoRA. Use its ranking to choose "
    "candidates; every verdict below is about heads on this frozen base."
)
TRIAL_NOTE = (
    "This is a screen: every design is trained at one seed only and evaluated with half of `max_items`. Use its "
    "ranking to choose candidates; another seed can change the order of designs that are close."
)
_SCREEN_NOTES = {"screen": [SCREEN_NOTE], "trial": [TRIAL_NOTE]}
_TITLES = {
    "study": "Pooling and attention",
    "screen": "Screen of poolings on a frozen base",
    "trial": "Screen of designs at one seed",
}
SAME_AGAIN = "The resampling uses a fixed seed: the same inputs give the same numbers. The inputs were:"
APART = "A family of its own, corrected separately."
WITHIN_NOTE = "Exploratory, a separate family. A test within one task is about these checkpoints, not about designs."


def study_document(study: StudyResults) -> Document:
    """Return the report of a study."""
    view, results = study_view(study), study.results
    failures = results.failures
    cards = decision_cards(view, is_screen=results.kind == "screen", place=", in the folder of this report")
    sections = [
        *_first_sections(view, cards),
        *_comparison_sections(view),
        _section("dimensions", "Scores by embedding dimension", dimension_table(results.dimensions)),
        _section("layers", "Learned layer weights", layers_figure(results.designs)),
        _section(
            "training",
            "Training",
            curves_figure(results.training, view.designs),
            looks_table(results.looks),
            _tuning(results),
        ),
        _section("adaptation", "Adaptation of the base", *adaptation_blocks(study)),
        *_test_sections(view),
        _section("paper", "The paper's designs", _decisions(results)),
        _section("failures", "Failures", Definitions(sorted(failures.items())) if failures else None),
        _section("repeat", "How to repeat this study", *repeat_blocks(study)),
        *_last_sections(view.comparison),
    ]
    return Document(
        title=f"{_TITLES[results.kind]}: {results.name}",
        facts=study_facts(study),
        sections=[section for section in sections if section.blocks],
        warnings=[
            *_SCREEN_NOTES.get(results.kind, []),
            *adaptation_warnings(results),
            *entrant_warnings(results),
            *job_warnings(results),
            *training_warnings(results),
        ],
    )


def comparison_document(
    comparison: Comparison, runs: Sequence[Run] = (), command: str = "", inputs: Sequence[str] = ()
) -> Document:
    """Return the report of a comparison of any runs.

    Args:
        command: the command that repeats the comparison. inputs: what was detected in each input, in words.
    """
    view = runs_view(comparison, runs)
    repeat: list[Block] = [Code(command, "sh"), Paragraph(SAME_AGAIN), Bullets(list(inputs))] if command else []
    sections = [
        *_first_sections(view, decision_cards(view)),
        *_comparison_sections(view),
        _section("dimensions", "Scores by embedding dimension", dimension_table(dimension_means(runs))),
        *_test_sections(view),
        _section("repeat", "How to repeat this comparison", *repeat),
        *_last_sections(comparison),
    ]
    facts = [("Compared", listed(comparison.designs)), ("Reference", comparison.reference or "none")]
    if view.tasks:
        facts.append(("Tasks", _num_tasks(view)))
    return Document("Comparison of embedding models", facts, [section for section in sections if section.blocks])


def _num_tasks(view: View) -> str:
    """How many tasks were compared, and how many of those read were not: one model has them, or another version."""
    compared = sum(max((c.num_tasks or 0 for c in view.contrasts(category)), default=0) for category in view.categories)
    if not compared or compared == len(view.tasks):
        return f"{len(view.tasks)}"
    return f"{compared} compared, of {len(view.tasks)} read"


def _first_sections(view: View, cards: Block | None) -> list[Section]:
    """What every reader needs, open on all screens: the decision, what was decided, the scores."""
    none = Paragraph("The records contain no recommendation.")
    return [
        Section("verdict", "Decision", [cards or none], is_folded=False),
        Section("decided", "What was decided", _decided(view), is_folded=False),
        Section("scores", "Scores by category", [paper_table(view)] if view.categories else [], is_folded=False),
    ]


def _comparison_sections(view: View) -> list[Section]:
    parameters = {name: float(count) for name, count in view.parameters.items()}
    speeds = {n: speed for n in view.designs if (speed := view.cost(n, lambda c: c.encode_texts_per_second))}
    scatters = [scatter_figure(view, PARAMETERS, parameters), scatter_figure(view, THROUGHPUT, speeds)]
    forest = forest_figure(view)
    differences: Block | None = Folded("All pairs", [forest]) if forest and has_matrix(view) else forest
    return [
        _section("benchmark", "Benchmark", *benchmark_blocks(view.comparison)),
        _section("pairs", "Pairs of models", *matrix_blocks(view)),
        _section("differences", "Differences", differences),
        _section("seeds", "Seed spread", seeds_figure(view)),
        _section("tasks", "Scores by task", task_table(view)),
        _section("items", "Items behind the differences", *drilldowns(view.comparison)),
        _section("cost", "Cost", cost_table(view), *scatters),
    ]


def _test_sections(view: View) -> list[Section]:
    comparison = view.comparison
    variance = variance_table(comparison.variance)
    sources = [_long(variance)] if variance else []
    pooled = hierarchy_table(comparison.hierarchies, comparison.contrasts)
    return [
        _section("ranks", "Average ranks", ranks_figure(comparison.rank_pictures)),
        _section("pooling", "Partial pooling over tasks", _long(pooled) if pooled else None),
        _section("power", "Power", power_table(comparison.power), *sources),
        _section("tests", "All tests", *_tests(comparison)),
    ]


def _last_sections(comparison: Comparison) -> list[Section]:
    words = _section("glossary", "Glossary", glossary()) if comparison.contrasts else _section("glossary", "")
    return [words, _section("methods", "Methods", *_methods(comparison))]


def _section(key: str, title: str, *blocks: Block | None) -> Section:
    return Section(key, title, [block for block in blocks if block is not None])


def _decided(view: View) -> list[Block]:
    """Counts, what no test can decide, the results within tasks in that case, and the notes."""
    blocks: list[Block] = [Paragraph(sentence) for sentence in decided_sentences(view)]
    if within := within_contrasts(view):
        caption = "Within single tasks, where no test over tasks can decide"
        blocks.append(_long(contrast_table(within, "tab-within", caption, WITHIN_NOTE), most=MAX_WITHIN))
    return [*blocks, *_notes(view.comparison.notes)]


def _notes(notes: Sequence[str]) -> list[Block]:
    """The limits of the verdicts, shown with them; a long list is collapsed."""
    if not notes:
        return []
    limits = Bullets(notes)
    return [limits] if len(notes) <= MAX_NOTES else [Folded(f"{len(notes)} notes on limits of the verdicts", [limits])]


def _long(table: Table, most: int = MAX_ROWS) -> Block:
    """Return the table; collapsed if it has more than ``most`` rows."""
    return table if len(table.rows) <= most else _fold(table)


def _fold(table: Table) -> Folded:
    return Folded(f"{table.caption} ({count_text(len(table.rows))})", [table])


def _tests(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = []
    if comparison.contrasts:
        note = comparison.family or "The records do not say which tests were corrected together."
        blocks.append(
            _long(contrast_table(comparison.contrasts, "tab-contrasts", "Contrasts, the primary family", note))
        )
    others = (
        (comparison.overall, "tab-overall", "The same contrasts on the mean over categories", APART),
        (comparison.against_baselines, "tab-against-baselines", "Against baselines", APART),
        (comparison.tasks_like_these, "tab-tasks-like-these", "Tests over tasks like these", ""),
        (comparison.seed_contrasts, "tab-seed-contrasts", "The same contrasts, other treatments of the seeds", ""),
        (comparison.task_contrasts, "tab-task-contrasts", "Contrasts within tasks", WITHIN_NOTE),
    )
    for contrasts, key, title, note in others:
        if contrasts:
            blocks.append(_fold(contrast_table(contrasts, key, title, note)))
    if posteriors := posterior_table(comparison.posteriors):
        blocks.append(Folded(posteriors.caption, [posteriors]))
    return blocks


def _methods(comparison: Comparison) -> list[Block]:
    return [Paragraph(text) for text in [comparison.rule, *comparison.methods, comparison.family] if text]


def _tuning(results: Results) -> Table | None:
    rates = list(dict.fromkeys(rate for scores in results.tuning.values() for rate in scores))
    if not rates:
        return None
    rows = [
        [Cell(design), *(Cell(score_text(scores.get(rate)), sort=scores.get(rate)) for rate in rates)]
        for design, scores in results.tuning.items()
    ]
    columns = [Column("Design"), *(Column(rate, is_number=True) for rate in rates)]
    title = "Dev score by learning rate, the same search for every design"
    return Table("tab-tuning", title, columns, rows, is_sortable=True)


def _decisions(results: Results) -> Definitions | None:
    """Where we differ from the paper's code."""
    named = [(f"{i.alias} = {i.design}" if i.alias else i.design, i.decision) for i in results.designs if i.decision]
    return Definitions([(name, decision) for name, decision in named if decision]) if named else None
