"""Two processes that share each batch do what one process does with the whole batch."""

from __future__ import annotations

from functools import partial

import pytest

from poolwise.errors import ConfigError, ModelError
from poolwise.jobs import run_in_ranks
from poolwise.ranks import Ranks
from poolwise.training import run as run_module
from rank_work import (
    DESIGN,
    Adaptation,
    Case,
    Gradients,
    Stopping,
    losses_of,
    norms_of,
    run_cases,
    uneven_triples,
    weights_of,
)
from tiny_models import save_tiny_base
from toy_training import StopError, stop_at, toy_config, toy_model, toy_train

GRADIENTS = {"gradients": Gradients(8), "cached gradients": Gradients(2)}
CASES = {
    "plain": Case({"batch_size": 5}),
    "GradCache": Case({"batch_size": 5, "mini_batch_size": 2}),
    "whole base": Case({"method": "full", "learning_rate": 1e-3}, design="mean+causal"),
    "early stopping": Stopping(),
    "adaptation": Adaptation(),
}
STOPPED = {
    "one goes on as two": Case({"batch_size": 5}),
    "two go on as one": Case({"batch_size": 5}, signal_after=3),
}
DROPOUT = {"lora_dropout": 0.1}
# The last two share a folder: the second resumes the first.
REPEATED = {
    "dropout": Case(DROPOUT),
    "stopped": Case(DROPOUT, signal_after=3),
    "./stopped": Case(DROPOUT),
}

# Worst seen: 5e-7 of a loss, 5e-7 of a gradient norm relative to it, 2e-5 of a weight (after four steps at rate 1e-2).
LOSS, NORM, WEIGHT = 5e-6, 5e-6, 1e-4


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama", with_head=True)


@pytest.fixture(scope="module")
def one(base, tmp_path_factory):
    """What one process gives."""
    out = tmp_path_factory.mktemp("one")
    run_cases(lambda *_: None, cases=CASES | GRADIENTS, base=base, out=out)
    return out


@pytest.fixture(scope="module")
def two(base, tmp_path_factory):
    """What two processes give; all cases run in the same two, because starting them takes longest."""
    out = tmp_path_factory.mktemp("two")
    half = toy_config(batch_size=5, lora_dropout=0.0, temperature=0.2, learning_rate=5e-3)
    with pytest.raises(StopError):
        start(base, out / "one goes on as two", half)
    reports = []
    cases = CASES | GRADIENTS | STOPPED | REPEATED
    run_in_ranks(partial(run_cases, cases=cases, base=base, out=out), 2, lambda *told: reports.append(told))
    assert [done for done, _, _ in reports] == list(range(1, len(cases) + 1))
    return out


def start(base, out, config):
    toy_train(toy_model(DESIGN, base, config), config, out, triples=uneven_triples(), on_step=stop_at(3))


def worst(found, expected):
    assert found.keys() == expected.keys() and found
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name, one, two):
    assert losses_of(two / name) == pytest.approx(losses_of(one / name), abs=LOSS, rel=LOSS)
    assert norms_of(two / name) == pytest.approx(norms_of(one / name), rel=NORM)
    assert worst(weights_of(two / name), weights_of(one / name)) < WEIGHT
    assert worst(weights_of(two / name, 1), weights_of(two / name, 0)) == 0


@pytest.mark.slow
def test_looks_are_taken_once_and_the_best_weights_are_kept(one, two):
    name = "early stopping"
    assert (two / name / "looks.json").read_text() == (one / name / "looks.json").read_text()
    assert {path.name for path in (two / name).iterdir()} == {path.name for path in (one / name).iterdir()} | {
        "weights-1.pt"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_the_whole_batch(name, one, two):
    expected = weights_of(one / name)
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for rank in (0, 1):
        assert worst(weights_of(two / name, rank), expected) < 1e-5 * scale


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(base, one, two):
    assert losses_of(two / "one goes on as two") == pytest.approx(losses_of(one / "plain"), abs=LOSS, rel=LOSS)
    assert worst(weights_of(two / "one goes on as two"), weights_of(one / "plain")) < WEIGHT
    stopped = two / "two go on as one"
    assert len(losses_of(stopped)) == 3 and (stopped / "checkpoints" / "checkpoint-3").is_dir()
    Case({"batch_size": 5}).train(base, stopped)
    assert losses_of(stopped) == pytest.approx(losses_of(one / "plain"), abs=LOSS, rel=LOSS)
    assert worst(weights_of(stopped), weights_of(one / "plain")) < WEIGHT


@pytest.mark.slow
def test_with_dropout_a_resumed_training_is_the_same_bit_for_bit(two):
    assert len(set(losses_of(two / "dropout"))) == 6
    assert losses_of(two / "stopped") == losses_of(two / "dropout")
    assert worst(weights_of(two / "stopped"), weights_of(two / "dropout")) == 0


@pytest.mark.slow
def test_out_of_memory_in_one_process_ends_all_with_one_error_and_leaves_a_checkpoint(base, one, tmp_path):
    case = {"full": Case({"batch_size": 5, "save_steps": 1}, full_in=3)}
    with pytest.raises(ModelError, match=r"^out of memory in training: .*mini_batch_size \(8.*max_tokens"):
        run_in_ranks(partial(run_cases, cases=case, base=base, out=tmp_path), 2, lambda *_: None)
    assert [path.name for path in (tmp_path / "full" / "checkpoints").iterdir()] == ["checkpoint-2"]
    Case({"batch_size": 5}).train(base, tmp_path / "full")
    assert losses_of(tmp_path / "full") == pytest.approx(losses_of(one / "plain"), abs=LOSS, rel=LOSS)


@pytest.mark.slow
def test_a_training_whose_process_is_killed_goes_on_from_its_checkpoint(base, one, tmp_path):
    reports = []
    cases = {"first": Case({"batch_size": 5}), "killed": Case({"batch_size": 5, "save_steps": 1}, killed_in=5)}
    run_in_ranks(partial(run_cases, cases=cases, base=base, out=tmp_path), 2, lambda *told: reports.append(told))
    assert [name for _, _, name in reports] == ["first", "killed"]
    assert (tmp_path / "killed" / "killed").exists()
    for name in cases:
        assert losses_of(tmp_path / name) == pytest.approx(losses_of(one / "plain"), abs=LOSS, rel=LOSS)
        assert worst(weights_of(tmp_path / name), weights_of(one / "plain")) < WEIGHT


@pytest.mark.parametrize(("num_rows", "size"), [(8, 2), (5, 2), (7, 3), (3, 3)])
def test_the_parts_of_a_batch_make_it_up(num_rows, size):
    rows = list(range(num_rows))
    parts = [rows[Ranks(rank, size).part(num_rows)] for rank in range(size)]
    assert [row for part in parts for row in part] == rows
    assert max(map(len, parts)) - min(map(len, parts)) <= 1 and min(map(len, parts)) >= 1


def test_more_processes_than_rows_are_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "current_ranks", lambda: Ranks(0, 5))
    with pytest.raises(ConfigError, match=r"5 processes share a batch of 4 rows.*start fewer processes"):
        toy_train(toy_model("mean+causal", base, toy_config()), toy_config(), tmp_path)
    with pytest.raises(ValueError, match="processes is 5, but a batch has 4 rows"):
        toy_config(processes=5)
