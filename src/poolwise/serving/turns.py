"""``Turns``: how many requests wait for work that is not part of a model's queue, and no more of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from poolwise.serving.http_errors import HttpProblem

RETRY_SECONDS = 2


@dataclass
class Turns:
    """Counts requests while they wait.

    Args:
        most: requests that may wait at the same time.
        what: they are, for the message.
    """

    most: int
    what: str
    num_waiting: int = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Count a request while it waits.

        Raises: HttpProblem with status 429 where too many do.
        """
        if self.num_waiting >= self.most:
            raise HttpProblem(
                429,
                f"{self.num_waiting} {self.what} wait; try again in {RETRY_SECONDS} s",
                code="too_many_waiting",
                retry_after=RETRY_SECONDS,
            )
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1
