"""The content and order of a report: the verdict comes first, how to repeat the study last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from poolwise.records import Run
from poolwise.report.adaptation import adaptation_blocks, adaptation_warnings
from poolwise.report.amounts import count_text, score_text, seconds_text
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
    Verdict,
    Verdicts,
)
from poolwise.report.evidence import contrast_table, posterior_table, power_table, variance_table
from poolwise.report.figures.critical import ranks_figure
from poolwise.report.figures.curves import curves_figure
from poolwise.report.figures.forest import forest_figure
from poolwise.report.figures.layer_bars import layers_figure
from poolwise.report.figures.scatter import PARAMETERS, THROUGHPUT, scatter_figure
from poolwise.report.figures.seed_ticks import seeds_figure
from poolwise.report.items import drilldowns
from poolwise.report.tables import cost_table, paper_table, task_table
from poolwise.report.view import ALPHA, View, category_title, runs_view, study_view
from poolwise.results import Comparison, Results, StudyResults

MAX_NOTES = 4
SCREEN_NOTE = (
    "This is a screen: the base is frozen and only the heads are trained, without LoRA. Use its ranking to choose "
    "candidates; every verdict below is about heads on this frozen base."
)
_TITLES = {"study": "Pooling and attention", "screen": "Screen of poolings on a frozen base"}
SAME_AGAIN = "The resampling uses a fixed seed: the same inputs give the same numbers. The inputs were:"
WITHIN_NOTE = "Exploratory, a separate family. A test within one task is about these checkpoints, not about designs."


def study_document(study: StudyResults) -> Document:
    """Return the report of a study."""
    view, results = study_view(study), study.results
    failures = results.failures
    sections = [
        *_comparison_sections(view),
        _section("layers", "Learned layer weights", layers_figure(results.designs)),
        _section("training", "Training", curves_figure(results.training, view.designs), _tuning(results)),
        _section("adaptation", "Adaptation of the base", *adaptation_blocks(study)),
        *_test_sections(view.comparison),
        _section("paper", "The paper's designs", _decisions(results)),
        _section("failures", "Failures", Definitions(sorted(failures.items())) if failures else None),
        _section("repeat", "How to repeat this study", *_repeat(study)),
    ]
    return Document(
        title=f"{_TITLES[results.kind]}: {results.name}",
        facts=_facts(study),
        sections=[section for section in sections if section.blocks],
        warnings=[
            *([SCREEN_NOTE] if results.kind == "screen" else []),
            *adaptation_warnings(results),
            *_warnings(results),
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
        *_comparison_sections(view),
        *_test_sections(comparison),
        _section("repeat", "How to repeat this comparison", *repeat),
    ]
    facts = [("Compared", ", ".join(comparison.designs)), ("Reference", comparison.reference or "none")]
    if view.tasks:
        facts.append(("Tasks", f"{len(view.tasks)}"))
    return Document("Comparison of embedding models", facts, [section for section in sections if section.blocks])


def _comparison_sections(view: View) -> list[Section]:
    parameters = {name: float(count) for name, count in view.parameters.items()}
    speeds = {n: speed for n in view.designs if (speed := view.cost(n, lambda c: c.encode_texts_per_second))}
    scatters = [scatter_figure(view, PARAMETERS, parameters), scatter_figure(view, THROUGHPUT, speeds)]
    return [
        _section("verdict", "Verdict", *_verdict(view)),
        _section("benchmark", "Benchmark", *benchmark_blocks(view.comparison)),
        _section("scores", "Scores by category", paper_table(view) if view.categories else None),
        _section("differences", "Differences", forest_figure(view)),
        _section("seeds", "Seed spread", seeds_figure(view)),
        _section("tasks", "Scores by task", task_table(view)),
        _section("items", "Items behind the differences", *drilldowns(view.comparison)),
        _section("cost", "Cost", cost_table(view), *scatters),
    ]


def _test_sections(comparison: Comparison) -> list[Section]:
    return [
        _section("ranks", "Average ranks", ranks_figure(comparison.rank_pictures)),
        _section("power", "Power", power_table(comparison.power), variance_table(comparison.variance)),
        _section("tests", "All tests", *_tests(comparison)),
        _section("methods", "Methods", *_methods(comparison)),
    ]


def _section(key: str, title: str, *blocks: Block | None) -> Section:
    return Section(key, title, [block for block in blocks if block is not None])


def _verdict(view: View) -> list[Block]:
    comparison = view.comparison
    items = [
        Verdict(
            category_title(r.category),
            r.sentence,
            r.decided,
            [("Recommended", r.recommended), ("Highest mean", r.best), ("Pareto set", ", ".join(r.pareto) or "–")],
        )
        for r in comparison.recommendations
    ]
    blocks: list[Block] = [Verdicts(items)] if items else [Paragraph("The records contain no recommendation.")]
    if any(contrast.p is not None for contrast in comparison.contrasts):
        blocks.append(Paragraph(_count_sentence(comparison)))
    return [*blocks, *_notes(comparison.notes)]


def _notes(notes: Sequence[str]) -> list[Block]:
    """The limits of the verdicts, shown with them; a long list is collapsed."""
    if not notes:
        return []
    limits = Bullets(notes)
    return [limits] if len(notes) <= MAX_NOTES else [Folded(f"{len(notes)} notes on limits of the verdicts", [limits])]


def _count_sentence(comparison: Comparison) -> str:
    tested = [c for c in comparison.contrasts if c.p is not None]
    raw = sum(c.p < ALPHA for c in tested if c.p is not None)
    corrected = sum(c.p_holm < ALPHA for c in tested if c.p_holm is not None)
    hopeless = sum(c.smallest_p >= ALPHA for c in tested if c.smallest_p is not None)
    untested = len(comparison.contrasts) - len(tested)
    verdicts = Counter(c.verdict or "not decided" for c in comparison.contrasts)
    counted = ", ".join(f"{verdicts[v]} {v}" for v in ("better", "worse", "equal", "not decided") if verdicts[v])
    sentences = [
        f"Of {len(tested)} tested contrasts, {raw} {'has' if raw == 1 else 'have'} a raw p below {ALPHA:g} and "
        f"{corrected} a corrected p below {ALPHA:g}.",
        f"{hopeless} could not have reached p < {ALPHA:g} with any scores." if hopeless else "",
        f"{untested} could not be tested." if untested else "",
        f"Verdicts: {counted}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _tests(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = []
    if comparison.contrasts:
        note = comparison.family or "The records do not say which tests were corrected together."
        blocks.append(contrast_table(comparison.contrasts, "tab-contrasts", "Contrasts, the primary family", note))
    others = (
        (comparison.tasks_like_these, "tab-tasks-like-these", "Tests over tasks like these", ""),
        (comparison.seed_contrasts, "tab-seed-contrasts", "The same contrasts, other treatments of the seeds", ""),
        (comparison.task_contrasts, "tab-task-contrasts", "Contrasts within tasks", WITHIN_NOTE),
    )
    for contrasts, key, title, note in others:
        if contrasts:
            summary = f"{title} ({count_text(len(contrasts))})"
            blocks.append(Folded(summary, [contrast_table(contrasts, key, title, note)]))
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
    named = [(f"{i.alias} = {i.design}" if i.alias else i.design, i.decision) for i in results.designs if i.decision]
    return Definitions([(name, decision) for name, decision in named if decision]) if named else None


def _warnings(results: Results) -> list[str]:
    """Warnings on missing jobs by reason: a failure needs a fix; an unfinished study only needs to be resumed."""
    missing = {"failed": sorted(results.failures), "not run yet": results.not_run}
    return [
        f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} {why}; {'its' if len(jobs) == 1 else 'their'} results are "
        f"missing below: {', '.join(jobs)}."
        for why, jobs in missing.items()
        if jobs
    ]


def _facts(study: StudyResults) -> list[tuple[str, str]]:
    results, measured = study.results, study.measured
    items = sum(task.num_items for task in results.tasks)
    seeds = sorted({s.seed for s in results.scores if s.name not in results.anchors})
    return [
        ("Base", results.base),
        (
            "Training data",
            ", ".join(_file_name(n) for n in results.data_fingerprints if n not in ("base", "base commit")) or "–",
        ),
        ("Designs", f"{len(results.designs)}, seeds {', '.join(map(str, seeds)) or '–'}"),
        ("Tasks", f"{len(results.tasks)} with {count_text(items)} items"),
        ("Machine", _machine(measured.machine) or "–"),
        ("Run", " · ".join(t for t in (measured.started, _wall(measured.wall_seconds)) if t) or "–"),
        ("Recipe and inputs", results.recipe_hash),
    ]


def _machine(machine: Mapping[str, str]) -> str:
    """The parts that determine speed, if recorded; How to repeat lists everything."""
    units = {"processor": "{}", "accelerator": "{}", "cores": "{} cores", "memory_gib": "{} GiB"}
    known = [form.format(machine[k]) for k, form in units.items() if machine.get(k, "none") != "none"]
    return ", ".join(known or machine.values())


_OF_BASE = ("base", "base commit")


def _file_name(source: str) -> str:
    """Return a file name without folders; names of data sets stay unchanged."""
    return source.rsplit("/", 1)[-1] if source.endswith((".jsonl", ".gz", ".parquet")) else source


def _wall(seconds: float | None) -> str:
    return f"{seconds_text(seconds)} wall-clock time" if seconds is not None else ""


def _repeat(study: StudyResults) -> list[Block]:
    results, measured = study.results, study.measured
    recipe = yaml.safe_dump(results.recipe, sort_keys=False, allow_unicode=True).rstrip()
    blocks: list[Block] = []
    if measured.command:
        blocks.append(Code(measured.command, "sh"))
    blocks.append(Paragraph(f"The resolved recipe. Hash of recipe, base, data and tasks: {results.recipe_hash}."))
    blocks.append(Code(recipe, "yaml"))
    for title, values in (
        ("Versions", measured.versions),
        ("Machine", measured.machine),
        ("Data fingerprints", results.data_fingerprints),
        ("Task fingerprints", {task.task: task.fingerprint for task in results.tasks}),
        ("Hashes of batch schedules and initial parameters", results.hashes),
    ):
        if values:
            blocks.append(Folded(title, [Definitions(list(values.items()))]))
    return blocks
