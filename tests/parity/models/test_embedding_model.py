"""``model.encode`` compared with sentence-transformers' own loop over the same modules, argument by argument."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from sentence_transformers import SentenceTransformer
from torch import nn

from poolwise.encoding.encode import encode_texts
from poolwise.errors import ConfigError, DataError, ModelError
from poolwise.models import build_model, load_model, prepare_encoding
from poolwise.models.embedding_model import EmbeddingModel
from reference_loop import plain_model, stock_encode
from tiny_models import TEXTS, save_tiny_base

MANY = [f"{a} {b}" for a in TEXTS for b in TEXTS]
PROMPTS = {"query": "search query : ", "document": "passage : "}
SAME = 1e-5
"""Largest distance seen between the two, for unit vectors in fp32: 4e-7."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("llama"), "llama")


def build(base: str, design: str = "mean+bidirectional", **options: Any) -> EmbeddingModel:
    """Return a model whose adapter is no longer zero."""
    model = build_model(design, base, max_tokens=32, **{"precision": "fp32", "prompts": PROMPTS} | options).eval()
    stir(model)
    return model


def stir(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


@pytest.fixture(scope="module")
def model(base: str) -> EmbeddingModel:
    return build(base)


def as_arrays(found: Any) -> list[np.ndarray]:
    if isinstance(found, list):
        return [np.asarray(part) for part in found]
    return [np.asarray(found)]


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"prompt": "anything : "},
    {"prompt_name": "query"},
    {"batch_size": 1},
    {"batch_size": 3},
    {"batch_size": 500},
    {"normalize_embeddings": True},
    {"truncate_dim": 5},
    {"truncate_dim": 5, "normalize_embeddings": True},
    {"convert_to_tensor": True},
    {"convert_to_numpy": False},
    {"show_progress_bar": True},
    {"device": "cpu"},
    {"precision": "float32"},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_every_argument_means_what_it_means_there(arguments: dict[str, Any], model: EmbeddingModel) -> None:
    found, wanted = model.encode(MANY, **arguments), stock_encode(model, MANY, **arguments)
    assert type(found) is type(wanted)
    assert len(as_arrays(found)) == len(as_arrays(wanted))
    for ours, theirs in zip(as_arrays(found), as_arrays(wanted), strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < SAME


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_quantised_embeddings_are_quantised_alike(precision: Any, model: EmbeddingModel) -> None:
    found, wanted = model.encode(MANY, precision=precision), stock_encode(model, MANY, precision=precision)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    # A value on the edge of two steps may fall on either side of it.
    assert (found != wanted).mean() < 0.01
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= (1 if "int8" in precision else 255)


@pytest.mark.parametrize("output_value", ["token_embeddings", None])
def test_other_outputs_are_those_of_the_stock_loop(output_value: Any, model: EmbeddingModel) -> None:
    found = model.encode(MANY[:4], output_value=output_value)
    wanted = stock_encode(model, MANY[:4], output_value=output_value)
    for ours, theirs in zip(found, wanted, strict=True):
        pairs = [(ours, theirs)] if output_value else [(ours[name], theirs[name]) for name in ("token_embeddings",)]
        assert all(torch.allclose(a, b, atol=SAME) for a, b in pairs)


@pytest.mark.parametrize("inputs", ["a single text", ["one"], ("a", "tuple"), np.array(["of", "numpy"]), []], ids=str)
def test_inputs_of_every_kind(inputs: Any, model: EmbeddingModel) -> None:
    found, wanted = model.encode(inputs), stock_encode(model, inputs)
    assert found.shape == wanted.shape and type(found) is type(wanted)
    assert found.size == 0 or np.abs(found - wanted).max() < SAME


def test_queries_and_documents_take_their_prompts(model: EmbeddingModel) -> None:
    assert np.array_equal(model.encode_query(MANY), model.encode(MANY, prompt=PROMPTS["query"]))
    assert np.array_equal(model.encode_document(MANY), model.encode(MANY, prompt=PROMPTS["document"]))
    assert np.abs(model.encode_query(MANY) - model.encode(MANY)).max() > 1e-3


def test_truncation_of_the_model_itself(base: str) -> None:
    model = build(base)
    with model.truncate_embeddings(7):
        assert model.encode(MANY).shape == (len(MANY), 7)
    assert model.encode(MANY).shape == (len(MANY), 32)


@pytest.mark.parametrize(
    "design",
    [
        "last+causal",
        "mean(prompt=skip)+bidirectional(top=1)",
        "multilayer+causal",
        "mean(skip=bos)+causal",
        "pma(dim=12)+bidirectional",
        "soft_tokens(count=3)+causal",
        "soft_tokens(count=2)+bidirectional(on=prompt)",
        "mean(echo=true)+causal",
        "last(echo=true)+bidirectional(on=prompt)",
        "landmark(every=3)+bidirectional",
        "landmark(every=2)+bidirectional(on=prompt)",
    ],
)
@pytest.mark.parametrize("method", ["lora", "frozen", "full"])
def test_designs_and_methods(design: str, method: Any, base: str) -> None:
    model = build(base, design, method=method)
    wanted = stock_encode(model, MANY)
    assert np.abs(model.encode(MANY) - wanted).max() < SAME
    assert np.abs(encode_texts(model, MANY) - wanted).max() < SAME


def test_bf16_is_as_near_to_fp32_as_the_stock_loop_is(base: str) -> None:
    model, exact = build(base, precision="bf16"), stock_encode(build(base), MANY)
    ours, stock = ((rows * exact).sum(axis=1).min() for rows in (model.encode(MANY), stock_encode(model, MANY)))
    assert ours > 1 - 2 * (1 - stock) - 1e-4


@pytest.mark.slow
def test_several_processes_give_the_same(model: EmbeddingModel) -> None:
    found = model.encode(MANY, device=["cpu", "cpu"], chunk_size=10)
    assert np.abs(found - model.encode(MANY)).max() < SAME


# Nothing of the user's model is changed.


def everything(model: nn.Module) -> dict[str, Any]:
    return {
        **{name: weight.detach().clone() for name, weight in model.state_dict().items()},
        "training": [module.training for module in model.modules()],
        "trained": [weight.requires_grad for weight in model.parameters()],
        "dtypes": [weight.dtype for weight in model.parameters()],
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
    }


def is_equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("is_training", [False, True])
def test_encoding_changes_nothing(is_training: bool, precision: Any, output_value: Any, base: str) -> None:
    model = build(base, "multilayer+bidirectional(top=1)", precision=precision).train(is_training)
    before = everything(model)
    model.encode(MANY, output_value=output_value)
    after = everything(model)
    assert before.keys() == after.keys()
    assert [name for name in before if not is_equal(before[name], after[name])] == []


def test_a_model_that_encoded_can_be_saved_and_loaded(base: str, tmp_path: Path) -> None:
    model = build(base)
    vectors = model.encode(MANY)
    model.save(str(tmp_path / "model"))
    assert np.array_equal(load_model(tmp_path / "model", precision="fp32").encode(MANY), vectors)


def test_a_model_prepared_in_place_is_not_saved(base: str, tmp_path: Path) -> None:
    model = prepare_encoding(build(base))
    with pytest.raises(ModelError, match="merged its adapter"):
        model.save(str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_training_goes_on_after_encoding(base: str) -> None:
    def losses(encodes: bool) -> list[float]:
        torch.manual_seed(0)
        model = build(base)
        optimizer, found = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2), []
        for _ in range(3):
            if encodes:
                model.encode(MANY)
            model.train()
            states = model(model.preprocess(MANY[:8]))["sentence_embedding"]
            loss = (states[:4] * states[4:]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    with_encoding, without = losses(True), losses(False)
    # Dropout draws from the global generator, which encoding leaves alone.
    assert with_encoding == without


# The copy follows the model.


def changed_by_an_optimiser(model: EmbeddingModel) -> None:
    stir(model, seed=9)


def changed_through_data(model: EmbeddingModel) -> None:
    for name, weight in model.named_parameters():
        if "lora_A" in name:
            weight.data.mul_(1.5)


def changed_by_loading(model: EmbeddingModel) -> None:
    model.load_state_dict({name: weight * 1.01 for name, weight in model.state_dict().items()})


def adapters_switched_off(model: EmbeddingModel) -> None:
    model[0].model.disable_adapters()


def adapter_scaled(model: EmbeddingModel) -> None:
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] *= 2.0


def shorter_texts(model: EmbeddingModel) -> None:
    model.max_seq_length = 5


def another_module(model: EmbeddingModel) -> None:
    model.append(nn.Module())
    model[-1].forward = lambda features: {**features, "sentence_embedding": -features["sentence_embedding"]}


def prompt_left_out(model: EmbeddingModel) -> None:
    model[0].skips_prompt = True


CHANGES = [
    changed_by_an_optimiser,
    changed_through_data,
    changed_by_loading,
    adapters_switched_off,
    adapter_scaled,
    shorter_texts,
    another_module,
    prompt_left_out,
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_stale_embeddings(change: Any, base: str) -> None:
    model = build(base)
    texts = [text * 3 for text in MANY]
    before = model.encode(texts, prompt_name="query")
    change(model)
    after = model.encode(texts, prompt_name="query")
    assert np.abs(after - before).max() > 1e-4, "the change was to be seen"
    assert np.abs(after - stock_encode(model, texts, prompt_name="query")).max() < SAME


def test_hooks_of_the_user_are_called(base: str) -> None:
    model, seen = build(base), []
    wanted = model.encode(MANY)
    handle = model[0].model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    assert np.abs(model.encode(MANY) - wanted).max() < SAME and seen
    handle.remove()
    seen.clear()
    assert np.abs(model.encode(MANY) - wanted).max() < SAME and not seen


@pytest.fixture
def count_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    from poolwise.models import embedding_model

    made: list[int] = []
    original = embedding_model.encoding_copy

    def counted(model: SentenceTransformer) -> nn.Sequential:
        made.append(1)
        return original(model)

    monkeypatch.setattr(embedding_model, "encoding_copy", counted)
    yield made


def test_one_copy_serves_many_calls(base: str, count_copies: list[int]) -> None:
    model = build(base)
    for _ in range(3):
        model.encode(MANY)
        model.encode("one text")
        model.encode_query(MANY[:2])
    assert len(count_copies) == 1
    model.train()
    model.eval()
    model.encode(MANY)
    assert len(count_copies) == 2, "training may have changed the weights"


def test_a_weight_in_a_layout_of_onednn_counts_as_changed_when_it_is_replaced(
    base: str, count_copies: list[int]
) -> None:
    model = build(base, method="frozen")
    for num_copies in (1, 2):
        model[0].register_buffer("packed", torch.ones(2, 2).to_mkldnn(), persistent=False)
        for _ in range(2):
            model.encode(MANY)
        assert len(count_copies) == num_copies


def test_weights_that_stay_are_shared(base: str) -> None:
    model = build(base, method="frozen")
    model.encode(MANY)
    replica = model.reader().lanes.take()
    own = {weight.data_ptr() for weight in model.parameters()}
    copied = sum(w.numel() for w in replica.parameters() if w.data_ptr() not in own)
    projected = sum(w.numel() for name, w in model.named_parameters() if any(f"{x}_proj" in name for x in "qkv"))
    norms = sum(w.numel() for name, w in model.named_parameters() if "norm" in name)
    assert copied <= projected + norms < sum(w.numel() for w in model.parameters())


def test_a_copied_or_pickled_model_encodes_alike(base: str) -> None:
    model = build(base)
    wanted = model.encode(MANY)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert "_fast" not in other.__dict__
        assert np.array_equal(other.encode(MANY), wanted)


def test_threads_may_encode_at_once(base: str) -> None:
    model = build(base, "multilayer+bidirectional")
    wanted, found, threads = model.encode(MANY), {}, torch.get_num_threads()

    def work(number: int) -> None:
        found[number] = model.encode(MANY)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.abs(found[number] - wanted).max() < SAME for number in range(4))
    assert torch.get_num_threads() == threads


# Arguments that mean nothing here fail.


def test_senseless_arguments_fail(model: EmbeddingModel) -> None:
    with pytest.raises(ConfigError, match="max_seq_length"):
        model.encode(MANY, processing_kwargs={"text": {"max_length": 4}})
    with pytest.raises(ValueError, match="nonsense"):
        model.encode(MANY, nonsense=1)
    with pytest.raises(ValueError, match="Prompt name 'x'"):
        model.encode(MANY, prompt_name="x")
    with pytest.raises(ValueError, match="batch_size"):
        model.encode(MANY, batch_size=0)
    with pytest.raises(DataError, match="is a int"):
        model.encode(["a", 3])


def test_the_plain_class_reads_the_same_modules(model: EmbeddingModel) -> None:
    assert type(plain_model(model)) is SentenceTransformer
    assert type(model) is EmbeddingModel and model.model_type == "SentenceTransformer"
