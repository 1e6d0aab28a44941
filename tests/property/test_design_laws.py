"""Law of designs: printing and parsing back gives an equal value, for every option of every pooling."""

from hypothesis import given
from hypothesis import strategies as st

from poolwise.attentions import ATTENTIONS, parse_attention
from poolwise.design import POOLINGS, Design, OptionKind, OptionValue, parse_design
from poolwise.errors import ConfigError
from poolwise.layer_subsets import LayerSubset

SUBSETS = st.one_of(
    st.just("all"),
    st.builds("last{}".format, st.integers(1, 99)),
    st.builds("every{}".format, st.integers(2, 99)),
    st.builds("{}".format, st.integers(1, 99)),
    st.tuples(st.integers(1, 99), st.integers(0, 9)).map(lambda pair: f"{pair[0]}-{sum(pair)}"),
)
MODES = st.one_of(
    st.sampled_from([*ATTENTIONS, "bidirectional(on=prompt)"]),
    st.builds("bidirectional(top={})".format, st.integers(1, 99)),
)


def values(kind: OptionKind) -> st.SearchStrategy[OptionValue]:
    if isinstance(kind, tuple):
        return st.sampled_from(kind)
    if kind is LayerSubset:
        return SUBSETS
    return st.booleans() if kind is bool else st.integers(1, 4096)


@st.composite
def designs(draw: st.DrawFn) -> Design:
    pooling = draw(st.sampled_from(sorted(POOLINGS)))
    kinds = POOLINGS[pooling].options
    names = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True))
    options = {name: draw(values(kinds[name])) for name in names}
    if options.get("echo") is True:  # which leaves out prompt and BOS by itself
        options = {name: value for name, value in options.items() if name not in ("prompt", "skip")}
    return Design(pooling, draw(MODES), tuple(options.items()))


@given(designs())
def test_print_then_parse_is_the_identity(design: Design) -> None:
    assert parse_design(str(design)) == design
    assert hash(parse_design(str(design))) == hash(design)


@given(MODES)
def test_an_attention_prints_what_it_was_read_from(text: str) -> None:
    assert str(parse_attention(text)) == text
    assert parse_attention(str(parse_attention(text))) == parse_attention(text)


@given(SUBSETS, st.integers(1, 99))
def test_a_subset_is_some_layers_in_order_or_names_the_range(text: str, num_layers: int) -> None:
    try:
        numbers = LayerSubset(text).numbers(num_layers)
    except ConfigError as error:
        assert str(num_layers) in str(error)
        return
    assert numbers and list(numbers) == sorted(set(numbers)) and set(numbers) <= set(range(1, num_layers + 1))
    assert LayerSubset(str(LayerSubset(text))) == LayerSubset(text)


@given(designs())
def test_every_option_has_a_value_or_is_a_size(design: Design) -> None:
    for name in POOLINGS[design.pooling].options:
        assert design.option(name) is not None or name in ("latents", "heads", "head_dim", "dim")
