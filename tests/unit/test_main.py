"""Exit codes of the command, whatever is raised."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from safetensors import SafetensorError

from poolwise.cli import main as command
from poolwise.errors import DataError


def unencodable(text: str) -> Exception:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


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
        (SafetensorError("Error while serializing: I/O error: x (os error 28)"), 2, "error: the disk is full: Error"),
        (sqlite3.OperationalError("database or disk is full"), 2, "error: the disk is full: database or disk is full"),
        (RuntimeError("Error in write: No space left on device"), 2, "error: the disk is full: Error in write"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 8 vs 4"), 2, "the disk is full"),
        (RuntimeError("413: File too large"), 1, "this is a bug in poolwise"),
        (RuntimeError("os error 2, disk 28 is not there"), 1, "this is a bug in poolwise"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b.json"), 2, "error: a/b.json: Permission denied; give"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 999), 2, "xxx...xxx"),
        (RuntimeError("Could not determine home directory."), 2, "error: a path begins with ~ and the name of a user"),
        (unencodable("Q: \ud800"), 2, "error: a text has half a surrogate pair, which is no character: 'Q: \\ud800'"),
        (DataError("model \x1b[31mred"), 2, "error: model \\x1b[31mred\n"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "ours.json"), 1, "this is a bug in poolwise"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C: run the same command again to resume; what is finished is kept"),
        (command.Interrupted("SIGTERM"), 130, "stopped by SIGTERM: run the same"),
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
