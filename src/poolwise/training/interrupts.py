"""Clean stops: a signal takes effect after the current step and its checkpoint, so no work is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from poolwise.hangup import HANGUP, leave_terminal

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANGUP)


class StopRequest:
    """Records SIGINT, SIGTERM or SIGHUP inside the block, and delivers the signal when the block ends.

    The same signal a second time is delivered at once; another one is not, because a launcher answers a Ctrl-C, which
    its processes got too, with SIGTERM. A signal that is ignored stays ignored. Outside the main thread, where Python
    allows no handlers, this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in HANGUP:
            leave_terminal()
        if number == self.received:
            self._restore()
            signal.raise_signal(number)
        self.received = self.received or number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        if self.received is not None and error is None:
            signal.raise_signal(self.received)
            # A handler that returns must not make a stopped training look finished.
            raise KeyboardInterrupt
