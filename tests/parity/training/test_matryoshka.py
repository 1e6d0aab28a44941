"""The loss over several dimensions against its formula, with and without GradCache."""

import pytest
import torch

from parity.training.test_gradients import features, gradients, plain_info_nce
from poolwise.errors import ConfigError
from poolwise.training.losses import NestedLoss, build_loss
from toy_training import toy_config, toy_model, toy_triples


@pytest.mark.parametrize("mini_batch_size", [8, 3])
def test_it_is_the_mean_over_dimensions_in_value_and_gradient(mini_batch_size, base):
    config = toy_config(batch_size=8, mini_batch_size=mini_batch_size, lora_dropout=0.0, matryoshka=[16, 4])
    model = toy_model("layer_mix+causal", base, config)
    model.train()
    batch = features(model, toy_triples(), list(range(8)))
    embeddings = [model(dict(column))["sentence_embedding"] for column in batch]
    parts = [
        plain_info_nce(*(x[:, :d] for x in (embeddings[0], torch.cat(embeddings[1:]))), config.temperature)
        for d in (4, 16, 32)
    ]
    expected = sum(parts) / 3
    wanted = gradients(model, expected)
    loss = build_loss(model, config)
    value = loss(batch, None)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    found = gradients(model, value)
    assert found.keys() == wanted.keys()
    scale = max(gradient.abs().max() for gradient in wanted.values())
    for name, gradient in found.items():
        assert (gradient - wanted[name]).abs().max() <= 2e-5 * scale, name


def test_the_width_alone_is_the_plain_loss_and_the_model_keeps_its_forward(base):
    config = toy_config(lora_dropout=0.0, matryoshka=[32])
    model = toy_model("mean+causal", base, config)
    batch = features(model, toy_triples(), list(range(4)))
    nested = build_loss(model, config)
    assert isinstance(nested, NestedLoss)
    plain = build_loss(model, toy_config(lora_dropout=0.0))
    torch.testing.assert_close(nested(batch, None), plain(batch, None))
    assert "forward" not in vars(model)
    model.eval().reader()  # refuses a model whose forward was replaced


def test_a_dimension_above_the_width_is_refused(base):
    config = toy_config(matryoshka=[16, 33])
    with pytest.raises(ConfigError, match=r"train\.matryoshka has 33; wanted at most 32"):
        build_loss(toy_model("mean+causal", base, config), config)
