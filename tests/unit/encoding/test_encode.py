"""``encode_texts`` compared with sentence-transformers' own loop, the reference implementation."""

import threading

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from poolwise.encoding.encode import encode_texts
from poolwise.errors import DataError, ModelError
from poolwise.kernels.lanes import Lanes, open_lanes, replicate
from poolwise.models import Backbone, build_model, prepare_encoding
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base

MANY = [f"{a} {b}" for a in TEXTS for b in TEXTS] * 3
PROMPT = "search query : "


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {family: save_tiny_base(tmp_path_factory.mktemp(family), family) for family in ("llama", "gpt2")}


def build(base, design="multilayer+bidirectional"):
    return build_model(design, base, max_tokens=32, precision="fp32").eval()


@pytest.mark.parametrize("prompt", ["", PROMPT])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("design", ["last+causal", "mean(prompt=skip)+bidirectional", "multilayer+bidirectional"])
def test_same_vectors_as_the_stock_loop(design, family, prompt, bases, monkeypatch):
    monkeypatch.setattr("poolwise.kernels.reading.WINDOW", 10)  # several windows, the last one short
    slow = stock_encode(build(bases[family], design), MANY, prompt=prompt or None)
    fast = encode_texts(prepare_encoding(build(bases[family], design)), MANY, prompt, budget=50)
    assert fast.dtype == np.float32
    assert np.linalg.norm(fast - slow, axis=1).max() < 1e-5


@pytest.mark.parametrize("most_texts", [None, 3])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("first", [1, 7, 100])
def test_batches_of_an_accelerator_give_the_same(first, family, most_texts, bases, monkeypatch):
    """Windows that double, batches that wait for more texts, results fetched one batch later."""
    monkeypatch.setattr("poolwise.kernels.reading._works_alone", lambda device: True)
    monkeypatch.setattr("poolwise.kernels.reading.num_lanes", lambda device: 1)
    monkeypatch.setattr("poolwise.kernels.reading.FIRST_WINDOW", first)
    model = build(bases[family], "mean+bidirectional")
    slow, seen = stock_encode(model, MANY, prompt=PROMPT), []
    fast = encode_texts(
        prepare_encoding(model), MANY, PROMPT, budget=90, most_texts=most_texts, on_progress=lambda *n: seen.append(n)
    )
    assert np.linalg.norm(fast - slow, axis=1).max() < 1e-5
    assert seen[-1] == (len(MANY), len(MANY))


def test_progress_reaches_the_end(bases):
    seen = []
    encode_texts(build(bases["llama"]), MANY, budget=50, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(MANY), len(MANY)) and seen == sorted(seen) and len(seen) > 1


def test_no_texts_no_vectors(bases):
    assert encode_texts(build(bases["llama"]), []).shape == (0, 32)


def test_what_is_no_text_is_named(bases):
    with pytest.raises(DataError, match="input 3 is a int"):
        encode_texts(build(bases["llama"]), ["a", 3])


def test_one_text_is_not_taken_for_its_letters(bases):
    with pytest.raises(DataError, match="one text, 'abc'"):
        encode_texts(build(bases["llama"]), "abc")


def test_models_of_others_are_refused():
    stock = SentenceTransformer(modules=[StaticEmbedding(Tokenizer(WordLevel({"a": 0}, "a")), embedding_dim=4)])
    with pytest.raises(ModelError, match=r"model\.encode"):
        encode_texts(stock, ["a"])


@pytest.fixture
def two_threads():
    """Simulate two lanes, whatever machine this is."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


LANE_DESIGNS = ["multilayer+bidirectional", "nv_latent+bidirectional", "mean+bidirectional(top=1)"]


@pytest.mark.parametrize(
    ("family", "design"),
    [
        *((family, design) for family in ("llama", "gpt2") for design in LANE_DESIGNS),
        ("llama", "mean+bidirectional(on=prompt)"),
    ],
)
def test_lanes_give_what_one_gives(family, design, bases, two_threads, monkeypatch):
    fast = encode_texts(build(bases[family], design), MANY, PROMPT, budget=50)
    monkeypatch.setattr("poolwise.kernels.reading.num_lanes", lambda _device: 1)
    slow = encode_texts(build(bases[family], design), MANY, PROMPT, budget=50)
    assert np.linalg.norm(fast - slow, axis=1).max() < 1e-5


def test_lanes_work_at_once_and_give_the_threads_back(bases, two_threads):
    met = threading.Barrier(2, timeout=30)

    def read(_model, item):
        met.wait()  # breaks, and the test fails, unless two lanes stand here together
        return item, torch.get_num_threads()

    with open_lanes(Lanes(build(bases["llama"])), 2) as read_all:
        assert list(read_all(read, range(4))) == [(item, 1) for item in range(4)]
    assert torch.get_num_threads() == 2


def test_lanes_share_weights_and_nothing_that_a_forward_changes(bases):
    model = build(bases["llama"])
    other = replicate(model)
    assert [id(w) for w in other.parameters()] == [id(w) for w in model.parameters()]
    assert not {id(module) for module in other.modules()} & {id(module) for module in model.modules()}


def test_what_fails_in_a_lane_reaches_the_caller(bases, two_threads):
    def read(_model, item):
        raise ValueError(item)

    with pytest.raises(ValueError, match="7"), open_lanes(Lanes(build(bases["llama"])), 2) as read_all:
        list(read_all(read, [7]))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")],
)
def test_a_batch_that_the_device_does_not_hold_is_read_in_parts(bases, monkeypatch, error):
    model = build(bases["llama"])
    wanted, tried = encode_texts(model, MANY), []
    forward = Backbone.forward

    def small_device(self, features, *args, **kwargs):
        tried.append(len(features["input_ids"]))
        if tried[-1] > 5:
            raise error
        return forward(self, features, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", small_device)
    assert np.linalg.norm(encode_texts(model, MANY) - wanted, axis=1).max() < 1e-5
    assert max(tried) > 5
    # After the first batch that did not fit, no batch as large is tried.
    assert tried.count(max(tried)) == 1
    monkeypatch.setattr(Backbone, "forward", lambda *_args, **_kwargs: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        encode_texts(model, MANY)
