"""Arguments that several verbs share, and what they all do before torch is imported."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from poolwise.cli.progress_view import ProgressView, StepView
    from poolwise.cli.quiet_view import QuietView

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.", show_default="none"),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.", show_default="a GPU if there is one, or else cpu"),
]

OURS = logging.getLogger("poolwise")


def prepare_process() -> None:
    """Set what must be set before any library is imported: threads that wait quietly, no bars or advice of libraries.

    What the user has set in the environment stays.
    """
    # A thread of OpenMP that waits for the next product would otherwise spin, and take a core from whoever needs it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
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
            # Looked up now: a progress bar puts its own stream there, so that lines stand above it.
            print(f"note: {message}", file=sys.stderr)


def set_talk(verbose: bool, quiet: bool) -> None:
    """Have poolwise say more, or errors and results only.

    Raises: ConfigError where both are asked for.
    """
    if verbose and quiet:
        from poolwise.errors import ConfigError

        raise ConfigError("--verbose and --quiet exclude each other", hint="give one of them")
    if verbose or quiet:
        OURS.setLevel(logging.INFO if verbose else logging.ERROR)


def is_verbose() -> bool:
    """Return whether ``--verbose`` was given."""
    return OURS.isEnabledFor(logging.INFO)


def is_quiet() -> bool:
    """Return whether ``--quiet`` was given."""
    return not OURS.isEnabledFor(logging.WARNING)


def say(text: str) -> None:
    """Print a line about what is going on, on standard error; nothing under ``--quiet``."""
    if not is_quiet():
        print(text, file=sys.stderr)


def study_view() -> ProgressView | QuietView:
    """Return what shows a study's progress."""
    if is_quiet():
        from poolwise.cli.quiet_view import QuietView

        return QuietView()
    from poolwise.cli.progress_view import ProgressView

    return ProgressView()


def step_view(label: str) -> StepView | QuietView:
    """Return what shows the steps of one long call."""
    if is_quiet():
        from poolwise.cli.quiet_view import QuietView

        return QuietView()
    from poolwise.cli.progress_view import StepView

    return StepView(label)


def placed_on(device: str | None) -> dict[str, Any]:
    """Return the keyword arguments that put a model on the device of ``--device``; none where it was not given.

    Raises: ConfigError where it is no device, or this machine has none such.
    """
    if device is None:
        return {}
    from poolwise.errors import ConfigError

    kind, _, number = device.partition(":")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", device):
        raise ConfigError(f"--device {device} is no device", "wanted cpu, cuda, cuda:N or mps")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    usable = {"cpu": True, "cuda": int(number or 0) < count, "mps": torch.backends.mps.is_available()}
    if not usable[kind]:
        found = ["cpu", *(f"cuda:{place}" for place in range(count)), *["mps"] * usable["mps"]]
        raise ConfigError(f"--device {device}: this machine has no such device", f"wanted one of {', '.join(found)}")
    return {"device": device}


def require_finished(model: str) -> None:
    """Refuse a run's folder that holds no model yet.

    Raises: ModelError where its training was interrupted, with what goes on with it.
    """
    folder = Path(model)
    is_begun = any((folder / name).exists() for name in ("spec.json", "training.jsonl", "checkpoints"))
    if is_begun and not (folder / "model").is_dir() and not (folder / "modules.json").is_file():
        from poolwise.errors import ModelError

        raise ModelError(
            f"{model} is a run whose training is not finished",
            "wanted a run's folder with model/",
            "run the command that began it again (poolwise train, study or screen): it goes on from there",
        )


def command_line() -> str:
    """Return the command as it was typed, without the folder of the program."""
    return shlex.join(["poolwise", *sys.argv[1:]])
