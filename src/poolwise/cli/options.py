"""Arguments that several verbs share, and what they all do before torch is imported."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and advice off standard error, so that ours can be read."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in ("transformers", "sentence_transformers", "mteb", "datasets", "bm25s"):
        logging.getLogger(name).setLevel(logging.ERROR)


def command_line() -> str:
    """Return the command as it was typed, without the folder of the program."""
    return shlex.join(["poolwise", *sys.argv[1:]])
