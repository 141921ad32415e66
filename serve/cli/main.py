"""The command `atelier`: start, stop and inspect a stack; draw and vectorize, with or without one."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from serve.cli.database import ConfigOption, DataOption, err, fail, out
from serve.cluster import stack
from serve.cluster.http_client import StackClient
from serve.errors import AtelierError
from serve.settings import Settings, leaves, load, to_markdown
from serve.settings.egress_policy import is_loopback

LOADED_ON_USE = {
    "illustrate": "illustrate:illustrate",
    "upscale": "pictures.upscale:upscale",
    "restyle": "pictures.restyle:restyle",
    "vectorize": "vectorize:vectorize",
    "join": "join:join",
    "doctor": "machine.doctor:doctor",
    "profile": "profile:profile_engine",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "audit": "audit:audit",
    "environment": "deploy:environment",
    "costs": "audit:costs",
    "metrics": "monitoring:metrics",
    "deploy": "deploy:deploy",
    "redeploy": "deploy:redeploy",
    "keys": "keys:keys",
    "users": "keys:users",
    "secrets": "secrets:secrets",
    "flags": "releases:flags",
    "loras": "loras:loras",
    "models": "models:models",
    "prompts": "prompts:prompts",
    "taste": "taste:taste",
    "experiments": "releases:experiments",
    "dashboards": "monitoring:dashboards",
}
"""Module and attribute, by command: to import them all takes seconds, most of which no one command needs."""
HIDDEN = {"redeploy"}


def command_of(name: str) -> Any:
    module, _, attribute = LOADED_ON_USE[name].partition(":")
    found = getattr(import_module(f"serve.cli.{module}"), attribute)
    holder = typer.Typer(rich_markup_mode="markdown")
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name, hidden=name in HIDDEN)(found)
    return typer.main.get_group(holder).commands[name]


class Commands(TyperGroup):
    """Those of this module, and each of `LOADED_ON_USE` once it is named or all are listed."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in LOADED_ON_USE and cmd_name not in self.commands:
            self.add_command(command_of(cmd_name))
        elif cmd_name not in self.commands:
            self.list_commands(ctx)  # an error names those that are spelt alike
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        for name in LOADED_ON_USE:
            self.get_command(ctx, name)
        return super().list_commands(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

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
    from serve.cli.keys import check_ready  # libraries that take a while to load
    from serve.cli.machine.foreground import run, show
    from serve.cli.machine.preparation import check_stack, compile_tracer
    from serve.cluster.nodes import check_shared_state, with_addresses

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
            from serve.cli.machine.foreground import show_watched

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
