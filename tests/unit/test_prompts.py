"""A recipe's prompts reach whoever asks for them: sentence-transformers, mteb, and poolwise eval."""

from __future__ import annotations

import pytest

from poolwise.config import Prompts
from poolwise.prompts import MTEB_TYPES, category_prompts, named_prompts
from poolwise.records import CATEGORIES, Category

RECIPE: dict[Category, Prompts] = {
    "sts": Prompts(query="S: ", document="T: "),
    "retrieval": Prompts(query="Q: ", document="D: "),
    "classification": Prompts(query="C: "),
}


def test_no_prompts_no_names() -> None:
    assert named_prompts({}) == {} == named_prompts({"sts": Prompts()})
    assert category_prompts({"query": "", "document": ""}) == {}


@pytest.mark.parametrize(
    "prompts",
    [RECIPE, {"sts": RECIPE["sts"]}, {"reranking": RECIPE["retrieval"]}, {"retrieval": Prompts(document="D: ")}],
)
def test_a_saved_model_reads_every_category_as_it_was_trained(prompts: dict[Category, Prompts]) -> None:
    assert category_prompts(named_prompts(prompts)) == prompts


def test_encode_query_takes_retrieval_first_then_the_first_category() -> None:
    assert (named_prompts(RECIPE)["query"], named_prompts(RECIPE)["document"]) == ("Q: ", "D: ")
    assert named_prompts({"clustering": Prompts(query="K: "), "sts": RECIPE["sts"]})["query"] == "S: "


def test_mteb_takes_the_names_and_finds_the_prompts() -> None:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
    from mteb.types import PromptType

    named = named_prompts(RECIPE)
    kept, problems = AbsEncoder.validate_task_to_prompt_name(named, raise_for_invalid_keys=False)
    assert kept == named and not problems

    def found(category: Category, side: PromptType | None) -> str:
        metadata = TaskMetadata.model_construct(name="SomeTask", type=MTEB_TYPES[category])
        name = get_prompt_name(named, metadata, side)
        return named[name] if name else ""

    for category in CATEGORIES:
        prompts = RECIPE.get(category, Prompts())
        if category in ("retrieval", "reranking"):
            assert found(category, PromptType.query) == prompts.query
            assert found(category, PromptType.document) == prompts.document
        else:
            assert found(category, None) == prompts.query


def test_models_of_others_are_read_with_their_own_prompts() -> None:
    found = category_prompts({"query": "query: ", "passage": "passage: "})
    both = Prompts(query="query: ", document="passage: ")
    assert found == {"retrieval": both, "reranking": both}
    assert category_prompts({"STS": "same? ", "query": "q "})["sts"] == Prompts(query="same? ")
    everywhere = category_prompts({"web": "Instruct: "}, default="web")
    assert {prompts.query for prompts in everywhere.values()} == {"Instruct: "} and len(everywhere) == len(CATEGORIES)


def test_models_of_an_older_poolwise_keep_their_prompts() -> None:
    old = {"retrieval-query": "Q: ", "retrieval-document": "D: ", "sts-query": "S: ", "query": "", "document": ""}
    assert category_prompts(old)["retrieval"] == Prompts(query="Q: ", document="D: ")
    assert category_prompts(old)["sts"] == Prompts(query="S: ")
