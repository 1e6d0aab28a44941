"""Exit codes of the command, whatever is raised."""

from __future__ import annotations

import errno

import pytest

from poolwise.cli import main as command
from poolwise.errors import DataError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("row 3 is empty"), 2, "error: row 3 is empty\n"),
        (MemoryError(), 2, "error: out of memory: MemoryError; lower eval.batch_size"),
        (
            RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            2,
            "error: out of memory: CUBLAS",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: the disk is full"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C: finished work is saved; run the same command again to resume"),
        (command.Interrupted("SIGTERM"), 130, "stopped by SIGTERM: finished work is saved"),
        (ZeroDivisionError("division by zero"), 1, "this is a bug in poolwise"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command, "app", fail)
    monkeypatch.setattr(command, "prepare_process", lambda: None)  # which is meant for a process of its own
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exited:
        command.main()
    shown = capsys.readouterr()
    assert (exited.value.code, shown.out) == (code, "")
    assert message in shown.err
    assert ("Traceback" in shown.err) == (code == 1)
