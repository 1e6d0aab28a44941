"""The processes of one training: errors, interruptions, and that none of them is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from poolwise.errors import DataError, ModelError
from poolwise.jobs import rank_processes, run_in_ranks

WORK = """
    import atexit, faulthandler, logging, os, signal, time
    from pathlib import Path

    from poolwise.errors import DataError
    from poolwise.ranks import current_ranks, exchange

    def meet(report, out):
        ranks = current_ranks()
        (out / f"{ranks.rank}.partial").write_text(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
        (out / f"{ranks.rank}.partial").rename(out / f"{ranks.rank}.pid")
        logging.getLogger("poolwise").warning("a note of rank %d", ranks.rank)
        print("not an event")
        report(ranks.rank, 2, str(exchange([ranks.rank, 5])))

    def refuse(report, out):
        meet(report, out)
        if current_ranks().rank == 1:
            raise DataError("row 7 is empty", "wanted text", "delete it")
        exchange([0])

    def die(report, out):
        meet(report, out)
        if current_ranks().rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        exchange([0])

    def die_once(report, out):
        is_first = not (out / "1.pid").exists()
        exchange([0])  # both have looked
        meet(report, out)
        if current_ranks().rank == 1 and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        exchange([0])

    def crash(report, out):
        meet(report, out)
        if current_ranks().rank == 1:
            faulthandler._sigsegv()
        exchange([0])

    def fail(report, out):
        meet(report, out)
        raise RuntimeError(f"a bug in rank {current_ranks().rank}")

    def wait(report, out):
        try:  # the interruption may come as soon as the file of the process is there
            meet(report, out)
            time.sleep(60)
        finally:
            (out / f"{current_ranks().rank}.ended").touch()

    def end_badly(report, out):
        meet(report, out)
        atexit.register(os.abort)

    def hang(report, out):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        meet(report, out)
        time.sleep(60)
"""

Works = Callable[[str], Callable[..., object]]


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    """Return the work of a name, which writes into ``tmp_path``."""
    (tmp_path / "rank_works.py").write_text(textwrap.dedent(WORK))
    monkeypatch.syspath_prepend(str(tmp_path))
    import rank_works  # type: ignore[import-not-found]

    yield lambda name: partial(getattr(rank_works, name), out=tmp_path)
    sys.modules.pop("rank_works")


def left_behind(out: Path) -> list[int]:
    pids = [int(path.read_text().split()[0]) for path in out.glob("*.pid")]
    assert len(pids) == 2
    return [pid for pid in pids if psutil.pid_exists(pid)]


def ignore(done: int, total: int, detail: str) -> None:
    pass


def test_ranks_meet_and_only_the_first_reports(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rank_processes, "visible_gpus", lambda: ["6", "7"])
    told: list[tuple[int, int, str]] = []
    run_in_ranks(works("meet"), 2, lambda *event: told.append(event))
    assert told == [(0, 2, "[[0, 5], [1, 5]]")]
    assert [record.getMessage() for record in caplog.records] == ["a note of rank 0"]
    assert [(tmp_path / f"{rank}.pid").read_text().split()[1] for rank in (0, 1)] == ["6", "7"]
    assert left_behind(tmp_path) == []


def test_what_fails_after_the_work_is_done_is_no_failure(works: Works, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    run_in_ranks(works("end_badly"), 2, lambda *event: told.append(event), device="cpu")
    assert told == [(0, 2, "[[0, 5], [1, 5]]")]
    assert left_behind(tmp_path) == []


def test_work_whose_rank_is_killed_is_done_once_more(
    works: Works, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, int, str]] = []
    run_in_ranks(works("die_once"), 2, lambda *event: told.append(event), device="cpu")
    assert told == [(0, 2, "[[0, 5], [1, 5]]")] * 2
    said = [record.getMessage() for record in caplog.records if "tried again" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("a training process was killed by signal 9 (out of memory?)")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("refuse", DataError, "^row 7 is empty; wanted text; delete it$"),
        ("die", ModelError, r"killed by signal 9 \(out of memory\?\); lower train\.processes"),
        ("crash", RuntimeError, r"(?s)a training process crashed:.rank 1, SIGSEGV.*rank_works.py\", line \d+ in crash"),
        ("fail", RuntimeError, "(?s)a training process failed.*Traceback.*a bug in rank [01]"),
    ],
)
def test_an_error_of_one_rank_ends_all(
    name: str, kind: type[Exception], message: str, works: Works, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        run_in_ranks(works(name), 2, ignore, device="cpu")
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("name", "num_ended"), [("wait", 2), ("hang", 0)])
def test_an_interruption_reaches_all_ranks_and_kills_those_that_do_not_listen(
    name: str, num_ended: int, works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_processes, "STOP_SECONDS", 30 if name == "wait" else 0.5)
    main = threading.get_ident()

    def interrupt() -> None:
        while len(list(tmp_path.glob("*.pid"))) < 2:
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_in_ranks(works(name), 2, ignore, device="cpu")
    assert left_behind(tmp_path) == []
    assert len(list(tmp_path.glob("*.ended"))) == num_ended


@pytest.mark.slow
def test_ranks_end_with_a_process_that_is_killed(works: Works, tmp_path: Path) -> None:
    code = f"""
        import sys
        sys.path[:0] = {[str(tmp_path)]!r}
        from functools import partial
        from pathlib import Path
        import rank_works
        from poolwise.jobs import run_in_ranks
        run_in_ranks(partial(rank_works.hang, out=Path({str(tmp_path)!r})), 2, print, "cpu")
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) as started:
        while len(list(tmp_path.glob("*.pid"))) < 2:
            assert started.poll() is None
            time.sleep(0.05)
        children = [psutil.Process(pid) for pid in left_behind(tmp_path)]
        started.kill()
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=4)[1] == []
