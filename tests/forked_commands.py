"""Commands in processes that are forked from one with the libraries imported: a command then starts at once.

Each is a process of its own with its own environment, folder and output, as from a shell. Only the variables that
libraries read when they are imported are those of the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_TIMEOUT_EXIT = 124


def run_forked(
    args: list[str], *, cwd: Path, env: Mapping[str, str], timeout: int = 600
) -> subprocess.CompletedProcess[str]:
    """Run ``poolwise ARGS`` and return its exit code and output. Raises: AssertionError after ``timeout`` seconds."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        files = {"out": f"/proc/{os.getpid()}/fd/{out.fileno()}", "err": f"/proc/{os.getpid()}/fd/{err.fileno()}"}
        request = {"args": args, "cwd": str(cwd), "env": dict(env), "timeout": timeout, **files}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out.seek(0)
        err.seek(0)
        found = subprocess.CompletedProcess(args, code, out.read(), err.read())
    assert code != _TIMEOUT_EXIT, f"not done after {timeout} s\n{found.stdout}\n{found.stderr}"
    return found


@cache
def _server() -> subprocess.Popen[str]:
    """Return the process that commands are forked from; it ends when its standard input does."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    atexit.register(server.kill)
    return server


def main() -> None:
    """Answer each request, a line of JSON, with the exit code of its command."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from poolwise.cli.options import prepare_process

    prepare_process()
    import poolwise.cli.main
    import poolwise.study.preload  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_command(request)
        print(_exit_code(pid, request["timeout"]), file=answers, flush=True)


def _exit_code(pid: int, timeout: float) -> int:
    import signal
    import time

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return _TIMEOUT_EXIT


def _be_command(request: Mapping[str, Any]) -> None:
    """Become the command of a request; never return."""
    code = 1
    try:
        os.setsid()
        for number, path in enumerate((os.devnull, request["out"], request["err"])):
            os.dup2(os.open(path, os.O_RDWR), number)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["poolwise", *request["args"]]
        from poolwise.cli.main import main as command

        try:
            command()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
