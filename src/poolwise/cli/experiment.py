"""``poolwise experiment``: begins an A/B test, imports its traffic, and says what is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json, say, show, show_json

EXAMPLES = (
    "poolwise experiment runs/ab --design ab.yaml",
    "poolwise experiment runs/ab --import traffic.csv --report runs/ab/report.html",
)


def experiment(
    folder: Annotated[Path, typer.Argument(help="Folder of the experiment.")],
    design: Annotated[
        Path | None,
        typer.Option(help="Begin a new experiment in the folder with this design (YAML).", show_default="none"),
    ] = None,
    import_: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Add traffic that runs elsewhere: a table (CSV, parquet, JSON lines) of exposures or of feedback.",
            show_default="none",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=COLUMN,...",
            help="Columns of the imported file: user, arm, time, id, latency, error, covariate, click, rating, "
            "conversion; of feedback exposure, event, time, value, item, id.",
            show_default="the names themselves",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the report, one HTML file.", show_default="no report")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the state of an A/B test: superior, equivalent, continue, or stop for harm.

    You may look as often as you like: the error rate covers all looks.
    """
    from poolwise.errors import ConfigError
    from poolwise.experiments import analyse, import_log, load_design, open_log, save_design
    from poolwise.experiments.report import write_experiment_report
    from poolwise.experiments.view import analysis_text

    if columns and not import_:
        raise ConfigError("--columns without --import", hint="--columns names the columns of an imported file")
    if design is not None:
        made = load_design(design)
        say(f"design {made.fingerprint}: {save_design(made, folder)}; do not change it after the first event")
    if import_:
        with open_log(folder) as log:
            for path in import_:
                done = import_log(log, path, _pairs(columns))
                added = f"{done.counted:,} rows added, {done.repeated:,} known before"
                say(f"{path}: {added}, {len(done.set_aside):,} rows set aside")
                for reason in done.set_aside[:3]:
                    say(f"  {reason}")
    found = analyse(folder)
    if report is not None:
        from poolwise.experiments.log import load_experiment

        write_experiment_report(found, load_experiment(folder), report)
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show(analysis_text(found))
    if report is not None:
        say(f"report: {report}")


def _pairs(text: str | None) -> dict[str, str]:
    """Return the columns of ``user=uid,arm=variant`` by name. Raises: ConfigError for a part without both."""
    from poolwise.errors import ConfigError

    pairs: dict[str, str] = {}
    for part in (text or "").split(",") if text else []:
        name, _, column = (piece.strip() for piece in part.partition("="))
        if not name or not column:
            raise ConfigError(f"--columns {part!r}", "wanted NAME=COLUMN, such as user=customer_id")
        pairs[name] = column
    return pairs
