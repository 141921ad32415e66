"""`atelier metrics`: the list of metrics, and Prometheus' configuration."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


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
        Console(highlight=False).print(table)
