"""Reaching a Ray cluster, and dividing it among workers."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from poolwise.errors import ConfigError
from poolwise.jobs.ray_cluster import Node, Share, connected, share_cluster


def test_workers_of_equal_size_fill_a_cluster() -> None:
    cpus, gpus = [Node("a", 4, 0), Node("b", 8, 0)], [Node("a", 2, 0), Node("b", 32, 4), Node("c", 8, 1)]
    assert share_cluster(cpus) == Share(2, 4, 0)
    assert share_cluster(cpus, 3) == Share(3, 4, 0)
    assert share_cluster(cpus, 6) == Share(6, 2, 0)
    assert share_cluster(cpus, 100) == Share(100, 1, 0)
    assert share_cluster(gpus) == Share(5, 8, 1)
    assert share_cluster(gpus, 2) == Share(2, 16, 1)
    assert share_cluster(gpus, gpus=2) == Share(2, 16, 2)
    assert share_cluster(gpus, gpus=0) == Share(3, 2, 0)
    with pytest.raises(ConfigError, match="8 GPUs for each worker, but no node has more than 4"):
        share_cluster(gpus, gpus=8)
    assert share_cluster([]) == Share(1, 1, 0)
    assert str(Share(2, 16, 1)) == "2 workers with 16 CPUs and 1 GPU each"


def failure(address: str) -> tuple[str, float]:
    start = time.monotonic()
    with pytest.raises(ConfigError) as found, connected(address):
        pass
    return str(found.value), time.monotonic() - start


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_cannot_be_reached_is_one_error_quickly(scheme: str) -> None:
    pytest.importorskip("ray")
    message, seconds = failure(f"{scheme}127.0.0.1:1")
    assert message.startswith(f"cannot connect to the Ray cluster {scheme}127.0.0.1:1: ") and "refused" in message
    assert seconds < 10
    assert failure(f"{scheme}127.0.0.1:x")[0].startswith(f"--ray-address {scheme}127.0.0.1:x; wanted ray://HOST:PORT")


def test_a_port_where_something_else_listens_is_one_error_quickly() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        message, seconds = failure(f"127.0.0.1:{server.getsockname()[1]}")
    assert "something else than Ray listens there" in message
    assert seconds < 10


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message, _ = failure("auto")
    assert message == "a Ray cluster needs the package ray; wanted the extra ray; pip install 'poolwise[ray]'"
