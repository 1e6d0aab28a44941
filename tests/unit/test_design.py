"""Designs: names, options, aliases and errors."""

import math
import re

import pytest

from poolwise.attentions import parse_attention
from poolwise.design import PAPER, Design, default_tokens, parse_design
from poolwise.errors import ConfigError
from poolwise.layer_subsets import LayerSubset


def test_paper_designs_are_those_of_the_paper() -> None:
    names = [str(paper.design) for paper in PAPER.values()]
    assert names == [
        "last+causal",
        "latent(keys=last)+causal",
        "multilayer+causal",
        "latent+bidirectional",
        "multilayer+bidirectional",
    ]


def test_alias_and_written_design_are_one_value() -> None:
    assert parse_design("paper:5") == parse_design("multilayer(tokens=mean)+bidirectional")
    assert parse_design("multilayer(tokens=mean)+bidirectional").alias == "paper:5"
    assert parse_design("multilayer(tokens=mean)+causal").alias is None


def test_defaults_are_dropped_and_options_sorted() -> None:
    design = parse_design("latent( latents=8, heads=2 , keys=all )+causal")
    assert str(design) == "latent(heads=2,latents=8)+causal"


def test_tokens_default_follows_the_attention() -> None:
    assert default_tokens("causal") == "last"
    assert parse_design("multilayer+causal").option("tokens") == "last"
    assert parse_design("multilayer+bidirectional").option("tokens") == "mean"
    assert str(parse_design("multilayer(tokens=last)+bidirectional")) == "multilayer(tokens=last)+bidirectional"


def test_boolean_option() -> None:
    design = parse_design("multilayer(layer_embedding=false)+causal")
    assert design.option("layer_embedding") is False
    assert parse_design("multilayer(layer_embedding=true)+causal") == parse_design("multilayer+causal")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lats+causal", "did you mean 'last'"),
        ("last+causl", "did you mean 'causal'"),
        ("last", "wanted pooling+attention"),
        ("", "wanted pooling+attention"),
        ("paper:6", "paper:"),
        ("last(keys=last)+causal", "no option 'keys'"),
        ("last(skip=bos)+causal", "pooling 'last' has no option 'skip'"),
        ("mean(skip=eos)+causal", "option skip=eos is unknown; did you mean 'bos'"),
        ("mean(dim=0)+causal", "positive whole number"),
        ("mean(echo=yes)+causal", "true or false"),
        ("mean(echo=true,prompt=skip)+causal", "has echo=true and prompt=skip; wanted one of them"),
        ("mean(echo=true,skip=bos)+causal", "has echo=true and skip=bos; wanted one of them"),
        ("latent(echo=true)+causal", "no option 'echo'"),
        ("landmark(every=0)+causal", "positive whole number"),
        ("landmark(prompt=skip)+causal", "no option 'prompt'"),
        ("mean(every=2)+causal", "no option 'every'"),
        ("pma(queries=0)+causal", "positive whole number"),
        ("latent(keys=lst)+causal", "did you mean 'last'"),
        ("latent(heads=0)+causal", "positive whole number"),
        ("latent(heads)+causal", "wanted name=value"),
        ("latent(heads=1,heads=2)+causal", "twice"),
        ("multilayer(layer_embedding=7)+causal", "true or false"),
        ("multilayer(heads=true)+causal", "positive whole number"),
        ("mean+bidirectional(tp=4)", "attention 'bidirectional' has no option 'tp'; did you mean 'top'"),
        ("mean+bidirectional(on=prmpt)", "did you mean 'prompt'"),
        ("mean+bidirectional(prompt)", "wanted top=N or on=prompt"),
        ("mean+bidirectional(top=0)", "positive whole number"),
        ("mean+bidirectional(top=x)", "positive whole number"),
        ("mean+bidirectional(top=1,on=prompt)", "wanted one of"),
        ("mean+bidirectionl(top=1)", "did you mean 'bidirectional'"),
        ("mean+causal(top=1)", "attention 'causal' has no option 'top=1'"),
        ("mean(layers=last2)+causal", "no option 'layers'"),
        ("layer_mean(layers=lst2)+causal", "did you mean 'last4'"),
        ("layer_mean(layers=0)+causal", "wanted all, lastN, everyN, A-B or N"),
        ("layer_mean(layers=true)+causal", "wanted all, lastN"),
        ("layer_mean(layers=8-5)+causal", "wanted layers=5-8"),
        ("layer_mean(layers=every1)+causal", "wanted every2 or more"),
    ],
)
def test_bad_designs_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_design(text)


def test_slug_is_safe_for_folders_and_tells_designs_apart() -> None:
    slugs = {parse_design(t).slug for t in ("latent(heads=2)+causal", "latent(latents=2)+causal", "latent+causal")}
    assert len(slugs) == 3
    assert all("(" not in slug and "/" not in slug for slug in slugs)


def test_landmarks_are_read_beside_the_text() -> None:
    design = parse_design("landmark(every=4)+causal")
    assert parse_design("landmark(every=32)+causal") == parse_design("landmark+causal")
    assert (design.landmark_every, parse_design("landmark+causal").landmark_every) == (4, 32)
    assert parse_design("mean+causal").landmark_every is None
    assert design.reads_more and not design.is_trainable and parse_design("landmark(dim=8)+causal").is_trainable
    for num_text in range(1, 40):
        num_landmarks = math.ceil(num_text / 4) - 1
        assert num_landmarks <= design.num_read(num_text + 1) - (num_text + 1) < num_landmarks + 1
        limit = num_text + 1 + num_landmarks
        assert design.most_tokens(limit) == num_text + 1
    assert [design.num_read(0), design.num_read(1)] == [0, 1]


def test_option_of_another_pooling_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no option"):
        Design("mean", "causal").option("heads")


def test_partial_attentions_are_part_of_the_value() -> None:
    design = parse_design("multilayer( layers = last2 )+bidirectional( top = 4 )")
    assert str(design) == "multilayer(layers=last2)+bidirectional(top=4)"
    assert design.attention == "bidirectional(top=4)" and design.option("tokens") == "mean"
    assert design.slug == "multilayer-layers-last2+bidirectional-top-4"
    assert Design("mean", "bidirectional( on=prompt )") == parse_design("mean+bidirectional(on=prompt)")
    assert parse_design("multilayer+bidirectional(on=prompt)").option("tokens") == "last"


def test_what_was_written_before_is_what_it_was() -> None:
    """Keys of finished jobs and names of folders rest on these texts."""
    for text in ("last+causal", "latent(keys=last)+causal", "multilayer(tokens=last)+bidirectional"):
        assert str(parse_design(text)) == text
    assert str(parse_design("multilayer(layers=all)+causal")) == "multilayer+causal"
    assert parse_design("latent(keys=last)+causal").slug == "latent-keys-last+causal"
    assert parse_design("mean+bidirectional").slug == "mean+bidirectional"


@pytest.mark.parametrize(
    ("subset", "numbers"),
    [
        ("all", (1, 2, 3, 4, 5)),
        ("last2", (4, 5)),
        ("last5", (1, 2, 3, 4, 5)),
        ("every2", (1, 3, 5)),
        ("every4", (1, 5)),
        ("2-4", (2, 3, 4)),
        ("5-5", (5,)),
        ("3", (3,)),
    ],
)
def test_subsets_of_five_layers(subset: str, numbers: tuple[int, ...]) -> None:
    assert LayerSubset(subset).numbers(5) == numbers


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ("mean+bidirectional(top=4)", "top=4 on a base of 3 layers; wanted top=1 to top=3"),
        ("layer_mean(layers=last4)+causal", "layers=last4 on a base of 3 layers; wanted last1 to last3"),
        ("layer_mix(layers=2-4)+causal", "wanted layers of 1-3"),
        ("multilayer(layers=4)+causal", "wanted layers of 1-3"),
        ("multilayer(layers=every4)+causal", "wanted every2 to every3"),
    ],
)
def test_layers_the_base_has_not_are_refused_with_the_range(design: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_design(design).require_layers(3)
    parse_design(design).require_layers(4)


def test_a_projection_is_trained() -> None:
    assert not parse_design("mean+causal").is_trainable
    assert parse_design("mean(dim=128)+causal").is_trainable
    assert (parse_design("mean(dim=128)+causal").width, parse_design("mean+causal").width) == (128, None)
    assert parse_design("last(dim=64)+causal").alias is None


def test_heads_of_pma_divide_its_width() -> None:
    parse_design("pma(heads=3,dim=30)+causal").require_width(32)
    parse_design("latent(heads=3)+causal").require_width(32)
    for text, width in (("pma(heads=3)+causal", 32), ("pma(dim=20,heads=8)+causal", 20)):
        with pytest.raises(ConfigError, match=f"does not divide the width of the embeddings, {width}; wanted"):
            parse_design(text).require_width(32)


def test_attentions_sort_by_what_they_let_a_token_see() -> None:
    texts = ["bidirectional", "bidirectional(top=4)", "causal", "bidirectional(top=2)", "bidirectional(on=prompt)"]
    assert sorted(texts, key=lambda text: parse_attention(text).reach) == [
        "causal",
        "bidirectional(on=prompt)",
        "bidirectional(top=2)",
        "bidirectional(top=4)",
        "bidirectional",
    ]


@pytest.mark.parametrize(
    ("text", "num_causal"),
    [("causal", 6), ("bidirectional", 0), ("bidirectional(top=2)", 4), ("bidirectional(on=prompt)", 6)],
)
def test_how_many_of_six_layers_are_causal(text: str, num_causal: int) -> None:
    assert parse_attention(text).num_causal(6) == num_causal
