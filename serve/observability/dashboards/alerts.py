"""Alert rules for Prometheus, and their file. The objective is 99.5 % of requests answered per month (C-160)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from serve.observability.dashboards.board import mean_of_both, per_second, quantile, ratio
from serve.observability.dashboards.boards import (
    BY_ITSELF,
    DATABASE,
    DATABASE_ERRORS,
    DISK,
    FAILED,
    GPU_THERE,
    GPU_USED,
    MEMORY,
    STORE_ERRORS,
    failing,
)

OBJECTIVE = 0.995
OVERLOADED = 'atelier_refusals_total{reason="Overloaded"}'
NO_SPACE = 'atelier_refusals_total{reason="OutOfSpace"}'
BROKEN = 'atelier_engine_failures_total{reason=~"EngineFailure|EngineUnavailable"}'
"""Failures of the engine itself, excluding client errors, deadlines and overload."""
MIN_FAILURE_RATE = 0.009
"""Failures per second, equal to three in five minutes."""
CONVERSIONS = '{ensemble="vectorize"}'


@dataclass(frozen=True)
class Rule:
    """Fires when ``expression`` has a value for ``holds_for``. ``runbook``: heading in docs/OPERATIONS.md."""

    name: str
    expression: str
    holds_for: str
    severity: Literal["page", "ticket"]
    summary: str
    runbook: str

    def to_plain(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.holds_for,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook": f"docs/OPERATIONS.md#{self.runbook}"},
        }


def to_yaml(rules: Sequence[Rule], *, kubernetes: bool = False) -> str:
    """A file for Prometheus' `rule_files`, or a PrometheusRule for its operator."""
    document: dict[str, Any] = {"groups": [{"name": "atelier", "rules": [rule.to_plain() for rule in rules]}]}
    if kubernetes:
        about = {"name": "atelier", "namespace": "atelier", "labels": {"app.kubernetes.io/part-of": "atelier"}}
        kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
        document = {**kind, "metadata": about, "spec": document}
    head = f"# Written by `atelier dashboards rules{' --kubernetes' if kubernetes else ''}`.\n"
    return head + str(yaml.safe_dump(document, sort_keys=False, width=1000))


def _burn_rate(rate: float, long: str, short: str) -> str:
    """The monthly error budget is consumed at ``rate`` times the allowed speed, over a long window (significant) and a
    short one (still ongoing); Google's Site Reliability Workbook, chapter 5."""
    allowed = rate * (1 - OBJECTIVE)
    over = [f"({ratio(FAILED, 'atelier_requests_total', window=window)}) > {allowed:.4g}" for window in (long, short)]
    return " and ".join(over)


def _failure_rate(errors: str, by: str) -> str:
    """Per label value, so that frequent operations do not hide others; ignores one or two failures at low load."""
    return f"({failing(errors, by, '5m')}) > 0.05 and {per_second(errors, by, '5m')} > {MIN_FAILURE_RATE}"


def rules(budget_per_day: float | None = None, cpu_hour: float = 0.0, gpu_hour: float = 0.0) -> tuple[Rule, ...]:
    """All rules; with ``budget_per_day`` also one on spending, at prices per hour of a core and of a GPU."""
    return RULES if budget_per_day is None else (*RULES, _spending(budget_per_day, cpu_hour, gpu_hour))


def _spending(budget_per_day: float, cpu_hour: float, gpu_hour: float) -> Rule:
    day = {kind: f"sum(increase(atelier_cost_{kind}_seconds_total[1d]))" for kind in ("cpu", "gpu")}
    spent = f"({day['cpu']} * {cpu_hour / 3600:.6g} + ({day['gpu']} or vector(0)) * {gpu_hour / 3600:.6g})"
    summary = f"What requests cost in a day is above {budget_per_day:g}"
    return Rule("AtelierOverBudget", f"{spent} > {budget_per_day:g}", "5m", "ticket", summary, "over-budget")


RULES = (
    Rule("AtelierDown", 'absent(up{job="ray"} == 1)', "1m", "page",
         "No node of the site answers Prometheus", "down"),
    Rule("AtelierUnseen", 'up{job="ray"} == 0', "5m", "ticket",
         "Prometheus does not reach the metrics of {{ $labels.instance }}", "down"),
    Rule("AtelierFailsFast", _burn_rate(14.4, "1h", "5m"), "2m", "page",
         "Requests fail so often that a month's allowance is gone in two days", "requests-fail"),
    Rule("AtelierFailsSlowly", _burn_rate(3, "1d", "2h"), "15m", "ticket",
         "Requests fail so often that a month's allowance is gone in ten days", "requests-fail"),
    Rule("AtelierOutOfSpace", f"{per_second(NO_SPACE, window='5m')} > 0", "5m", "page",
         "The disk of the database or of the object store is full", "requests-fail"),
    Rule("AtelierQueues",
         f"{quantile(0.95, 'atelier_queue_wait_seconds', 'ensemble', window='5m')} > 10"
         " or max by (ensemble) (atelier_queue_oldest_seconds) > 10", "5m", "page",
         "Work waits longer than 10 s for its turn at {{ $labels.ensemble }}", "work-waits"),
    Rule("AtelierRefuses", f"{per_second(OVERLOADED, window='5m')} > 0", "5m",
         "page", "The site is full and refuses requests", "work-waits"),
    Rule("AtelierVectorizesSlowly",
         f"{quantile(0.95, 'atelier_ensemble_duration_seconds', selector=CONVERSIONS, window='10m')} > 1",
         "10m", "ticket", "Conversions take longer than 1 s", "slow"),
    Rule("AtelierDatabaseSlow", f"{quantile(0.95, DATABASE, 'kind', f'{{{BY_ITSELF}}}', '5m')} > 0.1", "10m", "ticket",
         "A {{ $labels.kind }} of the database takes longer than 0.1 s", "the-state"),
    Rule("AtelierDatabaseFails", _failure_rate(DATABASE_ERRORS, "kind"), "5m", "page",
         "The database does not answer a {{ $labels.kind }}, or has no space", "the-state"),
    Rule("AtelierStoreFails", _failure_rate(STORE_ERRORS, "operation"), "5m", "page",
         "The object store does not answer a {{ $labels.operation }}, or has no space", "the-state"),
    Rule("AtelierDiskFills", f"{DISK} > 0.85", "10m", "ticket",
         "A disk of {{ $labels.instance }} is nearly full", "a-machine-is-full"),
    Rule("AtelierMemoryFills", f"{MEMORY} > 0.9", "10m", "ticket",
         "The memory of {{ $labels.instance }} is nearly full", "a-machine-is-full"),
    Rule("AtelierEngineFails", f"{per_second(BROKEN, 'engine', '5m')} > 0.1", "5m", "page",
         "The engine {{ $labels.engine }} fails", "an-engine-fails"),
    Rule("AtelierTritonRestarts", "sum(increase(atelier_triton_restarts_total[15m])) > 3", "0m", "ticket",
         "Triton was restarted more than three times in a quarter of an hour", "an-engine-fails"),
    Rule("AtelierJobsWait",
         f"{quantile(0.95, 'atelier_job_wait_seconds', 'lane', window='15m')} > 600"
         " or max by (lane) (atelier_jobs_oldest_seconds) > 600", "5m", "ticket",
         "Jobs of the lane {{ $labels.lane }} wait longer than ten minutes", "jobs-wait"),
    Rule("AtelierNoWorker", f"({per_second('atelier_worker_beats_total', window='2m')} or vector(0)) == 0", "2m",
         "page",
         "No worker takes jobs", "jobs-wait"),
    Rule("AtelierWorkersDie", "sum(increase(atelier_jobs_recovered_total[1h])) > 3", "0m", "ticket",
         "More than three workers died in an hour", "jobs-wait"),
    Rule("AtelierStandIns", "max by (service) (atelier_breaker_open) > 0", "5m", "ticket",
         "{{ $labels.service }} is left alone, others stand in", "stand-ins-serve"),
    Rule("AtelierQualityDrifts",
         f"abs({mean_of_both('atelier_svg_quality_prediction_error_ratio', window='1d')}) > 0.05", "1h", "ticket",
         "Predicted quality of SVGs is off by more than 0.05 on average", "quality-drifts"),
    Rule("AtelierWebhooksFail", 'sum(increase(atelier_webhooks_total{outcome="failed"}[1h])) > 10', "0m", "ticket",
         "More than ten webhooks were given up in an hour", "webhooks-fail"),
    Rule("AtelierGpuFull", f"{GPU_USED} / {GPU_THERE} > 0.95", "10m", "ticket",
         "The memory of the GPU {{ $labels.gpu_uuid }} is nearly full", "a-gpu-is-full"),
)  # fmt: skip
