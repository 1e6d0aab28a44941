"""Learning rates and parameter groups, worked out by hand."""

import pytest

from poolwise.models import head_parameters
from poolwise.training.optimizer import build_optimizer, build_scheduler, learning_rates, linear_factor
from toy_training import toy_config, toy_model


def test_the_factor_rises_over_the_warm_up_and_falls_to_one_part_in_the_rest():
    factors = [linear_factor(step, steps=6, warmup=2) for step in range(7)]
    assert factors == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0])


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert [linear_factor(step, steps=2, warmup=0) for step in range(3)] == [1, 0.5, 0]


def test_warm_up_over_the_whole_run_ends_at_the_peak():
    assert [linear_factor(step, steps=2, warmup=2) for step in range(3)] == [0.5, 1, 0]


def test_head_and_base_have_their_own_rates_and_vectors_do_not_decay(base):
    config = toy_config(learning_rate=0.002, head_learning_rate=0.03, weight_decay=0.1, warmup_ratio=0.5)
    model = toy_model("multilayer+causal", base, config)
    optimizer = build_optimizer(model, config)
    head = {id(parameter) for parameter in head_parameters(model)}
    seen = []
    for group in optimizer.param_groups:
        assert group["initial_lr" if "initial_lr" in group else "lr"] == {"base": 0.002, "head": 0.03}[group["part"]]
        for parameter in group["params"]:
            assert (id(parameter) in head) == (group["part"] == "head")
            assert group["weight_decay"] == (0.1 if parameter.ndim >= 2 else 0)
            seen.append(id(parameter))
    assert sorted(seen) == sorted(id(parameter) for parameter in model.parameters() if parameter.requires_grad)
    build_scheduler(optimizer, config)
    # 6 steps, 3 of them warm-up: the first has a third of each peak.
    assert learning_rates(optimizer) == pytest.approx((0.002 / 3, 0.01))


def test_rates_say_what_does_not_train(base):
    config = toy_config()
    assert learning_rates(build_optimizer(toy_model("mean+causal", base, config), config))[1] is None
    frozen = toy_config(method="frozen")
    assert learning_rates(build_optimizer(toy_model("layer_mix+causal", base, frozen), frozen)) == (0, 1e-3)
