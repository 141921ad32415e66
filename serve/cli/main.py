"""The command `atelier`: start, stop and inspect a stack; draw and vectorize, with or without one."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.audit import audit, costs
from serve.cli.backup import backup, restore
from serve.cli.database import ConfigOption, DataOption, err, fail, out
from serve.cli.deploy import deploy, environment, redeploy, run_application
from serve.cli.illustrate import illustrate
from serve.cli.join import join
from serve.cli.keys import check_ready, keys, users
from serve.cli.machine.doctor import doctor
from serve.cli.models import models
from serve.cli.monitoring import dashboards, metrics
from serve.cli.profile import profile_engine
from serve.cli.releases import experiments, flags
from serve.cli.secrets import secrets
from serve.cli.vectorize import vectorize
from serve.cluster import nodes, ray_environment, redeployment, stack
from serve.cluster.http_client import StackClient
from serve.cluster.nodes import check_shared_state, with_addresses
from serve.cluster.ray_environment import temporary_folder
from serve.errors import AtelierError, EngineUnavailable
from serve.observability.logs import console
from serve.settings import Settings, leaves, load, to_markdown
from serve.settings.egress_policy import is_loopback, is_own

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command()(illustrate)
app.command()(vectorize)
app.command()(join)
app.command()(doctor)
app.command("profile")(profile_engine)
app.command()(backup)
app.command()(restore)
app.command()(audit)
app.command()(environment)
app.command()(costs)
app.command()(metrics)
app.command()(deploy)
app.command(hidden=True)(redeploy)
app.add_typer(keys, name="keys")
app.add_typer(users, name="users")
app.add_typer(secrets, name="secrets")
app.add_typer(flags, name="flags")
app.add_typer(models, name="models")
app.add_typer(experiments, name="experiments")
app.add_typer(dashboards, name="dashboards")

NOT_RUNNING = 3
"""Exit code if there is no stack, or it did not start."""


def settings_from(config: Path | None) -> Settings:
    try:
        return load(config)
    except AtelierError as error:
        fail(error, 2)


@app.callback()
def of_all_commands(data: DataOption = None) -> None:
    """Self-hosted serving of generative art. `up` starts the stack; `illustrate` and `vectorize` use it."""


@app.command()
def openapi(config: ConfigOption = None) -> None:
    """Print the OpenAPI document of the HTTP API, as the stack serves it at /openapi.json."""
    from serve.api.app import openapi_document  # every route: that takes a while to load

    print(json.dumps(openapi_document(settings_from(config)), indent=1))


@app.command()
def up(
    config: ConfigOption = None,
    data: DataOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the stack is ready.")] = False,
) -> None:
    """Start the stack on this machine: HTTP, gRPC and Ray's dashboard."""
    from serve.cli.machine.preparation import check_stack, compile_tracer  # libraries that take a while to load

    settings = settings_from(config)
    if (there := stack.running_stack(settings)) is not None:
        err.print(f"already running at {there.url} (pid {there.pid})")
        show(there)
        return
    try:
        spans_machines = not is_loopback(settings.ray.host)
        settings = with_addresses(settings)
        if spans_machines:
            check_shared_state(settings)
        check_ready(settings)
        check_stack(settings)
        stack.check_ports(settings)
        compile_tracer(settings, err)
        if detach:
            with err.status("Starting the stack"):
                stack.start_detached(settings, ["--config", str(config)] if config else [])
            show(stack.StackRecord.of(settings))
        else:
            run(settings)
    except AtelierError as error:
        fail(error, NOT_RUNNING)


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


@app.command()
def down(config: ConfigOption = None, data: DataOption = None) -> None:
    """Stop the stack that `atelier up` started."""
    settings = settings_from(config)
    there = stack.running_stack(settings)
    if there is None:
        err.print("no stack of these settings is running")
        return
    with err.status(f"Stopping {there.url}"):
        stopped = stack.stop(there)
    if not stopped:
        err.print(f"process {there.pid} is still ending; look at {stack.log_file(settings)}")
        raise typer.Exit(1)
    err.print("stopped")


@app.command()
def status(
    config: ConfigOption = None,
    data: DataOption = None,
    url: Annotated[str | None, typer.Option(help="A stack elsewhere; else the one of the settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say whether the stack is ready: a real inference per engine. Exit code 0 ready, 1 degraded, 3 not there."""
    settings = settings_from(config)
    here = stack.StackRecord.of(settings)
    try:
        health = StackClient(url or here.url, 15.0, settings.access.key).health()
    except AtelierError as error:
        fail(error, NOT_RUNNING)
    if as_json:
        print(json.dumps({**health, **({} if url else {"watched": here.endpoints})}, indent=2))
    else:
        table = Table("engine", "version", "ready", "ms", "reason")
        for name, engine in health["models"].items():
            mark = "[green]yes[/]" if engine["ready"] else "[red]no[/]"
            table.add_row(name, str(engine["version"]), mark, f"{engine['latency_ms']:.1f}", escape(engine["reason"]))
        out.print(f"{url or here.url}: {health['status']}")
        out.print(table)
        if url is None:
            show_watched(here)
    raise typer.Exit(0 if health["status"] == "healthy" else 1)


@app.command("settings")
def show_settings(
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/SETTINGS.md.")] = False,
) -> None:
    """Print every setting: its value here, its variable, its meaning."""
    settings = settings_from(config)
    if markdown:
        print(to_markdown(), end="")
    elif as_json:
        print(settings.model_dump_json(indent=2))
    else:
        table = Table("setting", "value", "variable", "meaning")
        for leaf in leaves(settings):
            changed = str(leaf.value) != str(leaf.default) and not str(leaf.value).endswith(str(leaf.default))
            value = escape(str(leaf.value))
            table.add_row(leaf.name, f"[bold]{value}[/]" if changed else value, leaf.variable, leaf.help)
        out.print(table)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
