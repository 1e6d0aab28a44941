"""The ``poolwise`` command: verbs, exit codes, and errors on one line.

Exit codes: 0 fine, 1 a bug of ours, 2 something the user can mend, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import traceback

import typer

from poolwise.cli import compare, doctor, evaluate, report, screen, study, train
from poolwise.errors import explain

app = typer.Typer(
    name="poolwise",
    help="Find out which pooling and which attention your LLM embedding model needs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("study")(study.study)
app.command("screen")(screen.screen)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if known := explain(error):
            print(f"error: {known}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print("error: this is a bug in poolwise; please report it with the lines above", file=sys.stderr)
        sys.exit(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
