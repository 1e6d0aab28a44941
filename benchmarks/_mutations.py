"""Turns valid files into hostile ones: the same random number generator gives the same bytes on every machine."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

Files = dict[str, bytes]
"""The files of one input by their path below a folder."""

NUMBERS = (
    *("0", "-0", "-1", "1e308", "1e309", "-1e999", "1e-400", "NaN", "Infinity", "-Infinity", "0.1", "1_000"),
    *("9007199254740993", "9223372036854775808", "18446744073709551616", "9" * 400, "-" + "9" * 400, "9" * 5000),
    *("0x10", "0b1", "1:2:3", "１２", "²", "1,5", "63.4%", "2026-11-28", "2020-99-99", "0001-01-01 00:00:00 +23:59"),
)
TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\0",
        "a\0b",
        "a" * 300,
        "b" * 70_000,
        "word " * 2000,
        "é",
        "e\u0301" * 50,
        "😀👩‍👩‍👧",
        "שלום עולם",
    ),
    *("\u202eabc\u202c", "\ufeffx", "\ud800", "x\udfffy", "line\r\nbreak", "a\x85b\u2028c\x0bd\x1ce", "\x1b[31mred"),
    *("../../etc/passwd", "/etc/passwd", "~", "~nobody-here/x", "a/b", "a\\b", ".", "..", "-", "*", "con", "x" * 255),
    *("=1+1", "<script>", "null", "true", "'", '"', "`", "%s", "{}", "{0}", "$HOME", "negative_" + "9" * 5000),
)
RAW = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\r\n", b"\r", b"\n\n\n", b"\x1a"),
    *(
        b"\t",
        b",",
        b";",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"-",
        b"&a ",
        b"*a",
        b"!!",
        b"---\n",
        b"...",
        b"<<: ",
    ),
    *(
        b"!!timestamp x",
        b"!!bool x",
        b"!!int ''",
        b"!!float x",
        b"!!binary x",
        b"!!map [a]",
        b"!!python/name:os.system",
    ),
    *(b"[" * 3000, b'{"a":' * 3000, b"- " * 2000, b"? " * 500, b"\\ud800", b"\\u0000", b"1e999", b"9" * 5000),
)
WHOLE = (0, 1, 2, 3, 9, 16, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def mutated(draw: random.Random, files: Mapping[str, bytes]) -> Files:
    """Return the files with one or two of them changed."""
    changed, names = dict(files), sorted(files)
    for _ in range(1 if draw.random() < 0.8 else 2):
        name = draw.choice(names)
        if len(names) > 1 and draw.random() < 0.03:
            changed.pop(name, None)
        elif name in changed:
            changed[name] = _changed(draw, name, changed[name], files)
    return changed


def _changed(draw: random.Random, name: str, raw: bytes, files: Mapping[str, bytes]) -> bytes:
    known: Callable[[random.Random, bytes], bytes] | None = None
    for suffixes, change in _BY_SUFFIX:
        if name.removesuffix(".gz").endswith(suffixes):
            known = change
    # Most inputs keep their syntax: only those get beyond the first check.
    found, is_deep = raw, known is not None and draw.random() < 0.7
    if known is not None and is_deep:
        try:
            found = known(draw, raw)
        except Exception:  # the second change of a file that the first has broken
            is_deep = False
    if not is_deep or draw.random() < 0.1:
        for _ in range(draw.choice((1, 1, 1, 2, 4, 12))):
            found = draw.choice(_OF_BYTES)(draw, found, files)
    return found


def _flip(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    if not raw:
        return draw.choice(RAW)
    place = draw.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ (1 << draw.randrange(8))]) + raw[place + 1 :]


def _cut(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    return raw[: draw.randrange(len(raw) + 1)]


def _drop(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    start = draw.randrange(len(raw) + 1)
    return raw[:start] + raw[start + draw.choice((1, 2, 8, 64, 1000)) :]


def _repeat(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    start = draw.randrange(len(raw) + 1)
    part = raw[start : start + draw.choice((1, 4, 40, 400))]
    return raw[:start] + part * draw.choice((2, 3, 50)) + raw[start:]


def _insert(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + _token(draw) + raw[place:]


def _replace_token(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    start = draw.randrange(len(raw) + 1)
    return raw[:start] + _token(draw) + raw[start + draw.choice((1, 3, 10)) :]


def _number_of_bytes(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    form = draw.choice("BHIQ")
    size = struct.calcsize(form)
    if len(raw) < size:
        return raw
    # Headers are at the start, footers at the end.
    place = draw.choice((draw.randrange(min(64, len(raw) - size + 1)), draw.randrange(len(raw) - size + 1)))
    value = draw.choice(WHOLE) % (1 << 8 * size)
    return raw[:place] + struct.pack(draw.choice("<>") + form, value) + raw[place + size :]


def _splice(draw: random.Random, raw: bytes, files: Mapping[str, bytes]) -> bytes:
    other = files[draw.choice(sorted(files))]
    return raw[: draw.randrange(len(raw) + 1)] + other[draw.randrange(len(other) + 1) :]


def _noise(draw: random.Random, raw: bytes, _: Mapping[str, bytes]) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + draw.randbytes(draw.choice((1, 4, 64))) + raw[place:]


_OF_BYTES = (_flip, _flip, _cut, _drop, _repeat, _insert, _insert, _replace_token, _number_of_bytes, _splice, _noise)


def _token(draw: random.Random) -> bytes:
    kind = draw.random()
    if kind < 0.4:
        return draw.choice(RAW)
    return draw.choice(NUMBERS if kind < 0.7 else TEXTS).encode("utf-8", "surrogatepass")


def any_text(draw: random.Random) -> str:
    """Return a text that a program may not expect."""
    return draw.choice(TEXTS if draw.random() < 0.7 else NUMBERS)


def any_value(draw: random.Random) -> Any:
    """Return a JSON value that a program may not expect."""
    kind = draw.random()
    if kind < 0.25:
        return any_text(draw)
    if kind < 0.5:
        digits = draw.choice(NUMBERS)
        return _Marked(digits) if _is_json_number(digits) else digits
    values: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, 0, 1, -1, 2**53 + 1, 1.5, 2.0)
    return draw.choice((*values, ["a", "b"], [1, "a", None], {"a": {"b": {"c": []}}}, _deep(draw.choice((5, 90)))))


class _Marked(str):
    """Digits that become a bare number when the value is written."""


def _is_json_number(digits: str) -> bool:
    try:
        json.loads(digits)
    except ValueError:
        # More digits than Python reads are JSON all the same.
        return digits.lstrip("-").isascii() and digits.lstrip("-").isdigit()
    return True


def _deep(depth: int) -> Any:
    found: Any = "deep"
    for _ in range(depth):
        found = [found]
    return found


_BARE = "\x02{}\x03"


def to_json(draw: random.Random, value: Any) -> bytes:
    """Return a value as JSON, with non-ASCII characters written out or not."""

    def bare(part: Any) -> Any:
        if isinstance(part, _Marked):
            return _BARE.format(part)
        if isinstance(part, dict):
            return {key: bare(item) for key, item in part.items()}
        return [bare(item) for item in part] if isinstance(part, list) else part

    text = json.dumps(bare(value), ensure_ascii=draw.random() < 0.5, default=str)
    for quote in ('"\\u0002', '"\x02'):
        text = text.replace(quote, "")
    for quote in ('\\u0003"', '\x03"'):
        text = text.replace(quote, "")
    return text.encode("utf-8", "surrogatepass")


def changed_value(draw: random.Random, tree: Any) -> Any:
    """Return a JSON value with one part of it replaced, removed, renamed or repeated."""
    if not isinstance(tree, dict | list) or not tree or draw.random() < 0.08:
        return any_value(draw)
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    key = draw.choice(list(tree)) if isinstance(tree, dict) else draw.randrange(len(tree))
    kind = draw.random()
    if kind < 0.55 or (isinstance(tree[key], dict | list) and kind < 0.75):
        copy[key] = changed_value(draw, tree[key])
    elif kind < 0.7:
        copy[key] = any_value(draw)
    elif kind < 0.8:
        del copy[key]
    elif isinstance(copy, dict):
        copy[draw.choice((any_text(draw), *tree))] = draw.choice((tree[key], any_value(draw)))
    else:
        copy.insert(key, draw.choice((tree[key], any_value(draw))))
    return copy


def _changed_json(draw: random.Random, tree: Any) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        tree = changed_value(draw, tree)
    return to_json(draw, tree)


def _json(draw: random.Random, raw: bytes) -> bytes:
    return _changed_json(draw, json.loads(raw))


def _json_lines(draw: random.Random, raw: bytes) -> bytes:
    lines = raw.splitlines() or [b"{}"]
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(lines))
        if draw.random() < 0.1:
            lines.insert(place, lines[place])
            continue
        try:
            lines[place] = to_json(draw, changed_value(draw, json.loads(lines[place])))
        except ValueError:
            lines[place] = _token(draw)
    return b"\n".join(lines) + draw.choice((b"\n", b"", b"\r\n"))


def _yaml(draw: random.Random, raw: bytes) -> bytes:
    import yaml

    # JSON is YAML, but for characters that YAML forbids in a text.
    return _changed_json(draw, yaml.safe_load(raw))


def _table(draw: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\n")
    sign = max((b",", b"\t", b";", b" "), key=lines[0].count)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(lines))
        cells = lines[place].split(sign)
        cell = draw.randrange(len(cells))
        kind = draw.random()
        if kind < 0.7:
            cells[cell] = _token(draw) if kind < 0.6 else b'"' + _token(draw).replace(b'"', b'""') + b'"'
        elif kind < 0.8:
            del cells[cell]
        else:
            cells.insert(cell, cells[cell])
        lines[place] = sign.join(cells)
        if draw.random() < 0.1:
            lines.insert(place, lines[place])
    return draw.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines)


def _parquet(draw: random.Random, raw: bytes) -> bytes:
    """Return a parquet file with the columns of another, of any types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pq.read_schema(io.BytesIO(raw)).names
    count = draw.choice((0, 1, 2, 5))
    fields, arrays = [], []
    for name in names:
        if draw.random() < 0.05:
            continue
        kept = draw.choice((name, name, name, name, any_text(draw).encode("utf-8", "ignore").decode()))
        array = _column(draw, count)
        fields.append(pa.field(kept, array.type))
        arrays.append(array)
    out = io.BytesIO()
    try:
        table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
        codec = draw.choice(("none", "snappy", "zstd", "gzip"))
        pq.write_table(table, out, compression=codec, use_dictionary=draw.random() < 0.5)
    except (pa.ArrowException, ValueError, NotImplementedError):
        return raw
    return out.getvalue()


def _column(draw: random.Random, count: int) -> Any:
    import pyarrow as pa

    far = datetime(9999, 12, 31) - timedelta(days=draw.randrange(3000))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([any_text(draw).encode("utf-8", "ignore").decode() for _ in range(count)], pa.string()),
        lambda: pa.array([draw.choice(("a", "b", None)) for _ in range(count)], pa.large_string()),
        lambda: pa.array(["same"] * count).dictionary_encode(),
        # Bytes that are not UTF-8, in a column that says that they are.
        lambda: pa.array([draw.choice((b"\xff", b"ok", b"\xed\xa0\x80")) for _ in range(count)], pa.binary()).view(
            "string"
        ),
        lambda: pa.array([draw.choice((b"\xff", b"ok")) for _ in range(count)], pa.binary()),
        lambda: pa.array([draw.choice((0, 1, -1, 2**62)) for _ in range(count)], pa.int64()),
        lambda: pa.array(
            [draw.choice((0.5, float("nan"), float("inf"), 1e308, None)) for _ in range(count)], pa.float64()
        ),
        lambda: pa.array([draw.choice((True, False, None)) for _ in range(count)]),
        lambda: pa.nulls(count),
        lambda: pa.array([[any_value(draw) and "x"] * draw.randrange(3) for _ in range(count)], pa.list_(pa.string())),
        lambda: pa.array([{"docid": "1", "text": draw.choice(("t", None))} for _ in range(count)]),
        lambda: pa.array([draw.choice((far, datetime(1, 1, 1), None)) for _ in range(count)], pa.timestamp("us")),
        lambda: pa.array([draw.choice((2**62, -(2**62), 0)) for _ in range(count)], pa.int64()).cast(
            pa.timestamp(draw.choice(("s", "ms", "us")), draw.choice((None, "UTC", "Nowhere/City")))
        ),
        lambda: pa.array([draw.choice((2**62, 1)) for _ in range(count)], pa.int64()).cast(pa.duration("s")),
        lambda: pa.array([draw.choice((2**30, -(2**30), 0)) for _ in range(count)], pa.int32()).cast(pa.date32()),
        lambda: pa.array([draw.choice((1, 86_399)) for _ in range(count)], pa.int32()).cast(pa.time32("s")),
        lambda: pa.array([[("k", "v")] for _ in range(count)], pa.map_(pa.string(), pa.string())),
        lambda: pa.array([[1.0, float("nan")] for _ in range(count)], pa.list_(pa.float32(), 2)),
    )
    return draw.choice(kinds)()


_BY_SUFFIX: tuple[tuple[tuple[str, ...], Callable[[random.Random, bytes], bytes]], ...] = (
    ((".json",), _json),
    ((".jsonl",), _json_lines),
    ((".yaml",), _yaml),
    ((".csv", ".tsv", ".trec", ".qrels"), _table),
    ((".parquet",), _parquet),
)


def damaged(draw: random.Random, raw: bytes) -> bytes:
    """Return bytes with a few changes that know nothing of their structure."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        raw = draw.choice(_OF_BYTES)(draw, raw, {"": raw})
    return raw
