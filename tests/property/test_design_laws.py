"""Law of designs: printing and parsing back gives an equal value, for every option of every pooling."""

from hypothesis import given
from hypothesis import strategies as st

from poolwise.design import ATTENTIONS, POOLINGS, Design, OptionKind, OptionValue, parse_design


def values(kind: OptionKind) -> st.SearchStrategy[OptionValue]:
    if isinstance(kind, tuple):
        return st.sampled_from(kind)
    return st.booleans() if kind is bool else st.integers(1, 4096)


@st.composite
def designs(draw: st.DrawFn) -> Design:
    pooling = draw(st.sampled_from(sorted(POOLINGS)))
    kinds = POOLINGS[pooling].options
    names = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True))
    options = tuple((name, draw(values(kinds[name]))) for name in names)
    return Design(pooling, draw(st.sampled_from(ATTENTIONS)), options)


@given(designs())
def test_print_then_parse_is_the_identity(design: Design) -> None:
    assert parse_design(str(design)) == design
    assert hash(parse_design(str(design))) == hash(design)


@given(designs())
def test_every_option_has_a_value_or_is_a_size(design: Design) -> None:
    for name in POOLINGS[design.pooling].options:
        assert design.option(name) is not None or name in ("latents", "heads", "head_dim")
