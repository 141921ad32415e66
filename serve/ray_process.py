"""What every process of Ray Serve is told before it works: where to listen, to count, to write down and to trace."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from ray import serve as ray_serve
from ray.util.metrics import Counter

from serve import logs, metrics
from serve.settings import Settings
from serve.tracing import export


def prepare(settings: Settings, component: str, niceness: int = 0) -> None:
    """This replica's, of ``component``. ``niceness`` of its thread and of all threads and processes that it starts:
    who computes steps back for those that only answer."""
    replica = ray_serve.get_replica_context().replica_id.unique_id
    logs.install(settings, component, replica)
    export.start(settings.tracing, component, replica)
    os.nice(niceness)
    keep_to(settings.ray.host)
    counters: dict[str, Counter] = {}

    def add(name: str, labels: Mapping[str, str]) -> None:
        if name not in counters:
            counters[name] = Counter(name, tag_keys=tuple(labels))
        counters[name].inc(1.0, tags=dict(labels))

    metrics.send_to(add)


def settled() -> None:
    """What was made so far stays as long as the process: Python's collector need not look through it again and again,
    for a sixth of a second in which nothing else is done."""
    gc.collect()
    gc.freeze()


def keep_to(host: str) -> None:
    """Bind the gRPC servers that Ray Serve opens in this process to ``host``, and to ports that nobody else has.

    Ray Serve 2.60 binds them to every interface, whatever its options say, and they take pickled requests from
    anyone who can reach them. And it gives gRPC the option against sharing a port as text, which gRPC ignores: the
    gateways of two stacks on one machine would answer one another's requests.
    """
    from ray.serve._private import default_impl, grpc_util, replica

    if default_impl.add_grpc_address.__module__ == __name__:
        return  # done already
    add_port = vars(replica)["add_port_to_grpc_server"]
    server_of: Any = grpc_util.gRPCGenericServer

    def add_grpc_address(server: grpc.aio.Server, address: str) -> None:
        server.add_insecure_port(address.replace("[::]", host))

    def add_port_to_grpc_server(server: grpc.aio.Server, address: str) -> Any:
        return add_port(server, address.replace("[::]", host))

    def with_numbers(factory: Any, *, extra_options: Sequence[tuple[str, str]]) -> Any:
        return server_of(factory, extra_options=[(name, int(value)) for name, value in extra_options])

    vars(default_impl).update(add_grpc_address=add_grpc_address)
    vars(grpc_util).update(gRPCGenericServer=with_numbers)
    vars(replica).update(add_port_to_grpc_server=add_port_to_grpc_server)
