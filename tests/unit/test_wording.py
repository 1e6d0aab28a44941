"""Names in sentences."""

from __future__ import annotations

import pytest

from poolwise.wording import listed


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (list("abcdefgh"), "a, b, c, d, e, f, g and h"),
        (list("abcdefghi"), "a, b, c, d, e and 4 more"),
    ],
)
def test_many_names_are_shortened(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_a_list_that_is_the_result_is_whole() -> None:
    assert listed(list("abcdefghi"), most=None) == "a, b, c, d, e, f, g, h and i"
