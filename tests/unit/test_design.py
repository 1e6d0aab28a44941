"""Designs: names, options, aliases and errors."""

import pytest

from poolwise.design import PAPER, Design, default_tokens, parse_design
from poolwise.errors import ConfigError


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
        ("latent(keys=lst)+causal", "did you mean 'last'"),
        ("latent(heads=0)+causal", "positive whole number"),
        ("latent(heads)+causal", "wanted name=value"),
        ("latent(heads=1,heads=2)+causal", "twice"),
        ("multilayer(layer_embedding=7)+causal", "true or false"),
        ("multilayer(heads=true)+causal", "positive whole number"),
    ],
)
def test_bad_designs_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        parse_design(text)


def test_slug_is_safe_for_folders_and_tells_designs_apart() -> None:
    slugs = {parse_design(t).slug for t in ("latent(heads=2)+causal", "latent(latents=2)+causal", "latent+causal")}
    assert len(slugs) == 3
    assert all("(" not in slug and "/" not in slug for slug in slugs)


def test_option_of_another_pooling_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no option"):
        Design("mean", "causal").option("heads")
