"""A Ray cluster: how it is reached, and how many workers of which size it has room for.

Read in Ray 2.60. Whether a cluster answers at an address is tried first: where something else than Ray listens,
``ray.init`` waits for more than nine minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poolwise.errors import ConfigError, needs_extra
from poolwise.jobs.processes import usable_cores

CONNECT_SECONDS = 5.0
"""How long a cluster may take to accept a connection."""
_PORTS = {"ray://": 10001, "": 6379}
"""Ports where an address names none: of Ray's client server, and of the head node."""
_HTTP2_SETTINGS = b"\x04"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client sends first, with an empty frame of settings; a server answers with its settings (RFC 9113, 3.4)."""
SLOW_START = {"RAY_raylet_start_wait_time_s": "120", "RAY_agent_register_timeout_ms": "120000"}
"""Settings of Ray, read when a cluster is started. With its own limits of 15 and 30 s, starting a node failed on two
cores that were busy: its agent imports for 20 s there."""


@dataclass(frozen=True)
class Node:
    """What one node of a cluster offers to workers."""

    address: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Share:
    """How many workers are asked for, and what each of them gets."""

    count: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        gpus = f" and {_counted(self.gpus, 'GPU')}" if self.gpus else ""
        each = " each" if self.count > 1 else ""
        return f"{_counted(self.count, 'worker')} with {_counted(self.cpus, 'CPU')}{gpus}{each}"


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to. ``address`` is None for one that it started for itself."""

    address: str | None

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive now and have a CPU or a GPU to offer."""
        import ray

        found = [
            Node(node["NodeManagerAddress"], int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
            for node in ray.nodes()
            if node["Alive"]
            for resources in [node["Resources"]]
        ]
        return [node for node in found if node.cpus or node.gpus]

    def described(self) -> str:
        """Return the cluster's nodes as text, for a report."""
        nodes = [f"{_counted(node.cpus, 'CPU')}, {_counted(node.gpus, 'GPU')}" for node in self.nodes()]
        kinds = [f"{nodes.count(kind)} x ({kind})" for kind in dict.fromkeys(nodes)]
        return f"a Ray cluster of {_counted(len(nodes), 'node')}: {', '.join(kinds)}"

    def __str__(self) -> str:
        return "a Ray cluster on this machine" if self.address is None else f"the Ray cluster at {self.address}"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connect to a Ray cluster for the length of a block, or start one on this machine.

    A connection that this process has already is used, and kept.

    Args:
        address: ``ray://HOST:PORT`` of a client server, ``HOST:PORT`` of a head node if this machine is a node of the
            cluster, or "auto" for the cluster that this machine is a node of. None takes the environment variable
            RAY_ADDRESS, or else starts a cluster on this machine, which ends with the block.
    Raises: ConfigError where Ray is not installed, or the cluster cannot be reached.
    """
    require_ray()
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or None
    if ray.is_initialized():
        yield Cluster(address)
        return
    if address not in (None, "auto", "local"):
        _require_reachable(address)
    os.environ |= SLOW_START | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(os.environ)
    with _own_handlers():
        _connect(None if address == "local" else address)
    try:
        yield Cluster(None if address == "local" else address)
    finally:
        ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init("local", num_cpus=len(usable_cores()), include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except Exception as error:  # Ray has no common class for what fails here
        raise _unreachable(address or "a new cluster on this machine", _first_line(error)) from error


def require_ray() -> None:
    """Raise ConfigError where Ray is not installed; the message names the extra."""
    with needs_extra("a Ray cluster", "ray"):
        import ray  # noqa: F401


def _require_reachable(address: str) -> None:
    """Raise ConfigError where nothing accepts connections at an address."""
    scheme = "ray://" if address.startswith("ray://") else ""
    host, _, port = address.removeprefix(scheme).rpartition(":")
    if not host:
        host, port = port, str(_PORTS[scheme])
    if not port.isdigit():
        raise ConfigError(f"--ray-address {address}", "wanted ray://HOST:PORT, HOST:PORT or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                _require_grpc(connection)
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _require_grpc(connection: socket.socket) -> None:
    """Raise OSError where the other side does not speak gRPC, as every server of Ray does."""
    connection.sendall(_HTTP2_PREFACE)
    answer = b""
    while len(answer) < 9:  # the head of a frame: length, type, flags, stream
        if not (more := connection.recv(9 - len(answer))):
            break
        answer += more
    if answer[3:4] != _HTTP2_SETTINGS:
        raise OSError("something else than Ray listens there")


def _unreachable(address: str, reason: str) -> ConfigError:
    return ConfigError(
        f"cannot connect to the Ray cluster {address}: {reason}",
        "wanted a running cluster with the same versions of Ray and Python",
        "check --ray-address and `ray status`; leave it out for a cluster on this machine",
    )


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which ``ray.init`` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def share_cluster(nodes: Sequence[Node], count: int | None = None, *, gpus: int = 1) -> Share:
    """Return the workers that suit a cluster.

    Args:
        count: how many; None is one for each ``gpus`` GPUs, or on nodes without GPUs one for each node.
        gpus: of one worker, if the cluster has any; 0 leaves them unused.
    Returns: workers of equal size. One for each node is as large as the smallest node; of a given number, or with GPUs,
        they are the largest that have room on the nodes together. More than have room wait for the cluster to grow.
    Raises: ConfigError where the cluster has GPUs, but no node has so many.
    """
    if not any(node.gpus for node in nodes):
        gpus = 0
    elif not any(node.gpus >= gpus for node in nodes):
        raise ConfigError(
            f"{gpus} GPUs for each worker, but no node has more than {max(node.gpus for node in nodes)}",
            "wanted them on one node",
            "lower train.processes, or use nodes with more GPUs",
        )
    if count is None and not gpus:
        return Share(max(1, len(nodes)), max(1, min((node.cpus for node in nodes), default=1)), 0)
    count = count or sum(node.gpus // gpus for node in nodes)
    most = max((node.cpus for node in nodes), default=1)
    for cpus in range(most, 0, -1):
        if sum(_room(node, cpus, gpus) for node in nodes) >= count:
            return Share(count, cpus, gpus)
    return Share(count, 1, gpus)


def _room(node: Node, cpus: int, gpus: int) -> int:
    return min(node.cpus // cpus, node.gpus // gpus) if gpus else node.cpus // cpus


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if lines[0].endswith(":") else lines[0]
