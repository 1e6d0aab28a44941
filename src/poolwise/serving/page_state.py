"""What the page of an app knows beside the models: the study's report, tickets for it, and its own limits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request

from poolwise.errors import ConfigError
from poolwise.serving.turns import Turns

REPORT = "report.html"
TICKET_SECONDS = 30
MOST_TICKETS = 100
MOST_WAITING = 8
"""Requests that weigh tokens or search, at the same time: they are not part of a model's queue."""


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
    """The report's file, tickets for it, and the requests that wait."""

    report: Path | None
    tickets: Tickets = field(default_factory=Tickets)
    turns: Turns = field(default_factory=lambda: Turns(MOST_WAITING, "requests of the page"))


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
