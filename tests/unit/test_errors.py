"""Messages of errors: of bounded length, whatever value they repeat."""

from __future__ import annotations

import pytest

from poolwise.errors import MOST_CHARACTERS, ConfigError, DataError, collect, shortened


def test_a_value_of_megabytes_is_not_repeated_whole() -> None:
    error = ConfigError("start " + "x" * 10**6 + " end", "w" * 10**6, "hint")
    assert len(str(error)) < 3 * MOST_CHARACTERS
    assert error.got.startswith("start xxx") and error.got.endswith("xxx end") and str(error).endswith("; hint")
    with pytest.raises(DataError) as found:
        collect([f"line {number}: " + "y" * 10**5 for number in range(20)], DataError, "bad lines")
    assert all(f"line {number}:" in str(found.value) for number in range(10)) and "10 more" in str(found.value)
    assert len(str(found.value)) < 3 * MOST_CHARACTERS


def test_short_texts_stay() -> None:
    assert shortened("a" * 100, 100) == "a" * 100
    assert len(shortened("a" * 101, 100)) <= 100
