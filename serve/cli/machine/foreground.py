"""The stack of `atelier up`: a Ray node with the application, until a signal."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from serve.cli.database import err, out
from serve.cli.deploy import run_application
from serve.cluster import nodes, ray_environment, redeployment, stack
from serve.cluster.ray_environment import temporary_folder
from serve.errors import EngineUnavailable
from serve.observability.logs import console
from serve.settings import Settings
from serve.settings.egress_policy import is_own


def run(settings: Settings) -> None:
    """Start, print the endpoints, and serve until a signal."""
    signal.signal(signal.SIGTERM, _interrupt)
    redeployment.clear_requests(settings)  # left by a killed stack
    with (
        contextlib.suppress(KeyboardInterrupt),
        stack.record_stack(settings, redeployment.fixed_digest(settings)) as here,
        temporary_folder(),
        console.console_errors(settings, sys.stderr) as console_settings,
        ray_cluster(console_settings) as address,
    ):
        with err.status("Waiting until every engine has answered"):
            stack.wait_ready(settings)
        err.print("[green]ready[/]")
        show(here)
        err.print("Stop with Ctrl-C or `atelier down`.")
        while True:  # until a signal
            time.sleep(1.0)
            redeployment.redeploy_if_requested(settings, address)


@contextlib.contextmanager
def ray_cluster(settings: Settings) -> Iterator[str]:
    """A Ray node with the application while the block runs; yields its address."""
    settings = ray_environment.apply(settings)
    with err.status("Starting Ray"):
        import ray  # after its environment is set
        from ray import serve as ray_serve

        from serve.app import compose, grpc_options, http_options
        from serve.cli.machine.preparation import ray_working_folder
        from serve.cluster.ray_node import skip_unused_processes

        skip_unused_processes(settings.dashboard.enabled)
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            with ray_working_folder(settings):
                ray.init(
                    "local",  # not a cluster that Ray remembers
                    num_cpus=settings.ray.num_cpus or None,
                    object_store_memory=settings.ray.object_store_memory_bytes,
                    include_dashboard=settings.dashboard.enabled,
                    dashboard_host=settings.dashboard.host,
                    dashboard_port=settings.dashboard.port,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _metrics_export_port=settings.ray.metrics_port or None,
                    _temp_dir=str(settings.ray.temp_dir) if settings.ray.temp_dir else None,
                    _node_ip_address=settings.ray.host if is_own(settings.ray.host) else None,
                )
        except Exception as error:  # of a node that does not start Ray raises nothing narrower
            reason = str(error).strip().partition("\n")[0]
            raise EngineUnavailable(f"Ray did not start: {reason}. `atelier doctor` says what is short") from error
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _interrupt)  # replaces Ray's handler
    try:
        with nodes.publish_targets(settings):
            with err.status("Starting the application"):
                ray_serve.start(
                    proxy_location="EveryNode" if is_own(settings.ray.host) else "HeadOnly",
                    http_options=http_options(settings),
                    grpc_options=grpc_options(settings),
                )
                logging.getLogger("ray.serve").setLevel(logging.ERROR)
                run_application(compose(settings))
            yield ray.get_runtime_context().gcs_address
    finally:
        redeployment.clear_requests(settings)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
        err.print("stopping")
        ray_serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def show(here: stack.StackRecord) -> None:
    doors = {
        "HTTP": f"{here.url}  (a browser shows the studio; POST /generate, /api/convert-ai, …; GET /openapi.json)",
        "gRPC": f"{here.grpc}  (inference.GRPCInferenceService)",
    }
    for name, where in doors.items():
        out.print(f"{name:<10} {where}", soft_wrap=True)
    show_watched(here)


_WATCHED = {
    "dashboard": "Ray: replicas, nodes, logs; its token: ray get-auth-token",
    "logs": "a file for each process; one request by its X-Request-Id",
    "metrics": "HAProxy's, for Prometheus",
    "traces": "OTLP",
}


def show_watched(here: stack.StackRecord) -> None:
    for name, where in here.endpoints.items():
        out.print(f"{name:<10} {f'{where}  ({_WATCHED[name]})' if where else 'off'}", soft_wrap=True)
