"""docs/METRICS.md: all metrics with kind, labels and meaning. Written by `atelier metrics --markdown`."""

from __future__ import annotations

from collections.abc import Sequence

from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Histogram, Metric

REQUIRED_METRICS: dict[str, tuple[Sequence[Metric], str]] = {
    "inference_latency": (
        (catalogue.INFERENCE_SECONDS, catalogue.ENSEMBLE_SECONDS, catalogue.REQUEST_SECONDS),
        "percentiles: of one call of an engine, of all of an ensemble's work, of the whole request",
    ),
    "model_accuracy": (
        (catalogue.SVG_QUALITY_ERROR, catalogue.SVG_QUALITY),
        "how far the predicted SSIM is from the measured one, and the measured one",
    ),
    "memory_usage": (
        (catalogue.PROCESS_MEMORY,),
        "with `ray_node_mem_used` of the machine and `nv_gpu_memory_used_bytes` of its GPUs",
    ),
    "error_rate": (
        (catalogue.REQUESTS, catalogue.REFUSALS, catalogue.INFERENCE_FAILURES),
        "share of requests by `status`; by their reason; of an engine's calls",
    ),
    "throughput": (
        (catalogue.REQUESTS, catalogue.PICTURES, catalogue.DRAWINGS, catalogue.EXECUTIONS),
        "`rate`: of requests, pictures, SVGs, and an engine's batches",
    ),
}
"""Monitoring requirements by name (D-090): our metrics, and how to read them."""

_UNITS = {"_seconds": "seconds", "_bytes": "bytes", "_ratio": "0 to 1", "_info": "1"}


def unit_of(metric: Metric) -> str:
    """By Prometheus' naming conventions; otherwise a count."""
    name = metric.name.removesuffix("_total")
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "count")


def to_markdown() -> str:
    lines = [_PREAMBLE, *_required_rows(), "", "## Ours", ""]
    lines += ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for one in catalogue.metrics():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {unit_of(one)} | {labels} | {_help(one)} |")
    return "\n".join([*lines, ""])


def _required_rows() -> list[str]:
    lines = ["| asked for | here | as |", "|---|---|---|"]
    for name, (found, how) in REQUIRED_METRICS.items():
        lines.append(f"| `{name}` | {', '.join(f'`{one.name}`' for one in found)} | {how} |")
    return lines


def _help(metric: Metric) -> str:
    if not isinstance(metric, Histogram):
        return metric.help
    return f"{metric.help} Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."


_PREAMBLE = """# Metrics

This page lists every metric of a stack, with its kind, labels and meaning, and how Prometheus gets them. It is written
by `atelier metrics --markdown`.

Each process counts in memory (`serve/observability/metrics`) and reports to Ray's agent of its node every few seconds
(`ray.metrics_interval_s`; values may be late by two of these). The agent's port is the one endpoint of a node:
`ray.metrics_port`, or any that is free. It listens on loopback when `ray.host` is loopback. Ray's own metrics are there
too, of its nodes, of Ray Serve's replicas, and of GPUs where there are any (`ray_node_gpus_utilization`,
`ray_node_gram_used`, in MiB); Triton's own (`nv_*`) come by their replica, with the label `ensemble`. HAProxy's are on
`proxy.metrics_port`. A Triton outside (`engines_url`) has an endpoint of its own: add it to Prometheus, too. Panels
and alerts of GPUs use Triton's metrics, and Ray's for GPUs that no Triton reports.

`atelier metrics --prometheus` prints a configuration for Prometheus; `deployments/prometheus/prometheus.yml` is what it
prints. `atelier up` writes where this stack's metrics are to `metrics_file` (else `metrics-PORT.json` in
`state_dir`), in the form of Prometheus' `file_sd_configs`, whether Ray's dashboard runs or not. Machines that join
(`atelier join`) are in it within seconds, with `ray.metrics_port` of their own, and those that have left are not; where
a machine has no replica, no HAProxy answers. Link the file into the folder `targets/` beside the configuration
([one host](DEPLOYMENT.md#prometheus-on-one-host)). A cluster that Ray or KubeRay started has Ray's own file,
`prom_metrics_service_discovery.json` in its session's folder, or pod monitors; add HAProxy's port to them.

Ray puts `ray_` before every name. The configuration takes it away again from `atelier_*` and `nv_*`, and takes away
labels without information; the names below are those that queries use. Every series also has `WorkerId` (the process)
and `NodeAddress`. A series of a process that ended disappears, except counters: those keep their value as long as the
node runs.

Ray's agent declares histograms as gauges (`_bucket`, `_sum`, `_count` are exact; `rate` and `histogram_quantile` work),
for Ray itself passes on a histogram's buckets alone and guesses its sum. `nv_*` are
Triton's own and start from zero when it is restarted; `atelier_engine_execution*` continue.

No label has a user, a key, a prompt, or a path that a client made up. A metric keeps at most 1,000 combinations of its
labels; further ones become `other`. Metrics that every worker reports of the whole site are read with `max`, all others
with `sum`.

The mean batch of an engine:

    rate(nv_inference_count[5m]) / rate(nv_inference_exec_count[5m])

The p95 of the wait in a replica's queue:

    histogram_quantile(0.95, sum by (le, ensemble) (rate(atelier_queue_wait_seconds_bucket[5m])))

The share of the ensembles' processor time that requests are charged:

    sum(rate(atelier_cost_cpu_seconds_total[5m]))
      / sum(rate(atelier_process_cpu_seconds_total{role=~"vectorize|illustrate"}[5m]))

## Cost

Every answer of the native doors tells its `cost`: `cpu_seconds` and `gpu_seconds`. A tracing's is the processor time of
its task. An inference's is its share of what Triton and its replica spent: that is divided over the engines by how long
Triton ran each, and over an engine's work by rows and the size of pictures; prices follow within some seconds. GPU
seconds are the time that Triton ran an engine, times the GPUs that the replica reserves; engines that run side by side
share them, so that no replica charges more than it has. What is found (in the cache, by joining) costs nothing, and
carries no `cost`. What the stack does of its own accord (probes, idling) is charged to nobody. What a cancelled
request, or a direct one that failed, had cost is in the counters, and in no row. A job costs what all its attempts did:
paused, tried again or taken over, its row has what each had told of with its progress. What is asked of the ensembles
by the open inference protocol has a row like all else. An inference of moderation is in the counters under its engine's
name. Engines of a Triton outside (`engines_url`) cost nothing here.

`GET /api/admin/costs?by=user|model|day&since=` and `atelier costs` have the sums, `GET /v1/me/costs` one's own. `model`
and `day` are for the scope `metrics`; `user` names users, and is for `admin`. `prices.cpu_hour` and `prices.gpu_hour`
make money of them. `python -m loadtests.benchmarks.metrics` prints what recording takes, and how much of the processes'
own processor time requests were charged.

## Asked for by name
"""
