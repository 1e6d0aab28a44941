"""What the pooling of stock sentence-transformers models weighs, measured."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

from poolwise.errors import ModelError
from poolwise.models import pooling_weights
from tiny_models import save_tiny_base, tiny_tokenizer


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return Transformer(save_tiny_base(tmp_path_factory.mktemp("base"), "llama"), max_seq_length=8)


def stock(transformer, mode, **options):
    return SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode=mode, **options), Normalize()])


def weigh(model, text="a dog  runs", prompt=""):
    (found,) = pooling_weights(model, [text], prompt=prompt)
    return found


@pytest.mark.parametrize(("mode", "place"), [("cls", 0), ("lasttoken", 3)])
def test_a_pooling_of_one_token_weighs_it_alone(transformer, mode, place):
    found = weigh(stock(transformer, mode))
    assert [token.text for token in found.tokens] == ["<bos>", "a", " dog", "  runs"]
    assert [token.role for token in found.tokens] == ["start", "text", "text", "text"]
    assert [token.weight for token in found.tokens] == [float(number == place) for number in range(4)]
    assert (found.token_kind, found.layers, found.layer_kind, found.is_truncated) == ("measured", (), None, False)


def test_the_mean_moves_as_it_does_without_the_token(transformer):
    model = stock(transformer, "mean")
    weights = torch.tensor([token.weight for token in weigh(model).tokens])
    with torch.no_grad():
        states = model.encode(["a dog  runs"], output_value="token_embeddings")[0]
    unit = torch.nn.functional.normalize
    moved = torch.stack(
        [
            (unit(torch.cat([states[:i], states[i + 1 :]]).mean(dim=0), dim=0) - unit(states.mean(dim=0), dim=0)).norm()
            for i in range(4)
        ]
    ).cpu()
    torch.testing.assert_close(weights, moved / moved.sum(), atol=1e-5, rtol=1e-4)
    assert weights.max() > weights.min() + 0.01


def test_a_prompt_that_is_not_pooled_weighs_nothing(transformer):
    kept = weigh(stock(transformer, "mean"), prompt="search query ")
    skipped = weigh(stock(transformer, "mean", include_prompt=False), prompt="search query ")
    assert [token.role for token in kept.tokens] == ["start", "prompt", "prompt", "text", "text", "text"]
    assert min(token.weight for token in kept.tokens) > 0
    assert [token.weight > 0 for token in skipped.tokens] == [False] * 3 + [True] * 3
    assert sum(token.weight for token in skipped.tokens) == pytest.approx(1)


def test_a_long_text_is_said_to_be_truncated(transformer):
    found = weigh(stock(transformer, "mean"), "dog " * 20)
    assert found.is_truncated and len(found.tokens) == 8


def test_a_model_without_token_states_is_refused():
    model = SentenceTransformer(modules=[StaticEmbedding(tiny_tokenizer("llama"), embedding_dim=4)])
    with pytest.raises(ModelError, match="the weights of StaticEmbedding are not known"):
        pooling_weights(model, ["dog"])
