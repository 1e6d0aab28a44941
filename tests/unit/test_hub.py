"""Whether the hub answers is asked first: its libraries would ask again for a minute."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from poolwise.errors import ModelError
from poolwise.hub import hub_access, is_reachable


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Libraries that are allowed to use the network, and a listening socket in the hub's place."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_a_hub_that_answers_is_left_alone(online: socket.socket) -> None:
    assert is_reachable()
    with hub_access():
        assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_does_not_answer_is_not_asked(online: socket.socket) -> None:
    online.close()
    assert not is_reachable()
    with pytest.raises(KeyError), hub_access():
        assert constants.HF_HUB_OFFLINE
        raise KeyError
    assert not constants.HF_HUB_OFFLINE


def test_a_proxy_is_trusted_and_offline_is_believed(online: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    online.close()
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert is_reachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not is_reachable()


def test_names_on_a_hub_without_a_network_fail_at_once(online: socket.socket) -> None:
    from poolwise.models import resolve_base
    from poolwise.models.load import load_any

    online.close()
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"someone/some-model.*without a network"):
        resolve_base("someone/some-model")
    with pytest.raises(ModelError, match=r"someone/some-model.*give its folder"):
        load_any("someone/some-model")
    assert time.monotonic() - start < 10  # the libraries alone take a minute and a half


def test_a_base_is_no_embedding_model() -> None:
    from poolwise.models.load import load_any

    with pytest.raises(ModelError, match="poolwise train --base poolwise/nano"):
        load_any("poolwise/nano")
