"""What every process of Ray Serve is told before it works: where to listen, to count, to write down and to trace."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc
import ray
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions
from ray.util.metrics import Counter, Gauge

from serve.observability import logs
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Sample
from serve.observability.metrics.processes import measure_processes
from serve.observability.tracing import export
from serve.settings import Settings
from serve.settings.loopback import is_own

LOGGER = logging.getLogger(__name__)


def prepare(settings: Settings, component: str, niceness: int = 0) -> None:
    """This replica's, of ``component``. ``niceness`` of its thread and of all threads and processes that it starts:
    who computes steps back for those that only answer."""
    replica = ray_serve.get_replica_context().replica_id.unique_id
    logs.install(settings, component, replica)
    export.start(settings.tracing, component, replica)
    os.nice(niceness)
    keep_to(own_host(settings.ray.host))
    exports = Exports(component, settings.ray.metrics_interval_s / 2)
    threading.Thread(target=exports.run, name="metrics", daemon=True).start()


class _Counter(Counter):
    """One whose series can be there before anything is counted."""

    def begin(self, labels: dict[str, str]) -> None:
        self._record(0.0, labels)


class Exports:
    """What the process has counted, told to Ray's agent of the node, which Prometheus asks.

    Ray forgets a gauge that is not set again in its next interval, and knows of a histogram only its buckets: their
    sums would be guesses. So everything that does not only rise, histograms too, is told as gauges, again each time;
    nothing of it outlives the process. Counters are told as such.
    """

    def __init__(self, role: str, every_s: float) -> None:
        self._role = role
        self._every_s = every_s
        self._counters: dict[str, _Counter] = {}
        self._gauges: dict[tuple[str, ...], Gauge] = {}
        self._told: dict[tuple[str, ...], float] = {}

    def run(self) -> None:
        """As long as the process lives."""
        while True:
            try:
                measure_processes(self._role)
                self.tell_all()
            except Exception:
                LOGGER.exception("metrics were not told; they are told again")
            time.sleep(self._every_s)

    def tell_all(self) -> None:
        for sample in catalogue.samples():
            self._tell(sample)

    def _tell(self, sample: Sample) -> None:
        names, labels = tuple(sample.labels), dict(sample.labels)
        if not sample.counts:
            of = (sample.name, *names)
            if of not in self._gauges:
                self._gauges[of] = Gauge(sample.name, tag_keys=names)
            self._gauges[of].set(sample.value, labels)
            return
        if sample.name not in self._counters:
            # Ray adds the ending again.
            self._counters[sample.name] = _Counter(sample.name.removesuffix("_total"), tag_keys=names)
        series = (sample.name, *labels.values())
        if series not in self._told:
            self._told[series] = 0.0
            self._counters[sample.name].begin(labels)
        elif sample.value > self._told[series]:
            self._counters[sample.name].inc(sample.value - self._told[series], labels)
            self._told[series] = sample.value


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
