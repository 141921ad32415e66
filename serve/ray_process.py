"""What every process of Ray Serve is told before it works: where to listen, and where to count."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import ray
from ray.serve.config import HTTPOptions
from ray.util.metrics import Counter

from serve import metrics
from serve.guards import log_lines
from serve.loopback import is_own


def prepare(host: str, niceness: int = 0) -> None:
    """This replica's. ``niceness`` of its thread and of all threads and processes that it starts: who computes steps
    back for those that only answer."""
    log_lines.install()
    os.nice(niceness)
    keep_to(host)
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


def own_host(host: str) -> str:
    """Where the servers of this process listen: ``host`` if that is loopback or any address, else this machine's
    address in its Ray cluster, since the settings come from another."""
    if not is_own(host):
        return host
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def keep_to(host: str) -> None:
    """Bind the servers that Ray Serve opens in this process to ``host``, those of gRPC to ports that nobody else has.

    Ray Serve 2.60 binds HTTP to one address on every machine of a cluster. It binds gRPC to every interface, whatever
    its options say, and those servers take pickled requests from anyone who can reach them. And it gives gRPC the
    option against sharing a port as text, which gRPC ignores: the gateways of two stacks on one machine would answer
    one another's requests.
    """
    from ray.serve._private import default_impl, grpc_util, proxy, replica

    if default_impl.add_grpc_address.__module__ == __name__:
        return  # done already
    add_port = vars(replica)["add_port_to_grpc_server"]
    serve_http = vars(replica)["start_asgi_http_server"]
    server_of: Any = grpc_util.gRPCGenericServer

    async def start_asgi_http_server(application: Any, options: HTTPOptions, **named: Any) -> Any:
        return await serve_http(application, options.model_copy(update={"host": host}), **named)

    def add_grpc_address(server: grpc.aio.Server, address: str) -> None:
        server.add_insecure_port(address.replace("[::]", host))

    def add_port_to_grpc_server(server: grpc.aio.Server, address: str) -> Any:
        return add_port(server, address.replace("[::]", host))

    def with_numbers(factory: Any, *, extra_options: Sequence[tuple[str, str]]) -> Any:
        return server_of(factory, extra_options=[(name, int(value)) for name, value in extra_options])

    vars(default_impl).update(add_grpc_address=add_grpc_address)
    vars(grpc_util).update(gRPCGenericServer=with_numbers)
    vars(replica).update(add_port_to_grpc_server=add_port_to_grpc_server, start_asgi_http_server=start_asgi_http_server)
    vars(proxy).update(start_asgi_http_server=start_asgi_http_server)
