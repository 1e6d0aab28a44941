"""The events of an experiment, and their lines in the log: JSON with a checksum at the end."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from poolwise.errors import DataError
from poolwise.experiments.design import Design

FEEDBACK = ("click", "rating", "conversion")
_CHECK = b',"crc":"'
LARGEST = 1e12
"""Of the numbers of an event: sums of larger ones could overflow, and no latency or amount needs them."""
FIRST_TIME, LAST_TIME = -62_135_596_800, 253_402_300_799
"""Seconds since 1970 of the years 1 and 9999, between which a time has a date."""


@dataclass(frozen=True)
class Exposure:
    """A user saw what an arm served.

    Args:
        user: the hashed key. arm: None if two arms were interleaved; ``teams`` then has the arm of each document.
        latency: in milliseconds. covariate: a number of the user from before the experiment.
    """

    id: str
    user: str
    arm: str | None
    latency: float | None = None
    error: bool = False
    covariate: float | None = None
    teams: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Feedback:
    """What a user did about an exposure; ``item`` is the document that was clicked, where it is known."""

    id: str
    exposure: str
    event: str
    value: float
    item: str | None = None


Event = Exposure | Feedback


@dataclass(frozen=True)
class Logged:
    """An event with its number and its time, in seconds since 1970.

    Args:
        is_given: the time came with the event, as in an imported table; otherwise the writer's clock told it.
    """

    number: int
    time: float
    event: Event
    is_given: bool = False


def is_list(event: Event) -> bool:
    """Return whether an event is an exposure to two arms in one interleaved list."""
    return isinstance(event, Exposure) and event.teams is not None


def check_exposure(exposure: Exposure, design: Design) -> None:
    """Raise DataError where an exposure does not fit the design; the message names the exposure and the field."""
    where = f"exposure {exposure.id!r}"
    arms = [arm.name for arm in design.arms]
    named = list(exposure.teams.values()) if exposure.teams is not None else [exposure.arm]
    if wrong := [arm for arm in named if arm is not None and arm not in arms]:
        raise DataError(f"{where}: arm {wrong[0]!r}", f"wanted one of {', '.join(arms)}")
    if (exposure.arm is None) != (exposure.teams is not None):
        raise DataError(f"{where} has {'neither' if exposure.arm is None else 'both'} an arm and teams", "wanted one")
    for name in ("latency", "covariate"):
        _require_usable(where, name, getattr(exposure, name))
    if exposure.latency is not None and exposure.latency < 0:
        raise DataError(f"{where}: latency is {exposure.latency:g}", "wanted milliseconds, 0 or more")


def check_feedback(feedback: Feedback, design: Design) -> None:
    """Raise DataError where feedback does not fit the design; the message names the event and the field."""
    where = f"feedback {feedback.id!r}"
    if feedback.event not in FEEDBACK:
        raise DataError(f"{where}: event {feedback.event!r}", f"wanted one of {', '.join(FEEDBACK)}")
    _require_usable(where, "value", feedback.value)
    if feedback.event == "click" and feedback.value <= 0:
        raise DataError(f"{where}: click {feedback.value:g}", "wanted 1; nothing is sent where there was no click")
    for metric in design.metrics:
        low, high = metric.bounds
        if metric.kind == "bounded" and metric.event == feedback.event and not low <= feedback.value <= high:
            raise DataError(
                f"{where}: {feedback.event} {feedback.value:g}", f"metric {metric.name} takes {low:g} to {high:g}"
            )


def _require_usable(where: str, name: str, value: float | None) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {value}", "wanted a finite number")
    if abs(value) > LARGEST:
        raise DataError(f"{where}: {name} is {value:g}", f"wanted at most {LARGEST:g}")


def check_time(time: float) -> None:
    """Raise DataError where the time of an event is not finite or has no date."""
    if not FIRST_TIME <= time <= LAST_TIME:
        raise DataError(f"time is {time:g}", "wanted seconds since 1970, in the years 1 to 9999")


def to_line(number: int, time: float, kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return one line of the log."""
    given = {name: value for name, value in fields.items() if value is not None and value is not False}
    tree = {"number": number, "time": time, "kind": kind} | given
    body = json.dumps(tree, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()[:-1]
    return body + _CHECK + f'{zlib.crc32(body):08x}"}}\n'.encode()


def event_line(logged: Logged) -> bytes:
    """Return the line of one event."""
    kind = "exposure" if isinstance(logged.event, Exposure) else "feedback"
    return to_line(logged.number, logged.time, kind, {"given": logged.is_given} | asdict(logged.event))


def digest(event: Event) -> int:
    """Return a number that stands for an event in memory: its last bit says whether it is an exposure.

    Law: equal events have equal numbers, also after they were written and read; others differ but for 1 in 2**64.
    """
    text = json.dumps(asdict(event), sort_keys=True)
    found = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    return 2 * found + isinstance(event, Exposure)


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """Return the fields of a line; None if it was cut or changed."""
    body, mark, check = raw.rstrip(b"\n").rpartition(_CHECK)
    if not mark or check != f'{zlib.crc32(body):08x}"}}'.encode():
        return None
    try:
        tree = json.loads(body.decode("ascii") + "}")
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(tree, dict) and type(tree.get("number")) is int and isinstance(tree.get("kind"), str)
    return tree if is_line else None


_NUMBER = (int, float)
_FIELDS: dict[str, dict[str, Any]] = {
    "exposure": {
        "id": str, "user": str, "arm": str, "latency": _NUMBER, "error": bool, "covariate": _NUMBER, "teams": dict
    },
    "feedback": {"id": str, "exposure": str, "event": str, "value": _NUMBER, "item": str},
}  # fmt: skip
_NEEDED = {"exposure": {"id", "user"}, "feedback": {"id", "exposure", "event", "value"}}


def to_logged(tree: Mapping[str, Any], design: Design) -> Logged:
    """Return the event of a parsed line. Raises: DataError where it is none, or does not fit the design."""
    kind = tree["kind"]
    if kind not in _FIELDS:
        raise DataError(f"the kind is {kind!r}", f"wanted {' or '.join(_FIELDS)}")
    fields = {name: value for name, value in tree.items() if name not in ("number", "time", "kind", "given")}
    if wrong := [name for name, value in fields.items() if not _has_type(value, _FIELDS[kind].get(name))]:
        raise DataError(f"{kind}: {wrong[0]!r} is {fields[wrong[0]]!r:.60}")
    if missing := _NEEDED[kind] - fields.keys():
        raise DataError(f"{kind}: {min(missing)!r} is missing")
    if not _has_type(tree.get("time"), _NUMBER):
        raise DataError(f"{kind}: 'time' is {tree.get('time')!r:.60}")
    check_time(tree["time"])
    is_given = tree.get("given") is True
    if kind == "exposure":
        exposure = Exposure(**{"arm": None} | fields)
        check_exposure(exposure, design)
        return Logged(tree["number"], tree["time"], exposure, is_given)
    feedback = Feedback(**fields)
    check_feedback(feedback, design)
    return Logged(tree["number"], tree["time"], feedback, is_given)


def _has_type(value: object, wanted: Any) -> bool:
    """Return whether a value has a type; a number must be one that float64 holds."""
    if wanted is not _NUMBER:
        return wanted is not None and isinstance(value, wanted)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= LAST_TIME
