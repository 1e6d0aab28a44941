"""Shape checks for every test run: jaxtyping signatures are checked by beartype under pytest only."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two test processes with all threads each would wait for one another; torch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests that take two threads would spin beside the other process: 20 s for two lanes over a tiny base instead of 2.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

from jaxtyping import install_import_hook

install_import_hook(["poolwise.models", "poolwise.kernels", "poolwise.training"], "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked slow, unless POOLWISE_SLOW=1 asks for them, as CI does."""
    if os.environ.get("POOLWISE_SLOW", "") not in ("", "0"):
        return
    reason = pytest.mark.skip(reason="slow: set POOLWISE_SLOW=1 to run it, as CI does")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(reason)


@pytest.fixture(autouse=True)
def _talk_is_restored() -> Iterator[None]:
    """What a command that a test runs in this process does to our messages ends with the test."""
    ours = logging.getLogger("poolwise")
    level, handlers, propagate = ours.level, ours.handlers, ours.propagate
    yield
    ours.setLevel(level)
    ours.handlers, ours.propagate = handlers, propagate


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def toy_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study, which tests only read; the base, data and task are beside it."""
    from toy_study import make_study

    return make_study(tmp_path_factory.mktemp("study"))
