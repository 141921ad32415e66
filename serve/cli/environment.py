"""`atelier environment`: the environment that every cluster node needs before Ray starts."""

from __future__ import annotations

import os
import shlex

import typer
from rich.console import Console
from rich.markup import escape

from serve.cli.database import ConfigOption
from serve.cluster.ray_environment import ray_environment
from serve.errors import AtelierError, InvalidRequest
from serve.settings import CONFIG_VARIABLE, Settings, load

err = Console(stderr=True, highlight=False)


def environment(config: ConfigOption = None) -> None:
    """Print what a node's shell has to evaluate before `ray start`: eval "$(atelier environment)".

    The output holds the token that nodes share: keep it out of logs.
    """
    try:
        print("\n".join(exports(load(config))))
    except AtelierError as error:
        err.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None


def exports(settings: Settings) -> list[str]:
    """Shell lines. Raises InvalidRequest without ``proxy.token``: a generated one would differ per node."""
    if settings.proxy.token is None:
        reason = "nodes of a cluster need one in common: ATELIER_PROXY__TOKEN=$(openssl rand -hex 16) on each of them"
        raise InvalidRequest(reason, "proxy.token")
    variables = ray_environment(settings)
    if named := os.environ.get(CONFIG_VARIABLE):
        variables[CONFIG_VARIABLE] = named
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
