"""Declared contrasts by hand."""

import pytest

from poolwise.errors import EvalError
from poolwise.stats.designs.contrasts import REASONS, Pair, declare
from poolwise.stats.designs.entrants import Entrant
from unit.stats.designs.builders import run


def entrants(*names: str, kind: str = "trained") -> list[Entrant]:
    return [Entrant(name, (run(name, [], kind=kind),)) for name in names]


def test_a_pair_is_listed_once_with_all_its_reasons() -> None:
    pairs = declare(entrants("last+causal", "mean+causal", "last+bidirectional"), "last+causal", REASONS)
    assert pairs == [
        Pair("mean+causal", "last+causal", ("reference", "pooling_given_attention")),
        Pair("last+bidirectional", "last+causal", ("reference", "attention_given_pooling")),
    ]


def test_b_is_the_causal_one_or_the_earlier_one() -> None:
    pairs = declare(entrants("mean+bidirectional", "mean+causal", "last+causal"), None, REASONS)
    assert [(pair.a, pair.b) for pair in pairs] == [
        ("mean+bidirectional", "mean+causal"),
        ("last+causal", "mean+causal"),
    ]


def test_b_is_the_one_whose_attention_reaches_less() -> None:
    names = (
        "mean+bidirectional(top=4)",
        "mean+bidirectional",
        "mean+bidirectional(top=2)",
        "mean+bidirectional(on=prompt)",
    )
    pairs = declare(entrants(*names), None, ["attention_given_pooling"])
    assert {(pair.a, pair.b) for pair in pairs} == {
        (names[1], names[0]),
        (names[0], names[2]),
        (names[0], names[3]),
        (names[1], names[2]),
        (names[1], names[3]),
        (names[2], names[3]),
    }
    (pair,) = declare(entrants("mean+bidirectional(top=4)", "last+bidirectional"), None, REASONS)
    assert pair.reasons == ("all_pairs",)  # nothing else can be said of two that differ in both
    assert declare(entrants("mean+bidirectional(top=4)", "last+bidirectional"), None, []) == []
    pairs = declare(entrants("mean+bidirectional(top=4)", "last+bidirectional(top=4)"), None, REASONS)
    assert [pair.reasons for pair in pairs] == [("pooling_given_attention",)]


def test_written_options_make_another_pooling() -> None:
    names = ("latent(keys=last)+causal", "latent+causal", "latent+bidirectional")
    pairs = declare(entrants(*names), None, ["attention_given_pooling"])
    assert [(pair.a, pair.b) for pair in pairs] == [("latent+bidirectional", "latent+causal")]
    pairs = declare(entrants(*names), None, ["pooling_given_attention"])
    assert [(pair.a, pair.b) for pair in pairs] == [("latent+causal", "latent(keys=last)+causal")]


def test_only_what_is_declared() -> None:
    assert declare(entrants("last+causal", "mean+causal"), "last+causal", []) == []
    assert declare(entrants("last+causal", "mean+causal"), "last+causal", ["attention_given_pooling"]) == []


def test_foreign_models_all_pairs_or_against_the_reference() -> None:
    models = entrants("x", "y", "z", kind="external")
    assert [(pair.a, pair.b) for pair in declare(models, None, REASONS)] == [("y", "x"), ("z", "x"), ("z", "y")]
    assert [(pair.a, pair.b) for pair in declare(models, "y", REASONS)] == [("x", "y"), ("z", "y")]


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(EvalError, match=r"did you mean 'last\+causal'"):
        declare(entrants("last+causal", "mean+causal"), "lst+causal", REASONS)
    with pytest.raises(EvalError, match="did you mean 'reference'"):
        declare(entrants("last+causal"), None, ["refrence"])
