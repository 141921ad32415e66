"""The command `atelier`: start, stop and inspect a stack; draw and vectorize, with or without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.audit import audit, costs
from serve.cli.backup import backup, restore
from serve.cli.database import ConfigOption, DataOption, err, fail, out
from serve.cli.deploy import deploy, environment, redeploy
from serve.cli.illustrate import illustrate
from serve.cli.join import join
from serve.cli.keys import check_ready, keys, users
from serve.cli.loras import loras
from serve.cli.machine.doctor import doctor
from serve.cli.machine.foreground import run, show, show_watched
from serve.cli.models import models
from serve.cli.monitoring import dashboards, metrics
from serve.cli.pictures.restyle import restyle
from serve.cli.pictures.upscale import upscale
from serve.cli.profile import profile_engine
from serve.cli.prompts import prompts
from serve.cli.releases import experiments, flags
from serve.cli.secrets import secrets
from serve.cli.taste import taste
from serve.cli.vectorize import vectorize
from serve.cluster import stack
from serve.cluster.http_client import StackClient
from serve.cluster.nodes import check_shared_state, with_addresses
from serve.errors import AtelierError
from serve.settings import Settings, leaves, load, to_markdown
from serve.settings.egress_policy import is_loopback

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command()(illustrate)
app.command()(upscale)
app.command()(restyle)
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
app.add_typer(loras, name="loras")
app.add_typer(models, name="models")
app.add_typer(prompts, name="prompts")
app.add_typer(taste, name="taste")
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
