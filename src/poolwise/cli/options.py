"""Options that several commands share, and the process settings made before torch is imported."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from poolwise.wording import visible, visible_json

if TYPE_CHECKING:
    from poolwise.cli.progress_view import ProgressView, StepView
    from poolwise.cli.quiet_view import QuietView

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipe; repeatable.", show_default="none"),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.", show_default="a GPU if there is one, or else cpu"),
]

By = Annotated[
    str,
    typer.Option(
        help="What a screen trains: heads, on a frozen base; or training: the designs as a study does, at one seed "
        "and with half of max_items, which ranks them better and costs more."
    ),
]

OURS = logging.getLogger("poolwise")


def prepare_process() -> None:
    """Set what must be set before any library is imported: quiet libraries.

    Environment variables that the user has set are kept.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for library in ("TRANSFORMERS", "DATASETS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in ("transformers", "sentence_transformers", "mteb", "datasets", "bm25s", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    OURS.handlers = [_Notes()]
    OURS.propagate = False
    OURS.setLevel(logging.WARNING)


class _Notes(logging.Handler):
    """Writes each message once, on one line of standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if message not in self._told:
            self._told.add(message)
            # Look stderr up now: a progress bar replaces it, so that lines appear above the bar.
            print(f"note: {visible(message)}", file=sys.stderr)


def screen_by(given: str) -> Literal["heads", "training"]:
    """Return what a screen trains. Raises: ConfigError for another word."""
    from poolwise.errors import require_choice

    require_choice("a screen by", given, ("heads", "training"))
    return "training" if given == "training" else "heads"


def set_talk(verbose: bool, quiet: bool) -> None:
    """Make poolwise print more (verbose), or only errors and results (quiet).

    Raises: ConfigError where both are given.
    """
    if verbose and quiet:
        from poolwise.errors import ConfigError

        raise ConfigError("both --verbose and --quiet are given", hint="give one of them")
    if verbose or quiet:
        OURS.setLevel(logging.INFO if verbose else logging.ERROR)


def is_verbose() -> bool:
    """Return whether ``--verbose`` was given."""
    return OURS.isEnabledFor(logging.INFO)


def is_quiet() -> bool:
    """Return whether ``--quiet`` was given."""
    return not OURS.isEnabledFor(logging.WARNING)


def say(text: str) -> None:
    """Print a status line on standard error; nothing under ``--quiet``."""
    if not is_quiet():
        print(visible(text), file=sys.stderr)


def show(text: object, end: str = "\n") -> None:
    """Print a result. Names and texts in it are other people's, so control characters are written out."""
    print(visible(str(text)), end=end)


def show_json(value: object) -> None:
    """Print a result as JSON; control characters are escaped."""
    print(visible_json(json.dumps(value, indent=2, ensure_ascii=False)))


def study_view() -> ProgressView | QuietView:
    """Return the view of a study's progress."""
    if is_quiet():
        from poolwise.cli.quiet_view import QuietView

        return QuietView()
    from poolwise.cli.progress_view import ProgressView

    return ProgressView()


def step_view(label: str) -> StepView | QuietView:
    """Return the view of one long call's steps."""
    if is_quiet():
        from poolwise.cli.quiet_view import QuietView

        return QuietView()
    from poolwise.cli.progress_view import StepView

    return StepView(label)


def require_model(name: str) -> None:
    """Raise ModelError where there is no such model, or its training was interrupted: before torch is imported."""
    from poolwise.base_sources.find import require_there
    from poolwise.records import require_finished

    require_there(name)
    require_finished(Path(name))


def prepare_base(name: str) -> None:
    """Fetch and dequantise a base in a GGUF file before a progress view is drawn: fetching draws a bar of its own.

    Raises: ModelError for a path that does not exist.
    """
    from poolwise.base_sources.find import is_gguf_name, require_there

    require_there(name, "base")
    if is_gguf_name(name):  # others need no torch yet
        from poolwise.models import prepare_base as prepare

        prepare(name)


def command_line() -> str:
    """Return the command as typed, without the folder of the program."""
    return shlex.join(["poolwise", *sys.argv[1:]])
