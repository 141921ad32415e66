"""`atelier metrics` and `atelier dashboards`: metrics, Prometheus' configuration and alert rules, Grafana
dashboards."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from serve.cli.database import fail, out
from serve.errors import AtelierError

dashboards = typer.Typer(
    help="Grafana dashboards and Prometheus alert rules. Needs `pip install 'atelier[dashboards]'`.",
    no_args_is_help=True,
)
TOKEN = "GRAFANA_TOKEN"


@dashboards.command("push")
def push(
    url: Annotated[str, typer.Option("--url", envvar="GRAFANA_URL", help="Where Grafana is.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"File with the token; else the variable {TOKEN} has it.")
    ] = None,
) -> None:
    """Create or replace the dashboards in Grafana's folder "Atelier".

    The token is a service account's with the role Editor, or user:password.
    """
    from serve.observability.dashboards.boards import BOARDS
    from serve.observability.dashboards.push import Grafana

    try:
        token = token_file.read_text().strip() if token_file else os.environ.get(TOKEN, "")
    except OSError as error:
        fail(f"{token_file}: {error.strerror}", 2)
    if not token:
        fail(f"a token is needed: set {TOKEN}, or name a file with --token-file", 2)
    try:
        for place in Grafana(url, token).push(BOARDS):
            print(place)
    except AtelierError as error:
        fail(error.message, 2)


@dashboards.command("write")
def write(
    folder: Annotated[Path, typer.Argument(help="Where to; Grafana's provisioning reads such a folder.")],
) -> None:
    """Write one JSON file per dashboard."""
    from serve.observability.dashboards.boards import BOARDS

    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        path = folder / f"{board.uid}.json"
        path.write_text(json.dumps(board.to_json(), indent=1, sort_keys=True) + "\n")
        print(path)


@dashboards.command("rules")
def rules(
    budget_per_day: Annotated[float | None, typer.Option(min=0, help="Tell when a day's requests cost more.")] = None,
    cpu_hour: Annotated[float, typer.Option(min=0, help="Price of a core for an hour.")] = 0.0,
    gpu_hour: Annotated[float, typer.Option(min=0, help="Price of a GPU for an hour.")] = 0.0,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="As a PrometheusRule of its operator.")] = False,
) -> None:
    """Print the alert rules as a file for Prometheus' `rule_files`."""
    from serve.observability.dashboards.alerts import rules as alert_rules
    from serve.observability.dashboards.alerts import to_yaml

    if budget_per_day is not None and not (cpu_hour or gpu_hour):
        fail("a budget needs a price: --cpu-hour, --gpu-hour or both", 2)
    sys.stdout.write(to_yaml(alert_rules(budget_per_day, cpu_hour, gpu_hour), kubernetes=kubernetes))


def metrics(
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/METRICS.md.")] = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="A configuration for Prometheus.")] = False,
) -> None:
    """List every metric: its kind, its labels, its meaning."""
    from serve.observability.metrics.catalogue import metrics as all_of_them
    from serve.observability.metrics.prometheus import to_yaml
    from serve.observability.metrics.reference import to_markdown

    if markdown:
        print(to_markdown(), end="")
    elif prometheus:
        print(to_yaml(), end="")
    else:
        table = Table("metric", "kind", "labels", "meaning")
        for one in all_of_them():
            table.add_row(one.name, one.kind, ", ".join(one.labels), one.help)
        out.print(table)
