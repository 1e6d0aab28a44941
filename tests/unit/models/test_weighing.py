"""What the pooling weighs in a text: characters, roles and weights of every token, and layers."""

from __future__ import annotations

import pytest

from poolwise.errors import DataError
from poolwise.models import build_model, pooling_weights, prepare_encoding
from poolwise.models.pooling.occlusion import occlusion_weights
from poolwise.models.weighed import WeighedToken
from tiny_models import NUM_LAYERS, save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def byte_base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("bytes"), "gpt2")


def weigh(design, base, text="a dog  runs", prompt="search query : ", **options):
    model = build_model(f"{design}+causal", base, method="frozen", max_tokens=16, precision="fp32", **options)
    return pooling_weights(model, [text], prompt=prompt)[0]


def parts(found):
    return [(token.text, token.role) for token in found.tokens]


def test_every_token_has_its_characters_and_its_role(base):
    found = weigh("mean(prompt=skip)", base)
    assert parts(found) == [
        ("<bos>", "start"),
        ("search", "prompt"),
        (" query", "prompt"),
        (" :", "prompt"),
        (" a", "text"),
        (" dog", "text"),
        ("  runs", "text"),
        ("<eos>", "end"),
    ]
    assert [token.weight for token in found.tokens] == pytest.approx([0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25])
    assert (found.token_kind, found.layers, found.layer_kind, found.is_truncated) == ("exact", (), None, False)


def test_mean_weighs_all_the_same_and_last_only_eos(base):
    assert [token.weight for token in weigh("mean", base, prompt="").tokens] == pytest.approx([0.2] * 5)
    assert [token.weight for token in weigh("last", base, prompt="").tokens] == [0, 0, 0, 0, 1]
    assert [token.weight for token in weigh("weighted_mean", base, prompt="").tokens] == pytest.approx(
        [1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15]
    )


def test_the_second_occurrence_and_trained_tokens_are_named(base):
    assert parts(weigh("mean(echo=true)", base, "a dog", "search ")) == [
        ("<bos>", "start"),
        ("search", "prompt"),
        (" a", "text"),
        (" dog", "text"),
        (" a", "repetition"),
        (" dog", "repetition"),
        ("<eos>", "end"),
    ]
    found = weigh("soft_tokens(count=2,tokens=mean)", base, "a dog", "")
    assert parts(found)[-3:] == [("<eos>", "end"), ("trained 1", "trained"), ("trained 2", "trained")]
    assert [token.weight for token in found.tokens] == [0, 0, 0, 0, 0.5, 0.5]


def test_landmarks_are_named_and_weigh_the_same(base):
    found = weigh("landmark(every=2)", base, "a dog runs in the", "search ")
    assert parts(found) == [
        ("<bos>", "start"),
        ("search", "prompt"),
        (" a", "text"),
        (" dog", "text"),
        ("<eos>", "landmark"),
        (" runs", "text"),
        (" in", "text"),
        ("<eos>", "landmark"),
        (" the", "text"),
        ("<eos>", "end"),
    ]
    assert [token.weight for token in found.tokens] == pytest.approx([0, 0, 0, 0, 1 / 3, 0, 0, 1 / 3, 0, 1 / 3])
    assert found.token_kind == "exact" and not found.is_truncated
    assert [role for _, role in parts(weigh("landmark(every=2)", base, "a dog", ""))] == [
        "start",
        "text",
        "text",
        "end",
    ]
    assert parts(weigh("landmark(every=2)", base, "", "")) == [("<bos>", "start"), ("<eos>", "end")]
    found = weigh("landmark(every=5)", base, "dog " * 30, "")
    assert found.is_truncated and len(found.tokens) == 16 + 2
    assert [token.role for token in found.tokens].count("text") == 14


def test_a_truncated_text_is_said_to_be(base):
    found = weigh("mean", base, "dog " * 30, "")
    assert found.is_truncated and len(found.tokens) == 16
    assert not weigh("mean", base, "dog " * 14, "").is_truncated


def test_a_character_of_several_tokens_is_shown_once(byte_base):
    found = weigh("mean", byte_base, "a né 猫", "")
    assert "".join(token.text for token in found.tokens if token.role == "text") == "a né 猫"
    assert "" in [token.text for token in found.tokens]


def test_an_empty_text_has_the_token_that_is_read(base, byte_base):
    assert parts(weigh("mean", base, "", "")) == [("<bos>", "start"), ("<eos>", "end")]
    assert weigh("mean", byte_base, "", "").tokens == (WeighedToken("<eos>", "end", 1.0),)


def test_layers_outside_the_subset_weigh_nothing(base):
    found = weigh("layer_mean(layers=last2,tokens=mean)", base, "a dog", "")
    assert found.layers == pytest.approx((0, 0.5, 0.5)) and found.layer_kind == "exact"
    assert [token.weight for token in found.tokens] == pytest.approx([0.25] * 4)
    found = weigh("multilayer", base)
    assert len(found.layers) == NUM_LAYERS and sum(found.layers) == pytest.approx(1)
    assert (found.token_kind, found.layer_kind) == ("exact", "attention")


def test_a_model_prepared_for_encoding_has_the_same_weights(base):
    for design in ("last", "latent", "multilayer(tokens=mean)"):
        model = build_model(f"{design}+causal", base, method="frozen", max_tokens=16, precision="fp32")
        (before,) = pooling_weights(model, ["a dog runs"], prompt="")
        (after,) = pooling_weights(prepare_encoding(model), ["a dog runs"], prompt="")
        assert [t.weight for t in after.tokens] == pytest.approx([t.weight for t in before.tokens], abs=1e-5)
        assert after.layers == pytest.approx(before.layers, abs=1e-5)


def test_the_default_prompt_is_used_unless_another_is_given(base):
    model = build_model("mean+causal", base, method="frozen", max_tokens=16, prompts={"query": "search "})
    assert parts(pooling_weights(model, ["dog"])[0])[1:-1] == [("dog", "text")]
    model.default_prompt_name = "query"
    assert parts(pooling_weights(model, ["dog"])[0])[1:-1] == [("search", "prompt"), (" dog", "text")]
    assert parts(pooling_weights(model, ["dog"], prompt="")[0])[1:-1] == [("dog", "text")]


def test_a_model_in_training_stays_so_and_a_single_text_is_refused(base):
    model = build_model("mean+causal", base, method="frozen", max_tokens=16).train()
    pooling_weights(model, ["dog"])
    assert model.training
    with pytest.raises(DataError, match="texts is one text, 'dog'"):
        pooling_weights(model, "dog")


def test_where_nothing_moves_all_tokens_weigh_the_same():
    import torch

    states, mask = torch.ones(1, 4, 3), torch.tensor([[1, 1, 1, 0]]).bool()
    found = occlusion_weights(lambda states, mask: states[:, 0], states, mask)
    assert found[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
