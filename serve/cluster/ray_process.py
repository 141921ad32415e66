"""Process setup for every Ray Serve replica: bind addresses, metrics export, logging, tracing."""

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
from serve.settings.egress_policy import is_own

LOGGER = logging.getLogger(__name__)


def prepare(settings: Settings, component: str, niceness: int = 0) -> None:
    """Set up this replica of ``component``. ``niceness`` applies to its threads and child processes: ensembles yield
    the CPU to gateways."""
    replica = ray_serve.get_replica_context().replica_id.unique_id
    logs.install(settings, component, replica)
    export.start(settings.tracing, component, replica)
    os.nice(niceness)
    bind_servers_to(bind_host(settings.ray.host))
    exports = MetricsExporter(component, settings.ray.metrics_interval_s / 2)
    threading.Thread(target=exports.run, name="metrics", daemon=True).start()


class _Counter(Counter):
    """A counter whose series can exist before the first increment."""

    def begin(self, labels: dict[str, str]) -> None:
        self._record(0.0, labels)


class MetricsExporter:
    """Exports this process's metrics through the Ray agent of the node, which Prometheus scrapes.

    Ray drops a gauge that is not set again within its interval, and exports only the buckets of a histogram, with a
    guessed sum. So gauges and histograms are exported as gauges, set again each time; they end with the process.
    Counters are exported as counters.
    """

    def __init__(self, role: str, every_s: float) -> None:
        self._role = role
        self._every_s = every_s
        self._counters: dict[str, _Counter] = {}
        self._gauges: dict[tuple[str, ...], Gauge] = {}
        self._told: dict[tuple[str, ...], float] = {}

    def run(self) -> None:
        """Export periodically, forever."""
        while True:
            try:
                measure_processes(self._role)
                self.export_all()
            except Exception:
                LOGGER.exception("metrics were not exported; it is tried again")
            time.sleep(self._every_s)

    def export_all(self) -> None:
        for sample in catalogue.samples():
            self._export(sample)

    def _export(self, sample: Sample) -> None:
        names, labels = tuple(sample.labels), dict(sample.labels)
        if not sample.counts:
            of = (sample.name, *names)
            if of not in self._gauges:
                self._gauges[of] = Gauge(sample.name, tag_keys=names)
            self._gauges[of].set(sample.value, labels)
            return
        if sample.name not in self._counters:
            # Ray appends _total again.
            self._counters[sample.name] = _Counter(sample.name.removesuffix("_total"), tag_keys=names)
        series = (sample.name, *labels.values())
        if series not in self._told:
            self._told[series] = 0.0
            self._counters[sample.name].begin(labels)
        elif sample.value > self._told[series]:
            self._counters[sample.name].inc(sample.value - self._told[series], labels)
            self._told[series] = sample.value


_replica_metrics: Any = None


def find_replica(app: Any) -> Any:
    """Notes the Ray Serve replica behind ``app``, for `count_ongoing`; returns ``app``, so that it can stand among an
    HTTP server's middleware."""
    global _replica_metrics
    outermost = app
    while (inner := getattr(app, "app", None)) is not None:
        app = inner
    _replica_metrics = getattr(getattr(app, "__self__", None), "_metrics_manager", None)
    return outermost


def count_ongoing(difference: int) -> None:
    """Adds to the number of requests in work of this replica, for requests that pass by Ray Serve's own layers.

    Autoscaling reads that number, and a replica that drains waits until it is 0. Without a replica nothing is counted.
    """
    if _replica_metrics is not None:
        _replica_metrics._num_ongoing_requests += difference


def freeze_gc() -> None:
    """Exclude all present objects from garbage collection: a full collection takes a sixth of a second."""
    gc.collect()
    gc.freeze()


def bind_host(host: str) -> str:
    """The address on which this process listens: ``host`` if loopback or a wildcard, otherwise this machine's address
    in its Ray cluster, since the settings come from another machine."""
    if not is_own(host):
        return host
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def bind_servers_to(host: str) -> None:
    """Bind the servers that Ray Serve opens in this process to ``host``, and those of gRPC to exclusive ports.

    Ray Serve 2.60 binds HTTP to one address on every machine of a cluster. It binds gRPC to all interfaces whatever its
    options say, and those servers unpickle requests from anyone who can reach them. It also passes the gRPC option
    against port sharing as text, which gRPC ignores, so that gateways of two stacks on one machine would answer each
    other's requests.
    """
    from ray.serve._private import default_impl, grpc_util, proxy, replica

    if default_impl.add_grpc_address.__module__ == __name__:
        return  # already patched
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
