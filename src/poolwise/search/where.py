"""Conditions on the fields of rows: ``lang=en``, ``year>=2020``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from poolwise.errors import ConfigError, nearest
from poolwise.search.stored_rows import StoredRows
from poolwise.wording import is_unicode

Comparison = Literal["=", "!=", "<", "<=", ">", ">=", "in"]
Scalar = str | int | float | bool | None
Value = Scalar | tuple[Scalar, ...]
Where = Mapping[str, Any] | Sequence[str] | str
"""``{"lang": "en", "year": {">=": 2020}, "topic": ["a", "b"]}``, or texts such as "year>=2020"; all must hold."""

_FORM = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.DOTALL)
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""Of a stored value that can be compared with a number."""
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """One condition on a field.

    ``=`` and ``!=`` compare with a text as texts, and with a number as numbers. An order compares numbers with a number
    and texts, letter by letter, with a text, which suits dates such as 2020-01-31. ``in`` holds for any of a tuple.
    Only ``!=`` holds for a row that lacks the field, and ``=`` with None.
    """

    field: str
    comparison: Comparison
    value: Value

    def __str__(self) -> str:
        return f"{self.field}{self.comparison}{self.value}"


@dataclass(frozen=True)
class Filter:
    """Conditions, all of which must hold, and the rows for which they do."""

    conditions: tuple[Condition, ...]
    is_match: Bool[np.ndarray, " N"]

    @cached_property
    def rows(self) -> Int[np.ndarray, " n"]:
        """The numbers of the matching rows, ascending."""
        return np.flatnonzero(self.is_match)


def conditions_of(where: Where) -> tuple[Condition, ...]:
    """Return the conditions of a mapping or of texts. Raises: ConfigError for another form."""
    if isinstance(where, str):
        return (_parsed(where),)
    if not isinstance(where, Mapping):
        return tuple(_parsed(text) for text in where)
    found: list[Condition] = []
    for field, value in where.items():
        if isinstance(value, Mapping):
            found += [_condition(field, comparison, asked) for comparison, asked in value.items()]
        else:
            found.append(_condition(field, "in" if isinstance(value, list | tuple | set) else "=", value))
    return tuple(found)


def _parsed(text: str) -> Condition:
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise ConfigError(f"--where {text}", "wanted FIELD=VALUE, with =, !=, <, <=, > or >=", "such as 'year>=2020'")
    field, comparison, value = parts.groups()
    is_number = comparison in _COMPARE and re.match(NUMBER, value)
    return _condition(field, comparison, float(value) if is_number else value)


def _condition(field: str, comparison: Any, value: Any) -> Condition:
    if comparison not in get_args(Comparison):
        raise ConfigError(f"where {field} {comparison!r}", f"wanted one of {', '.join(get_args(Comparison))}")
    if comparison == "in":
        if not isinstance(value, list | tuple | set):
            raise ConfigError(f"where {field} in {value!a}", "wanted a list of texts or numbers")
        value = tuple(value)
    for part in value if isinstance(value, tuple) else (value,):
        if not isinstance(part, str | int | float | None):
            raise ConfigError(f"where {field}: {part!r} is a {type(part).__name__}", "wanted a text or a number")
        if isinstance(part, str) and not is_unicode(part):
            raise ConfigError(f"where {field}: {part!a} is not UTF-8", "wanted text")
    if comparison in _COMPARE and (value is None or isinstance(value, bool | tuple)):
        raise ConfigError(f"where {field} {comparison} {value!r}", "wanted a text or a number to compare with")
    return Condition(field, comparison, value)


def find_matching(rows: StoredRows, conditions: Iterable[Condition]) -> Filter:
    """Return which rows meet all conditions.

    Raises: ConfigError for a field that is not stored, or a number compared with a field that has none.
    """
    listed = tuple(conditions)
    is_match = np.ones(len(rows), dtype=bool)
    for condition in listed:
        if condition.field not in rows.columns:
            raise ConfigError(
                f"where {condition}: {condition.field!r} is not stored",
                nearest(condition.field, rows.columns),
                "store a field with poolwise encode --keep FIELD, and index again",
            )
        is_match &= _holds(rows.table[condition.field], condition)
    return Filter(listed, is_match)


def _holds(column: Any, condition: Condition) -> Bool[np.ndarray, " N"]:
    if condition.comparison == "in":
        assert isinstance(condition.value, tuple)
        found = np.zeros(len(column), dtype=bool)
        for value in condition.value:
            found |= _equals(column, value)
        return found
    if condition.comparison in ("=", "!="):
        is_equal = _equals(column, condition.value)
        return is_equal if condition.comparison == "=" else ~is_equal
    return _ordered(column, condition)


def _equals(column: Any, value: Any) -> Bool[np.ndarray, " N"]:
    import pyarrow.compute as pc

    if value is None:
        return _as_mask(pc.is_null(column))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return np.asarray(_numbers(column) == value)
    # A truth value is stored as JSON writes it.
    text = str(value).lower() if isinstance(value, bool) else value
    return _as_mask(pc.equal(_texts(column), text))


def _ordered(column: Any, condition: Condition) -> Bool[np.ndarray, " N"]:
    import pyarrow as pa
    import pyarrow.compute as pc

    compare = _COMPARE[condition.comparison]
    if isinstance(condition.value, str):
        names = {operator.lt: pc.less, operator.le: pc.less_equal, operator.gt: pc.greater}
        ordered = names.get(compare, pc.greater_equal)
        return _as_mask(ordered(_texts(column), pa.scalar(condition.value, pa.large_string())))
    numbers = _numbers(column)
    if len(numbers) and np.isnan(numbers).all():
        raise ConfigError(
            f"where {condition}: no value of {condition.field!r} is a number",
            "wanted a field of numbers, or a text to compare with",
            "dates are compared as texts, such as 'date>=2020-01-01'",
        )
    return np.asarray(compare(numbers, condition.value))


def _numbers(column: Any) -> Any:
    """Return the values as float64 (N); NaN, which equals nothing, where a value is not a number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_large_string(column.type) and not pa.types.is_string(column.type):
        values = pc.cast(column, pa.float64())
    else:
        is_number = pc.match_substring_regex(column, NUMBER)
        values = pc.cast(pc.if_else(is_number, column, pa.scalar(None, column.type)), pa.float64())
    return np.asarray(pc.fill_null(values, float("nan")).to_numpy())


def _texts(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(column, pa.large_string())


def _as_mask(values: Any) -> Bool[np.ndarray, " N"]:
    import pyarrow.compute as pc

    return np.array(pc.fill_null(values, False).to_numpy())
