"""``poolwise compare``: tests whether the differences between models are real, whichever tool evaluated them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json, command_line, is_verbose, say, show, show_json

EXAMPLES = (
    "poolwise compare runs/quickstart --equivalence 0.01",
    "poolwise compare runs/a runs/b --reference mean+causal --out runs/a-and-b",
)


def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Runs or studies of poolwise, MTEB results (one folder per model), mteb predictions, runs in TREC's "
            "format or JSON, or a table (CSV, parquet) with model, task, item, score.",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Design or model to compare the others with.", show_default="the study's reference; otherwise none"
        ),
    ] = None,
    qrels: Annotated[
        list[Path] | None, typer.Option(help="Relevance judgements for TREC runs; repeatable.", show_default="none")
    ] = None,
    include_external: Annotated[
        bool, typer.Option("--include-external", help="Also read MTEB's self-reported scores; the notes mark them.")
    ] = False,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help='Benchmark of MTEB, such as "MTEB(eng, v2)": only its tasks, splits and subsets; adds its ranks.',
            show_default="none",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Language of MTEB results, in ISO 639-3, such as deu.", show_default="English"),
    ] = None,
    equivalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CATEGORY=]SIZE",
            help="Largest difference that does not matter in practice, for one category or for all; repeatable.",
            show_default="0.005",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="One more input, and its model's name; repeatable.", show_default="none"
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="all|category",
            help="Which tests are corrected together: all, or those of each category.",
            show_default="the study's; otherwise all",
        ),
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(min=100, help="Resamples of each test.", show_default="10,000, more in a large family"),
    ] = None,
    intersect: Annotated[
        bool,
        typer.Option("--intersect", help="Use the items that all models have, where some lack items of a task."),
    ] = False,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="Compare without damaged or missing scores of poolwise's runs and studies."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html, report.md and report.tex.", show_default="no report"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare models evaluated on the same tasks: differences, tests, corrected p-values, verdicts."""
    from poolwise.errors import ConfigError
    from poolwise.foreign import compare_inputs, input_entries, input_lines, read_inputs, scope_of, source_lines
    from poolwise.report import comparison_json, comparison_text, write_comparison_report

    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file", "wanted a folder, new or existing")
    if family not in (None, "all", "category"):
        raise ConfigError(f"--family {family}", "wanted all or category")
    names = _names(name or [])
    if not (paths or names):
        raise ConfigError("compare: no input", "wanted paths, or --name NAME=PATH")
    scope = scope_of(benchmark, language)
    inputs = read_inputs(paths or [], qrels or [], include_external, names, scope, intersect)
    say("\n".join(input_lines(inputs)))
    if not set_aside:
        inputs.require_whole()
    everything = [*(paths or []), *names.values()]
    sizes = _sizes(equivalence) if equivalence else None
    comparison = compare_inputs(inputs, everything, reference, sizes, family, resamples)  # type: ignore[arg-type]
    page = None
    if out is not None:
        page = write_comparison_report(comparison, inputs.runs, out, command_line(), source_lines(inputs))
    if as_json:
        show_json(comparison_json(comparison, input_entries(inputs)))
    else:
        show(comparison_text(comparison, inputs.runs, verbose=is_verbose()))
    if page is not None:
        say(f"report: {page}")


def _names(texts: list[str]) -> dict[str, Path]:
    """Return the paths of ``NAME=PATH`` by name.

    Raises: ConfigError where a text has no name or no path, or a name is given twice.
    """
    from poolwise.errors import ConfigError

    names: dict[str, Path] = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if not (name and sign and path):
            raise ConfigError(f"--name {text}", "wanted NAME=PATH, such as mine=runs/mine")
        if name in names:
            raise ConfigError(f"--name {name} is given twice")
        names[name] = Path(path)
    return names


def _sizes(texts: list[str]) -> float | dict[str, float]:
    """Return one size for all categories, or sizes by category.

    Raises: ConfigError where a size is not a number, or a size for all is mixed with sizes by category.
    """
    from poolwise.errors import ConfigError

    sizes: dict[str, float] = {}
    for text in texts:
        category, _, size = text.rpartition("=")
        try:
            sizes[category] = float(size)
        except ValueError as error:
            raise ConfigError(
                f"--equivalence {text}: {size!r} is not a number", "wanted SIZE or CATEGORY=SIZE"
            ) from error
    if "" in sizes and len(sizes) > 1:
        raise ConfigError("--equivalence: give one size for all or sizes by category, not both")
    return sizes.get("", sizes)
