"""The design of an experiment: arms, split, metrics and error rate, fixed before the first event."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import Field, field_validator, model_validator

from poolwise.config import build_section
from poolwise.errors import ConfigError
from poolwise.recipe_keys.section import Section
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import require_new_folder
from poolwise.storage.whole_files import write_text
from poolwise.storage.yaml_text import load_mapping

DESIGN = "design.yaml"
Kind = Literal["binary", "bounded", "mean", "ratio", "preference"]
Source = Literal["click", "rating", "conversion", "latency", "error"]
OF_EXPOSURES = ("latency", "error")
"""What exposures carry themselves; the other sources are feedback."""
_NAME = r"^[A-Za-z0-9][\w.-]*$"


class Arm(Section):
    """One arm: its name, its share of the users, and what it serves."""

    name: str = Field(pattern=_NAME)
    share: int = Field(ge=1, description="weight of the arm; 50 and 50 split users in half")
    model: str | None = Field(default=None, description="for the record: the model that this arm serves")


class Metric(Section):
    """One number of each user that arms are compared on."""

    name: str = Field(pattern=_NAME)
    kind: Kind = Field(
        description="`binary`: share of users with the event; `bounded`: mean of a user's values, in [low, high]; "
        "`mean`: sum of a user's values; `ratio`: sum of values over sum of exposures or events; `preference`: which "
        "arm's documents are clicked in interleaved rankings"
    )
    event: Source = Field(description="click, rating, conversion (feedback), or latency, error (of exposures)")
    margin: float = Field(
        gt=0,
        description="primary: differences below it do not matter, and arms are equivalent within it; guard: how much "
        "worse an arm may be. In units of the metric",
    )
    direction: Literal["up", "down"] = Field(default="up", description="whether more or less of it is better")
    role: Literal["primary", "guard"] = Field(default="primary", description="a guard must not become worse")
    harm: float = Field(
        default=0.0, ge=0, description="primary: stop for harm once an arm is shown worse by more than this"
    )
    expected: float | None = Field(
        default=None, description="binary, bounded: a guess of the mean; a bad one costs power, not validity"
    )
    low: float = Field(default=0.0, description="bounded: the lowest possible value")
    high: float = Field(default=1.0, description="bounded: the highest possible value")
    absent: float | None = Field(default=None, description="bounded: value of a user without any; low by default")
    per: Literal["exposures", "events"] = Field(default="exposures", description="ratio: what values are divided by")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Metric:
        problems = []
        if self.kind in ("binary", "bounded"):
            low, high = self.bounds
            if self.expected is None:
                problems.append(f"{self.kind} needs `expected`, a guess of the mean")
            elif not low < self.expected < high:
                problems.append(f"expected {self.expected:g} is not between {low:g} and {high:g}")
            if self.margin >= high - low:
                problems.append(f"margin {self.margin:g} is no smaller than the range of the values, {high - low:g}")
        elif self.expected is not None:
            problems.append(f"`expected` is for binary and bounded, not for {self.kind}")
        if self.kind != "bounded" and ((self.low, self.high) != (0.0, 1.0) or self.absent is not None):
            problems.append(f"`low`, `high` and `absent` are for bounded, not for {self.kind}")
        if self.low >= self.high:
            problems.append(f"low {self.low:g} is not below high {self.high:g}")
        elif self.kind == "bounded" and not self.low <= self.filled <= self.high:
            problems.append(f"absent {self.filled:g} is not between {self.low:g} and {self.high:g}")
        if self.kind != "ratio" and self.per != "exposures":
            problems.append(f"`per` is for ratio, not for {self.kind}")
        if self.kind == "preference" and self.event != "click":
            problems.append(f"preference counts clicks, not {self.event}")
        if self.role == "guard" and self.harm:
            problems.append("`harm` is for primary metrics; the limit of a guard is its `margin`")
        if self.event in OF_EXPOSURES and self.kind in ("bounded", "preference"):
            problems.append(f"{self.event} can be binary, mean or ratio, not {self.kind}")
        if self.event == "latency" and self.kind == "binary":
            problems.append("latency can be mean or ratio, not binary")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_bounded(self) -> bool:
        """Whether a user's value has known bounds, so that betting tests it at any sample size."""
        return self.kind in ("binary", "bounded", "preference")

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and highest value of a user."""
        return (self.low, self.high) if self.kind == "bounded" else (-1.0, 1.0) if self.kind == "preference" else (0, 1)

    @property
    def filled(self) -> float:
        """The value of a user without any."""
        return self.low if self.absent is None else self.absent


class Design(Section):
    """An experiment. Nothing of it can change after the first event: the log holds its hash.

    Law: equal designs have equal fingerprints, and any change of a key changes it.
    """

    name: str = Field(pattern=_NAME)
    arms: list[Arm] = Field(min_length=2, description="the first is the baseline that the others are compared with")
    metrics: list[Metric] = Field(min_length=1)
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="error rate of all verdicts together: each metric of each arm gets an equal part (Bonferroni)",
    )
    window_hours: float | None = Field(
        default=24.0,
        gt=0,
        description="a user counts once, this long after the first exposure, with what was logged until then; null "
        "counts everything so far at each look (mean and ratio only)",
    )
    min_users: int = Field(
        default=200,
        ge=2,
        description="users of each arm that count, before any verdict; the levels were measured from here on",
    )
    min_days: float = Field(default=7.0, ge=0, description="days before any verdict but harm: a week has weekends")
    salt: str = Field(
        default_factory=lambda: secrets.token_hex(16),
        pattern=r"^[0-9a-f]{32}$",
        description="key of the hash that assigns users; drawn once, when the folder is made",
    )

    @field_validator("arms")
    @classmethod
    def _arms_differ(cls, arms: list[Arm]) -> list[Arm]:
        return _named_once(arms, "arm")

    @field_validator("metrics")
    @classmethod
    def _metrics_differ(cls, metrics: list[Metric]) -> list[Metric]:
        if all(metric.role == "guard" for metric in metrics):
            raise ValueError("all metrics are guards; wanted at least one primary metric")
        return _named_once(metrics, "metric")

    @model_validator(mode="after")
    def _metrics_can_be_tested(self) -> Design:
        for metric in self.metrics:
            if metric.is_bounded and self.window_hours is None:
                raise ValueError(
                    f"metric {metric.name!r} is {metric.kind}, and window_hours is null: a user's value must be fixed "
                    "when it is counted. Wanted a number of hours, or kind mean or ratio"
                )
            if metric.kind == "preference" and len(self.metrics) > 1:
                raise ValueError(
                    f"metric {metric.name!r} is a preference, and there are others: every user then sees both arms in "
                    "one list, so no other metric belongs to an arm. Wanted that metric alone"
                )
            if metric.kind == "preference" and len(self.arms) != 2:
                raise ValueError(
                    f"metric {metric.name!r}: interleaving compares two arms, the design has {self._names}"
                )
        return self

    @property
    def _names(self) -> str:
        return ", ".join(arm.name for arm in self.arms)

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def alpha_each(self) -> float:
        """The part of alpha that one comparison of one metric gets."""
        return self.alpha / (len(self.metrics) * (len(self.arms) - 1))

    @property
    def fingerprint(self) -> str:
        """A hash of 16 digits of all keys."""
        return fingerprint(self.model_dump(mode="json"))

    def arm(self, name: str) -> Arm:
        """Return an arm by its name. Raises: ConfigError where there is none."""
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            raise ConfigError(f"arm {name!r} is not in experiment {self.name}", f"wanted one of {self._names}")
        return found


N = TypeVar("N", Arm, Metric)


def _named_once(things: list[N], what: str) -> list[N]:
    names = [thing.name for thing in things]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two {what}s are named {repeated[0]!r}")
    return things


def load_design(path: Path) -> Design:
    """Return the design in a YAML file. Raises: ConfigError that lists every bad key or value."""
    return build_section(Design, load_mapping(path, "design", "name, arms, metrics ..."), str(path))


def save_design(design: Design, folder: Path) -> Path:
    """Write the design of a new experiment folder with all its keys; return the path.

    Raises: ConfigError where the folder has one already, holds anything else, or another process writes there.
    """
    path = folder / DESIGN
    _require_new(path)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _require_new(path)  # once more: another process may have written one since
        text = yaml.safe_dump(design.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
        write_text(path, text)
    return path


def _require_new(path: Path) -> None:
    folder = path.parent
    if path.exists():
        raise ConfigError(f"{folder} has a design already", "wanted a new folder", f"read {path}, or give another one")
    require_new_folder(folder, "experiment")
