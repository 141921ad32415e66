"""Dashboards and panels as plain values, rendered to Grafana's JSON; building blocks of PromQL queries."""

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


def per_second(counter: str, by: str = "", window: str = RATE) -> str:
    """Rate of ``counter``, which may have a selector: ``atelier_requests_total{door="http"}``."""
    return f"sum {_by(by)}(rate({counter}[{window}]))"


def mean(histogram: str, by: str = "") -> str:
    """Mean of a histogram's observations; no value without observations."""
    return f"{per_second(f'{histogram}_sum', by)} / {per_second(f'{histogram}_count', by)}"


def mean_of_both(histogram: str, window: str = RATE) -> str:
    """Mean of a histogram with label ``direction``: observations "below" count as negative."""
    sums = [f'{histogram}_sum{{direction="{way}"}}' for way in ("above", "below")]
    above, below = (f"({per_second(one, window=window)} or vector(0))" for one in sums)
    return f"({above} - {below}) / {per_second(f'{histogram}_count', window=window)}"


def quantile(share: float, histogram: str, by: str = "", selector: str = "", window: str = RATE) -> str:
    """Estimated from the buckets of ``histogram``."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, {per_second(f'{histogram}_bucket{selector}', labels, window)})"


def quantiles(histogram: str, by: str = "") -> dict[str, str]:
    """Median, 95th and 99th percentile, by legend."""
    name = f" {{{{{by}}}}}" if by else ""
    return {f"p{100 * share:g}{name}": quantile(share, histogram, by) for share in (0.5, 0.95, 0.99)}


def ratio(part: str, whole: str, by: str = "", window: str = RATE) -> str:
    """Ratio of two counters; 0 while ``part`` has no series."""
    below, above = per_second(whole, by, window), per_second(part, by, window)
    return f"({above} or {below} * 0) / {below}"


def of_gpus(tritons: str, rays: str) -> str:
    """By ``gpu_uuid``: Triton's metric, or Ray's for GPUs without a Triton."""
    named = f'label_replace({rays}, "gpu_uuid", "$1", "GpuUuid", "(.*)")'
    return f"(max by (gpu_uuid) ({tritons}) or max by (gpu_uuid) ({named}))"


def _by(labels: str) -> str:
    return f"by ({labels}) " if labels else ""
