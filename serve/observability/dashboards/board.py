"""Dashboards and panels as plain values, rendered to Grafana's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

RATE = "$__rate_interval"
"""Grafana's variable for an interval of at least four scrapes."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
HEIGHT = 8

Unit = Literal["short", "s", "reqps", "percentunit", "bytes", "ops", "currencyUSD", "cps"]


@dataclass(frozen=True)
class Panel:
    """``queries`` by legend; ``{{label}}`` is replaced by the label's value. ``kind`` "number": latest value only.
    ``only_with``: hardware without which the panel may be empty ("gpu")."""

    title: str
    unit: Unit
    queries: Mapping[str, str]
    description: str
    kind: Literal["graph", "number"] = "graph"
    only_with: str = ""


@dataclass(frozen=True)
class Board:
    """``rows`` by title, top to bottom; panels share the width of their row."""

    uid: str
    title: str
    rows: Mapping[str, Sequence[Panel]]

    def panels(self) -> Iterator[Panel]:
        for panels in self.rows.values():
            yield from panels

    def to_json(self) -> dict[str, Any]:
        """Grafana's dashboard model, for its HTTP API and for provisioning."""
        source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        built = dashboard.Dashboard(self.title).uid(self.uid).tags(["atelier"]).editable()
        built.refresh("30s").time("now-1h", "now").timezone("browser").with_variable(source)
        for title, panels in self.rows.items():
            built.with_row(dashboard.Row(title))
            for panel in panels:
                built.with_panel(_build_panel(panel, COLUMNS // len(panels)))
        plain: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
        return plain


def _build_panel(panel: Panel, columns: int) -> timeseries.Panel | stat.Panel:
    made: timeseries.Panel | stat.Panel
    if panel.kind == "number":
        made = stat.Panel()
    else:
        legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
        made = timeseries.Panel().min(0).fill_opacity(10).legend(legend)
    made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    for letter, (legend_format, query) in zip("ABCDEFGH", panel.queries.items(), strict=False):
        made.with_target(prometheus.Dataquery().expr(query).legend_format(legend_format).ref_id(letter))
    return made.span(columns).height(HEIGHT)
