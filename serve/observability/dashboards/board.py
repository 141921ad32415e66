"""What a dashboard shows, as plain values, and the JSON that Grafana reads."""

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
"""Grafana puts an interval of at least four scrapes here."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
HEIGHT = 8

Unit = Literal["short", "s", "reqps", "percentunit", "bytes", "ops", "currencyUSD", "cps"]


@dataclass(frozen=True)
class Panel:
    """``queries`` by legend, in which ``{{label}}`` stands for a label's value. ``kind`` "number" shows the latest
    value alone. ``only_with`` names what a site may lack, so that the panel may be empty there: "gpu"."""

    title: str
    unit: Unit
    queries: Mapping[str, str]
    description: str
    kind: Literal["graph", "number"] = "graph"
    only_with: str = ""


@dataclass(frozen=True)
class Board:
    """``rows`` by title, from top to bottom; the panels of a row share its width."""

    uid: str
    title: str
    rows: Mapping[str, Sequence[Panel]]

    def panels(self) -> Iterator[Panel]:
        for panels in self.rows.values():
            yield from panels

    def to_json(self) -> dict[str, Any]:
        """The dashboard model of Grafana's HTTP API and of its provisioning."""
        source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        built = dashboard.Dashboard(self.title).uid(self.uid).tags(["atelier"]).editable()
        built.refresh("30s").time("now-1h", "now").timezone("browser").with_variable(source)
        for title, panels in self.rows.items():
            built.with_row(dashboard.Row(title))
            for panel in panels:
                built.with_panel(_laid_out(panel, COLUMNS // len(panels)))
        plain: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
        return plain


def _laid_out(panel: Panel, columns: int) -> timeseries.Panel | stat.Panel:
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
