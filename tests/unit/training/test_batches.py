"""Columns, prompts and counts of a batch."""

import pytest

from poolwise.config import Prompts
from poolwise.data import Triple
from poolwise.ranks import Ranks
from poolwise.training.batches import TripleCollator, build_loader, count_documents, count_tokens, source_prompts
from poolwise.training.losses import join_columns
from toy_training import SOURCE, toy_config, toy_model

TRIPLES = [
    Triple("a dog", "runs", ("the park", "the man"), SOURCE, 1),
    Triple("stocks", "stocks fell", ("words",), SOURCE, 2),
    Triple("one", "two", (), "plain", 1),
]


@pytest.fixture(scope="module")
def model(base):
    return toy_model("mean(prompt=skip)+causal", base, toy_config())


def test_columns_come_in_the_order_of_the_loss_with_the_fewest_negatives_of_a_row(model):
    collator = TripleCollator(model, TRIPLES, {})
    assert list(collator.columns([0]).items()) == [
        ("anchor", ["a dog"]),
        ("positive", ["runs"]),
        ("negative_1", ["the park"]),
        ("negative_2", ["the man"]),
    ]
    assert list(collator.columns([1, 0])) == ["anchor", "positive", "negative_1"]
    assert collator.columns([1, 0])["positive"] == ["stocks fell", "runs"]
    assert list(collator.columns([0, 2])) == ["anchor", "positive"]


def test_query_and_document_prompts_go_to_the_preprocessing_and_stay_out_of_pooling(model):
    prompts = source_prompts({"sts": Prompts(query="query : ", document="document : ")}, {SOURCE: "sts"})
    with_prompt, without = TripleCollator(model, TRIPLES, prompts)([0]), TripleCollator(model, TRIPLES, {})([0])
    for column in ("anchor", "positive", "negative_1", "negative_2"):
        added = with_prompt[f"{column}_attention_mask"].sum() - without[f"{column}_attention_mask"].sum()
        assert added == 2
        # BOS counts as prompt where there is one.
        pooled = with_prompt[f"{column}_pooling_mask"].sum() - without[f"{column}_pooling_mask"].sum()
        assert pooled == -1
    decoded = model.tokenizer.decode(with_prompt["anchor_input_ids"][0])
    assert decoded == "<bos> query : a dog <eos>"
    assert "document" in model.tokenizer.decode(with_prompt["negative_2_input_ids"][0])


def test_a_source_whose_category_has_no_prompts_gets_none(model):
    prompts = source_prompts({"sts": Prompts(query="query : ")}, {SOURCE: "sts", "plain": "retrieval"})
    inputs = TripleCollator(model, TRIPLES, prompts)([2])
    assert model.tokenizer.decode(inputs["anchor_input_ids"][0]) == "<bos> one <eos>"


def test_tokens_and_documents_are_counted(model):
    inputs = TripleCollator(model, TRIPLES, {})([0, 1])
    # With BOS and EOS: queries 4 + 3, positives 3 + 4, negatives 4 + 3.
    assert count_tokens(inputs) == 21
    assert count_documents(inputs) == 4


def test_the_loader_gives_exactly_the_batches_in_their_order(model):
    collator = TripleCollator(model, TRIPLES, {})
    loader = build_loader([[1, 0], [2]], collator)
    sizes = [len(inputs["anchor_input_ids"]) for inputs in loader]
    assert sizes == [2, 1]
    assert len(loader) == 2


def test_two_ranks_share_a_batch_and_have_the_columns_of_the_whole_batch(model):
    triples = [Triple("one", "two", ("a",), SOURCE, 1), Triple("two", "one", ("a", "dog"), SOURCE, 2)]
    collator = TripleCollator(model, triples, {})
    (alone,) = build_loader([[1]], collator)
    assert "negative_2_input_ids" in alone
    for rank in (0, 1):
        (part,) = build_loader([[1, 0]], collator, Ranks(rank, 2))
        assert "negative_1_input_ids" in part and "negative_2_input_ids" not in part
        assert model.tokenizer.decode(part["anchor_input_ids"][0]) == f"<bos> {('two', 'one')[rank]} <eos>"
        assert len(part["anchor_input_ids"]) == 1


def test_joined_columns_keep_every_feature_and_pad_it_with_zeros(base):
    model = toy_model("mean+bidirectional(on=prompt)", base, toy_config())
    columns = [model.preprocess(texts, prompt="query : ") for texts in (["a dog"], ["a dog runs in the park", "one"])]
    joined = join_columns(columns)
    assert joined.keys() == {"input_ids", "attention_mask", "pooling_mask", "prompt_mask"}
    assert joined["prompt_mask"].sum(dim=1).tolist() == [3, 3, 3]  # BOS and two words
    assert {tuple(value.shape) for value in joined.values()} == {(3, columns[1]["input_ids"].shape[1])}
