"""Building blocks of PromQL queries."""

from __future__ import annotations

from serve.observability.dashboards.board import RATE


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
