"""Loss, gradient and whole runs compared with plain reference implementations."""

import math

import pytest
import torch

from poolwise.config import Prompts
from poolwise.data import build_schedule
from poolwise.kernels.backends import training_attention
from poolwise.records import load_steps
from poolwise.training.batches import TripleCollator
from poolwise.training.losses import build_loss
from toy_training import SOURCE, toy_config, toy_model, toy_train, toy_triples, weights

PARTIAL = ("nv_latent+bidirectional(top=2)", "mean+bidirectional(on=prompt)")
NEWER = (
    "mean(skip=bos)+causal",
    "last(dim=12)+causal",
    "pma(dim=12)+causal",
    "mean(echo=true)+causal",
    "soft_tokens(count=2)+causal",
    "landmark(every=2)+causal",
)
COLUMNS = ("anchor", "positive", "negative_1")


def features(model, triples, batch, prompts=None):
    inputs = TripleCollator(model, triples, prompts or {})(batch)
    return [
        {name.removeprefix(f"{column}_"): value for name, value in inputs.items() if name.startswith(f"{column}_")}
        for column in COLUMNS
    ]


def plain_info_nce(queries, documents, temperature):
    """Return -log(exp(s_ii / t) / sum_j exp(s_ij / t)), averaged over queries."""
    queries, documents = (x / x.norm(dim=1, keepdim=True) for x in (queries, documents))
    total = 0
    for i in range(len(queries)):
        terms = torch.exp(documents @ queries[i] / temperature)
        total = total - torch.log(terms[i] / terms.sum())
    return total / len(queries)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("design", ["last+causal", "multilayer+bidirectional", "latent+causal", *PARTIAL, *NEWER])
@pytest.mark.parametrize("mini_batch_size", [8, 3])
def test_plain_and_cached_loss_equal_the_formula_in_value_and_gradient(design, mini_batch_size, base):
    config = toy_config(batch_size=8, mini_batch_size=mini_batch_size, lora_dropout=0.0, temperature=0.07)
    model, triples = toy_model(design, base, config), toy_triples()
    model.train()
    batch = features(model, triples, list(range(8)), {SOURCE: Prompts(query="search query : ")})
    embeddings = [model(dict(column))["sentence_embedding"] for column in batch]
    expected = plain_info_nce(embeddings[0], torch.cat(embeddings[1:]), 0.07)
    expected_gradients = gradients(model, expected)
    loss = build_loss(model, config)
    assert type(loss).__name__.startswith("Cached") == (mini_batch_size < 8)
    value = loss(batch, None)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    found = gradients(model, value)
    assert found.keys() == expected_gradients.keys()
    scale = max(gradient.abs().max() for gradient in expected_gradients.values())
    for name, gradient in found.items():
        assert (gradient - expected_gradients[name]).abs().max() <= 2e-5 * scale, name


def test_a_run_equals_a_loop_written_out(base, tmp_path):
    config = toy_config(
        lora_dropout=0.0, learning_rate=2e-3, head_learning_rate=5e-3, max_grad_norm=0.5, weight_decay=0.1
    )
    triples = toy_triples()
    schedule = build_schedule(triples, steps=6, batch_size=4, seed=0)
    trained = toy_model("layer_mix+causal", base, config)
    toy_train(trained, config, tmp_path, triples=triples, schedule=schedule)

    model = toy_model("layer_mix+causal", base, config)
    adapter = [p for n, p in model.named_parameters() if "lora_" in n]
    optimizer = torch.optim.AdamW(
        [
            {"params": adapter, "lr": 2e-3, "weight_decay": 0.1},
            {"params": list(model[1].parameters()), "lr": 5e-3, "weight_decay": 0.0},
        ],
        fused=False,
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    warmup = math.ceil(0.1 * 6)
    for step, batch in enumerate(schedule.batches):
        factor = 1 if step < warmup else (6 - step) / (6 - warmup)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        embeddings = [model(column)["sentence_embedding"] for column in features(model, triples, batch)]
        optimizer.zero_grad()
        plain_info_nce(embeddings[0], torch.cat(embeddings[1:]), 0.05).backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 0.5)
        optimizer.step()
    expected, start = weights(model), weights(toy_model("layer_mix+causal", base, config))
    for name, value in weights(trained).items():
        moved = (expected[name] - start[name]).abs().max()
        # Adam divides by small second moments, which magnifies rounding: measured 3e-4 of the way at most.
        assert (value - expected[name]).abs().max() <= 5e-3 * moved + 1e-7, name


def test_the_plain_attention_kernel_changes_nothing_but_rounding(base):
    config = toy_config(lora_dropout=0.0)
    model, triples = toy_model("mean+bidirectional", base, config), toy_triples()
    batch = features(model, triples, list(range(8)))[0]
    default = model(dict(batch))["sentence_embedding"]
    with training_attention({"anchor_input_ids": batch["input_ids"]}, torch.device("cpu")):
        plain = model(dict(batch))["sentence_embedding"]
    torch.testing.assert_close(plain, default, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("design", ["last+causal", "multilayer+bidirectional"])
def test_gradient_checkpointing_changes_no_step(design, base, tmp_path):
    runs = []
    for name in (False, True):
        config = toy_config(steps=3, gradient_checkpointing=name)
        model = toy_model(design, base, config)
        toy_train(model, config, tmp_path / str(name))
        runs.append([(step.loss, step.grad_norm) for step in load_steps(tmp_path / str(name) / "training.jsonl")])
    torch.testing.assert_close(torch.tensor(runs[0]), torch.tensor(runs[1]), rtol=1e-5, atol=1e-6)
