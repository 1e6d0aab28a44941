"""What the page of an app knows beside the models: indexes to search, the study's report, and its own limits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request

from poolwise.errors import ConfigError
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.page_indexes import PageIndex

REPORT = "report.html"
TICKET_SECONDS = 30
MOST_TICKETS = 100
MOST_WAITING = 8
"""Requests that weigh tokens or search, at the same time: they are not part of a model's queue."""
RETRY_SECONDS = 2


@dataclass
class Tickets:
    """Words that let a browser open one address once, since a link cannot send an API key."""

    clock: Callable[[], float] = time.monotonic
    _valid: dict[str, float] = field(default_factory=dict)

    def issue(self) -> str:
        """Return a new ticket; it is valid for ``TICKET_SECONDS``."""
        now = self.clock()
        self._valid = {ticket: until for ticket, until in self._valid.items() if until > now}
        while len(self._valid) >= MOST_TICKETS:
            del self._valid[next(iter(self._valid))]
        ticket = secrets.token_urlsafe(32)
        self._valid[ticket] = now + TICKET_SECONDS
        return ticket

    def take(self, ticket: str) -> bool:
        """Return whether a ticket is valid; it is not any more then."""
        return self._valid.pop(ticket, 0.0) > self.clock()


@dataclass
class PageState:
    """The indexes by name, the report's file, tickets for it, and the number of requests that wait."""

    indexes: Mapping[str, PageIndex]
    report: Path | None
    tickets: Tickets = field(default_factory=Tickets)
    num_waiting: int = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Count a request while it waits.

        Raises: HttpProblem with status 429 where too many do.
        """
        if self.num_waiting >= MOST_WAITING:
            raise HttpProblem(
                429,
                f"{self.num_waiting} requests of the page wait; try again in {RETRY_SECONDS} s",
                code="page_busy",
                retry_after=RETRY_SECONDS,
            )
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1


def state_of(request: Request) -> PageState:
    """Return the state of the app that got a request."""
    app: FastAPI = request.app
    found: PageState = app.state.page
    return found


def find_report(path: Path | None) -> Path | None:
    """Return the file of a study's report, given as itself or as its folder.

    Raises: ConfigError where there is none.
    """
    if path is None:
        return None
    found = path / REPORT if path.is_dir() else path
    if not found.is_file() or found.suffix != ".html":
        raise ConfigError(
            f"--report {path} is no report",
            f"wanted {REPORT}, or the folder of a study that has one",
            "poolwise report DIR writes it",
        )
    return found.resolve()
