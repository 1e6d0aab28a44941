"""What ``--help`` shows of every verb: two examples that parse, and the default of every option."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from poolwise.cli.main import VERBS, app
from poolwise.config import EvalConfig, TrainConfig
from poolwise.stats.designs.verdict import EQUIVALENCE

COMMAND: Any = typer.main.get_command(app)
WIDE = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}


def help_of(verb: str) -> str:
    found = CliRunner().invoke(app, [verb, "--help"], env=WIDE)
    assert found.exit_code == 0
    return found.output


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_two_examples_that_parse(verb: str) -> None:
    lines = [line.strip() for line in help_of(verb).splitlines() if line.strip()]
    assert lines[-3] == "Examples:"
    assert tuple(lines[-2:]) == VERBS[verb][1]
    for example in lines[-2:]:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("poolwise", verb)
        with COMMAND.commands[verb].make_context(verb, arguments):
            pass


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_shows_its_default(verb: str) -> None:
    shown = [
        (option.opts[0], isinstance(option.show_default, str) or (option.show_default and option.default is not None))
        for option in COMMAND.commands[verb].params
        if option.param_type_name == "option" and not option.required and not option.is_flag
    ]
    assert [name for name, is_shown in shown if not is_shown] == []
    assert help_of(verb).count("[default: ") >= len(shown)


def test_defaults_are_those_of_the_recipe() -> None:
    options = {(verb, p.name): p for verb in VERBS for p in COMMAND.commands[verb].params}
    assert options["train", "steps"].show_default == f"of --recipe, or {TrainConfig().steps}"
    assert options["eval", "batch_size"].default == EvalConfig().batch_size
    assert options["compare", "equivalence"].show_default == str(EQUIVALENCE)


def test_the_version() -> None:
    import poolwise

    found = CliRunner().invoke(app, ["--version"])
    assert (found.exit_code, found.output) == (0, f"poolwise {poolwise.__version__}\n")


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_completion_is_offered(option: str) -> None:
    assert option in CliRunner().invoke(app, ["--help"], env=WIDE).output
