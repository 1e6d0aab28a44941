"""A controlled study: batches, initial adapter weights and dropout are the same for every design."""

from collections import defaultdict

import pytest
import torch

from poolwise.config import Prompts
from poolwise.data import build_schedule
from poolwise.models import init_hashes
from toy_training import toy_config, toy_model, toy_train, toy_triples

DESIGNS = [
    "last+causal",
    "mean+bidirectional",
    "latent(keys=last)+causal",
    "multilayer+bidirectional",
    "mlp+bidirectional",
    "pma(dim=12)+causal",
    "mean(dim=12,skip=bos)+bidirectional",
]


def observed(design, base, folder, **options):
    """Train and return, step by step, the texts that were tokenised and the output of the first adapter's dropout."""
    config = toy_config()
    model = toy_model(design, base, config)
    hashes = init_hashes(model)
    texts, dropped = defaultdict(list), defaultdict(list)
    done = [0]
    preprocess = model.preprocess

    def recorded(inputs, prompt=None, **options):
        texts[len(texts) if prompt == "query : " else len(texts) - 1].append((prompt, tuple(inputs)))
        return preprocess(inputs, prompt=prompt, **options)

    def keep(module, inputs, output):
        if module.training:  # not in the trial of fused layers, which comes before the first step
            dropped[done[0]].append(output.detach().clone())

    model.preprocess = recorded
    dropouts = [m for name, m in model.named_modules() if "lora_dropout" in name and "q_proj" in name]
    layer = next(m for m in dropouts if isinstance(m, torch.nn.Dropout))
    layer.register_forward_hook(keep)

    def count(step):
        done[0] = step.step

    prompts = {"retrieval": Prompts(query="query : ", document="document : ")}
    toy_train(model, config, folder, on_step=count, prompts=prompts, **options)
    return hashes, dict(texts), dict(dropped)


@pytest.fixture(scope="module")
def reference(base, tmp_path_factory):
    return observed(DESIGNS[0], base, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("design", DESIGNS[1:])
def test_every_design_sees_the_same_texts_the_same_adapter_start_and_the_same_dropout(
    design, base, tmp_path, reference
):
    hashes, texts, dropped = observed(design, base, tmp_path)
    assert {name: hashes[name] for name in ("base", "lora_init")} == {
        name: reference[0][name] for name in ("base", "lora_init")
    }
    assert texts == reference[1]
    # The first layer's input comes from frozen embeddings, so what dropout leaves of it must agree at every step.
    assert dropped.keys() == reference[2].keys()
    for step, outputs in dropped.items():
        pairs = zip(outputs, reference[2][step], strict=True)
        assert all(torch.equal(output, expected) for output, expected in pairs)
        assert any((output == 0).any() for output in outputs)


def test_the_texts_are_those_of_the_schedule(reference):
    triples, texts = toy_triples(), reference[1]
    schedule = build_schedule(triples, steps=6, batch_size=4, seed=0)
    assert len(texts) == 6
    for batch, columns in zip(schedule.batches, texts.values(), strict=True):
        assert columns == [
            ("query : ", tuple(triples[row].query for row in batch)),
            ("document : ", tuple(triples[row].positive for row in batch)),
            ("document : ", tuple(triples[row].negatives[0] for row in batch)),
        ]


def test_another_seed_gives_other_dropout_on_the_same_batches(base, tmp_path, reference):
    schedule = build_schedule(toy_triples(), steps=6, batch_size=4, seed=0)
    _, texts, dropped = observed(DESIGNS[0], base, tmp_path, schedule=schedule, seed=1)
    assert texts == reference[1]
    assert not torch.equal(dropped[0][0], reference[2][0][0])
    assert dropped[0][0].shape == reference[2][0][0].shape


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_each_query_is_told_apart_from_all_documents_but_its_own(negatives, base, tmp_path):
    config = toy_config(steps=1)
    seen = []
    toy_train(
        toy_model("mean+causal", base, config),
        config,
        tmp_path,
        triples=toy_triples(8, negatives),
        on_step=seen.append,
    )
    assert [step.negatives for step in seen] == [4 * (1 + negatives) - 1]
