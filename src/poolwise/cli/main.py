"""The ``poolwise`` command: its subcommands, exit codes, and errors on one line.

Exit codes: 0 success, 1 a bug in poolwise or a check that failed (``doctor``, ``repro``, ``verify``), 2 an error that
the user can fix, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from poolwise import __version__
from poolwise.cli import (
    bases,
    cache,
    compare,
    doctor,
    drift,
    encode,
    evaluate,
    experiment,
    export,
    import_,
    index,
    mine,
    plan,
    push,
    report,
    repro,
    screen,
    search,
    serve,
    study,
    train,
    verify,
)
from poolwise.cli.options import is_verbose, prepare_process, set_talk
from poolwise.crashes import tell_crashes
from poolwise.errors import ConfigError, explain
from poolwise.hangup import HANGUP, leave_terminal
from poolwise.ranks import current_ranks, end_process, is_first_to_fail, is_launched, join_launched, lost_partner
from poolwise.wording import visible


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal ended the command; the message names it."""


USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""The class of all errors in how a command is called: typer exports only this one of its subclasses."""


@contextmanager
def _printed_once() -> Iterator[None]:
    """Let one rank print a usage error, which all ranks make; the others end without a message."""
    try:
        yield
    except USAGE_ERROR:
        if is_launched():
            join_launched()
        if not is_first_to_fail():
            sys.exit(2)
        raise


class _Verbs(TyperGroup):
    """The subcommands; typer alone would end an interrupted one without a message."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _printed_once():
            return list(super().parse_args(ctx, args))

    def invoke(self, ctx: Any) -> Any:
        try:
            with _printed_once():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted(str(stop) or "Ctrl-C") from stop


app = typer.Typer(
    name="poolwise",
    cls=_Verbs,
    help="Find out which pooling and which attention your LLM embedding model needs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
VERBS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "plan": (plan.plan, plan.EXAMPLES),
    "study": (study.study, study.EXAMPLES),
    "screen": (screen.screen, screen.EXAMPLES),
    "train": (train.train, train.EXAMPLES),
    "eval": (evaluate.evaluate, evaluate.EXAMPLES),
    "mine": (mine.mine, mine.EXAMPLES),
    "encode": (encode.encode, encode.EXAMPLES),
    "index": (index.index, index.EXAMPLES),
    "search": (search.search, search.EXAMPLES),
    "drift": (drift.drift, drift.EXAMPLES),
    "compare": (compare.compare, compare.EXAMPLES),
    "report": (report.report, report.EXAMPLES),
    "push": (push.push, push.EXAMPLES),
    "serve": (serve.serve, serve.EXAMPLES),
    "doctor": (doctor.doctor, doctor.EXAMPLES),
    "import": (import_.import_, import_.EXAMPLES),
    "export": (export.export, export.EXAMPLES),
    "experiment": (experiment.experiment, experiment.EXAMPLES),
    "repro": (repro.repro, repro.EXAMPLES),
    "verify": (verify.verify, verify.EXAMPLES),
    "bases": (bases.bases, bases.EXAMPLES),
    "cache": (cache.cache, cache.EXAMPLES),
}
for _name, (_function, _examples) in VERBS.items():
    app.command(_name, epilog="\n\n".join(["Examples:", *_examples]))(_function)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"poolwise {__version__}")
        raise typer.Exit


@app.callback()
def shared(
    ctx: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print more, and tracebacks of errors. Put it before the command.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only errors and results. Put it before the command.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out which pooling and which attention your LLM embedding model needs."""
    set_talk(verbose, quiet)
    if is_launched():
        _join(ctx.invoked_subcommand or "")


def _join(verb: str) -> None:
    """Join the other processes that torchrun or accelerate started; only the first one talks.

    Raises: ConfigError for a command that starts its own processes.
    """
    if not join_launched().is_first:
        set_talk(verbose=False, quiet=True)
    if verb != "train" and current_ranks().size > 1:
        raise ConfigError(
            f"poolwise {verb} was started in {current_ranks().size} processes",
            "wanted one: it starts further ones itself",
            "start it without torchrun or accelerate; for several GPUs, see train.processes",
        )


def main() -> None:
    """Run the command line and exit with its code."""
    is_one_of_many = is_launched()
    try:
        _run()
    except SystemExit as end:
        # Only then: after an error the launcher kills the others, and a quick end would cut off the one that prints.
        if is_one_of_many and not end.code:
            end_process(0)
        raise


def _run() -> None:
    prepare_process()
    tell_crashes()
    signal.signal(signal.SIGTERM, _terminate)
    for number in HANGUP:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminate)
    try:
        app()
    except (Interrupted, KeyboardInterrupt) as stop:
        name = str(stop) or "Ctrl-C"
        if current_ranks().is_first:
            print(f"stopped by {name}: run the same command again to resume; what is finished is kept", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        known = explain(error) or lost_partner(error)
        if not is_first_to_fail():
            sys.exit(2 if known else 1)
        if known:
            if is_verbose():
                traceback.print_exc()
            print(f"error: {visible(str(known))}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print("error: this is a bug in poolwise; please report it with the lines above", file=sys.stderr)
        sys.exit(1)


def _terminate(number: int, _: object) -> None:
    if number in HANGUP:
        leave_terminal()
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    main()
