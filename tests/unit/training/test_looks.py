"""Early stopping: which weights are kept, when a training ends, and that a resumed one keeps the same."""

import pytest
import torch

from poolwise.records import DevLook, load_looks, load_steps
from poolwise.training import checkpoints, looks
from toy_training import StopError, stop_at, toy_config, toy_model, toy_train, weights

DESIGN = "layer_mix+causal"


def config(patience=None, **changes):
    return toy_config(early_stopping={"dev": ["d"], "every": 2, "patience": patience}, **changes)


class Scores:
    """Returns given scores in turn, and keeps the weights of the model at each."""

    def __init__(self, model, scores):
        self.model, self.scores, self.seen = model, list(scores), []

    def __call__(self):
        self.seen.append(weights(self.model))
        return self.scores[len(self.seen) - 1]


def train(base, folder, scores, settings, **options):
    model = toy_model(DESIGN, base, settings)
    score = Scores(model, scores)
    toy_train(model, settings, folder, dev_score=score, **options)
    return model, score.seen


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_weights_of_the_best_look_are_kept_and_looks_change_no_step(base, tmp_path):
    plain = toy_model(DESIGN, base, toy_config())
    toy_train(plain, toy_config(), tmp_path / "plain")
    model, seen = train(base, tmp_path / "looks", [0.5, 0.7, 0.7], config())
    assert load_looks(tmp_path / "looks" / "looks.json") == [
        DevLook(step=2, score=0.5),
        DevLook(step=4, score=0.7),
        DevLook(step=6, score=0.7),
    ]
    assert same(weights(model), seen[1]) and not same(seen[1], seen[2])
    losses = [[s.loss for s in load_steps(tmp_path / n / "training.jsonl")] for n in ("plain", "looks")]
    assert losses[0] == losses[1] and same(weights(plain), seen[2])
    assert sorted(path.name for path in (tmp_path / "looks").iterdir()) == ["looks.json", "training.jsonl"]


def test_a_training_ends_after_looks_without_a_better_score(base, tmp_path):
    model, seen = train(base, tmp_path, [0.5, 0.4, 0.6, 0.9], config(patience=1, steps=8))
    assert len(seen) == 2 and same(weights(model), seen[0])
    assert len(load_steps(tmp_path / "training.jsonl")) == 4
    model, seen = train(base, tmp_path / "more", [0.5, 0.4, 0.6, 0.9], config(patience=2, steps=8))
    assert len(seen) == 4 and same(weights(model), seen[3])


def test_there_is_a_look_after_the_last_step(base, tmp_path):
    train(base, tmp_path, [0.1, 0.2, 0.3], config(steps=5))
    assert [look.step for look in load_looks(tmp_path / "looks.json")] == [2, 4, 5]


@pytest.mark.parametrize(("stopped", "again"), [(3, [0.3, 0.2]), pytest.param(5, [0.2], marks=pytest.mark.slow)])
def test_a_resumed_training_keeps_the_best_look_of_its_past(base, tmp_path, stopped, again):
    settings = config(save_steps=100)  # the only checkpoint is that of the best look, at step 2
    _, whole = train(base, tmp_path / "whole", [0.9, 0.3, 0.2], settings)
    with pytest.raises(StopError):
        train(base, tmp_path / "cut", [0.9, 0.3], settings, on_step=stop_at(stopped))
    model, seen = train(base, tmp_path / "cut", [0.3, 0.2], settings)
    assert len(seen) == 2 and same(weights(model), whole[0])
    assert load_looks(tmp_path / "cut" / "looks.json") == load_looks(tmp_path / "whole" / "looks.json")


def test_a_stop_between_the_best_weights_and_their_checkpoint_loses_nothing(base, tmp_path, monkeypatch):
    settings, publish = config(save_steps=100), checkpoints.publish

    def die(partial, folder, needed):
        if partial.name == "checkpoint-4":
            raise StopError
        publish(partial, folder, needed)

    monkeypatch.setattr("poolwise.training.trainer.publish", die)
    with pytest.raises(StopError):
        train(base, tmp_path, [0.5, 0.9], settings)
    monkeypatch.undo()
    # The second attempt scores step 4 lower, as other hardware may: the weights of step 2 are needed again.
    model, seen = train(base, tmp_path, [0.4, 0.3], settings)
    assert [look.score for look in load_looks(tmp_path / "looks.json")] == [0.5, 0.4, 0.3]
    assert not same(weights(model), seen[0])
    first, seen = train(base, tmp_path / "again", [0.5, 0.4, 0.3], settings)
    assert same(weights(model), weights(first)) and same(weights(model), seen[0])


def test_patience_counts_looks_after_the_best(base, tmp_path):
    settings = config(patience=2).early_stopping
    found = looks.Looks(lambda: 0.0, settings, toy_model(DESIGN, base, toy_config()), tmp_path, 100, "x")
    for step, score in ((2, 0.3), (4, 0.5), (6, 0.5)):
        found.taken.append(DevLook(step=step, score=score))
    assert found.best.step == 4 and not found.is_over
    found.taken.append(DevLook(step=8, score=0.4))
    assert found.is_over


@pytest.mark.parametrize("damage", ["unlink", pytest.param("flip", marks=pytest.mark.slow)])
def test_a_training_whose_best_weights_are_damaged_begins_anew(base, tmp_path, damage):
    settings = config(save_steps=100)
    whole, _ = train(base, tmp_path / "whole", [0.9, 0.3, 0.2], settings)
    with pytest.raises(StopError):
        train(base, tmp_path / "cut", [0.9, 0.3], settings, on_step=stop_at(5))
    best = tmp_path / "cut" / "best" / "step-2" / "trained.safetensors"
    best.unlink() if damage == "unlink" else best.write_bytes(best.read_bytes()[:-1] + b"?")
    (tmp_path / "cut" / "looks.json").write_text("{")
    model, seen = train(base, tmp_path / "cut", [0.9, 0.3, 0.2], settings)
    assert len(seen) == 3 and same(weights(model), weights(whole))
    assert load_looks(tmp_path / "cut" / "looks.json") == load_looks(tmp_path / "whole" / "looks.json")
