"""The alert rules, run by Prometheus' own tool: it reads them, and each fires on the condition it is for."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from serve.cli.main import app
from serve.observability.dashboards.alerts import RULES, rules, to_yaml
from serve.observability.dashboards.boards import BOARDS
from serve.observability.metrics.metric import Histogram

ROOT = Path(__file__).resolve().parents[3]

ERROR = "atelier_svg_quality_prediction_error_ratio"


def predicted(mean: float) -> dict[str, str]:
    """Two drawings a minute for 25 hours. The predictor's error has the mean ``mean`` and a standard deviation of
    0.03."""
    drawn, histogram = random.Random(1), Histogram(ERROR, "", (1.0,), ("direction",))
    series: dict[str, list[str]] = {f'{ERROR}_{part}{{direction="{way}"}}': [] for part in ("sum", "count")
                                   for way in ("above", "below")}  # fmt: skip
    for _ in range(1500):
        for _ in range(2):
            error = drawn.gauss(mean, 0.03)
            histogram.observe(abs(error), "above" if error > 0 else "below")
        for way in ("above", "below"):
            series[f'{ERROR}_sum{{direction="{way}"}}'].append(f"{histogram.sum(way):.5f}")
            series[f'{ERROR}_count{{direction="{way}"}}'].append(f"{histogram.count(way)}")
    return {name: " ".join(values) for name, values in series.items()}


FIRES: dict[str, tuple[dict[str, str], str]] = {
    "AtelierDown": ({'up{job="ray", instance="a"}': "1 1 0x60"}, "10m"),
    "AtelierUnseen": ({'up{job="ray", instance="a"}': "1x60", 'up{job="ray", instance="b"}': "1 0x60"}, "40m"),
    "AtelierFailsFast": (
        {'atelier_requests_total{status="200"}': "0+90x120", 'atelier_requests_total{status="500"}': "0+10x120"}, "90m",
    ),
    "AtelierFailsSlowly": (
        {'atelier_requests_total{status="200"}': "0+97x1600",
         'atelier_requests_total{status="UNAVAILABLE"}': "0+3x1600"},
        "26h",
    ),
    "AtelierOutOfSpace": ({'atelier_refusals_total{reason="OutOfSpace"}': "0+1x30"}, "20m"),
    "AtelierQueues": (
        {f'atelier_queue_wait_seconds_bucket{{ensemble="illustrate", le="{le}"}}': f"0+{n}x30"
         for le, n in (("10", 0), ("30", 10), ("+Inf", 10))}, "20m",
    ),
    "AtelierRefuses": ({'atelier_refusals_total{reason="Overloaded"}': "0+1x30"}, "20m"),
    "AtelierVectorizesSlowly": (
        {f'atelier_ensemble_duration_seconds_bucket{{ensemble="vectorize", le="{le}"}}': f"0+{n}x60"
         for le, n in (("1", 0), ("2.5", 10), ("+Inf", 10))}, "40m",
    ),
    "AtelierDatabaseSlow": (
        {f'atelier_database_transaction_seconds_bucket{{kind="write", le="{le}"}}': f"0+{n}x60"
         for le, n in (("0.1", 0), ("0.25", 10), ("+Inf", 10))}, "40m",
    ),
    "AtelierDatabaseFails": (
        {f'atelier_database_transaction_seconds_count{{kind="{kind}", outcome="{outcome}"}}': f"0+{n}x60"
         for kind, outcome, n in (("read", "ok", 30), ("write", "error", 3))}, "40m",
    ),
    "AtelierStoreFails": (
        {f'atelier_object_store_call_seconds_count{{operation="put", outcome="{outcome}"}}': f"0+{n}x60"
         for outcome, n in (("ok", 10), ("error", 1))}, "40m",
    ),
    "AtelierDiskFills": ({'ray_node_disk_utilization_percentage{instance="a:1"}': "86x60"}, "40m"),
    "AtelierMemoryFills": (
        {'ray_node_mem_used{instance="a:1"}': "91x60", 'ray_node_mem_total{instance="a:1"}': "100x60"}, "40m",
    ),
    "AtelierEngineFails": (
        {'atelier_engine_failures_total{engine="mini_unet", reason="EngineUnavailable"}': "0+60x30"}, "20m",
    ),
    "AtelierTritonRestarts": ({"atelier_triton_restarts_total": "0+1x30"}, "20m"),
    "AtelierJobsWait": (
        {f'atelier_job_wait_seconds_bucket{{lane="slow", le="{le}"}}': f"0+{n}x60"
         for le, n in (("600", 0), ("1800", 10), ("+Inf", 10))}, "50m",
    ),
    "AtelierNoWorker": ({"atelier_worker_beats_total": "0+30x5 150x30"}, "20m"),
    "AtelierWorkersDie": ({"atelier_jobs_recovered_total": "0+1x60"}, "50m"),
    "AtelierStandIns": ({'atelier_breaker_open{service="illustrate"}': "1x30"}, "20m"),
    "AtelierQualityDrifts": (
        predicted(-0.08), "1499m",
    ),
    "AtelierWebhooksFail": ({'atelier_webhooks_total{outcome="failed"}': "0+1x60"}, "50m"),
    "AtelierGpuFull": (
        {'nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"}': "97x30",
         'nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"}': "100x30"},
        "20m",
    ),
    "AtelierOverBudget": ({'atelier_cost_cpu_seconds_total{model="mini"}': "0+60x1500"}, "24h"),
}  # fmt: skip
CALM = {
    'up{job="ray", instance="a"}': "1x3000",
    'atelier_requests_total{status="200"}': "0+100x3000",
    'atelier_requests_total{status="422"}': "0+50x3000",
    'atelier_requests_total{status="late"}': "0+50x3000",
    'atelier_requests_total{status="501"}': "0+50x3000",
    'atelier_requests_total{status="507"}': "0+50x3000",
    'atelier_requests_total{status="RESOURCE_EXHAUSTED"}': "0+50x3000",
    'atelier_refusals_total{reason="QuotaExceeded"}': "0+50x3000",
    "atelier_worker_beats_total": "0+30x3000",
    'atelier_queue_wait_seconds_bucket{ensemble="illustrate", le="0.001"}': "0+100x3000",
    'atelier_queue_wait_seconds_bucket{ensemble="illustrate", le="+Inf"}': "0+100x3000",
    'atelier_cost_cpu_seconds_total{model="mini"}': "0+1x3000",
    'atelier_database_transaction_seconds_bucket{kind="write", le="0.1"}': "0+97x3000",
    'atelier_database_transaction_seconds_bucket{kind="write", le="+Inf"}': "0+100x3000",
    'atelier_database_transaction_seconds_count{kind="write", outcome="ok"}': "0+97x3000",
    'atelier_database_transaction_seconds_count{kind="write", outcome="error"}': "0+3x3000",
    'atelier_object_store_call_seconds_count{operation="get", outcome="ok"}': "0+10x3000",
    'atelier_object_store_call_seconds_count{operation="delete", outcome="ok"}': "0+10x3000",
    'ray_node_disk_utilization_percentage{instance="a:1"}': "80x3000",
    'ray_node_mem_used{instance="a:1"}': "85x3000",
    'ray_node_mem_total{instance="a:1"}': "100x3000",
}
"""A site that works, though its users make mistakes."""


def firing_alerts(folder: Path, series: dict[str, str], at: str, of: str = "") -> set[str]:
    """Names of the alerts that Prometheus raises for ``series`` at ``at``, read from promtool's failure message.

    ``of``: this rule alone is evaluated, which is faster.
    """
    evaluated = [rule for rule in rules(budget_per_day=1.0, cpu_hour=0.05) if of in ("", rule.name)]
    (folder / "rules.yml").write_text(to_yaml(evaluated))
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": at, "exp_samples": [{"labels": "none", "value": 1}]}
        ],
    }
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    ran = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    match = re.search(r"got:(.*)", ran.stdout + ran.stderr, re.DOTALL)
    assert match is not None, ran.stdout + ran.stderr
    return set(re.findall(r'alertname="(\w+)"', match[1]))


@pytest.mark.prometheus
def test_prometheus_reads_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(to_yaml(RULES))
    command = ["promtool", "check", "rules", "rules.yml"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert f"{len(RULES)} rules found" in ran.stdout


@pytest.mark.parametrize("rule", rules(1.0), ids=lambda rule: rule.name)
@pytest.mark.prometheus
def test_each_rule_fires_on_its_condition(rule: Any, tmp_path: Path) -> None:
    series, at = FIRES[rule.name]
    assert firing_alerts(tmp_path, series, at, rule.name) == {rule.name}


@pytest.mark.prometheus
def test_healthy_site_fires_no_alert(tmp_path: Path) -> None:
    assert firing_alerts(tmp_path, CALM, "26h") == set()


@pytest.mark.prometheus
def test_unbiased_predictor_fires_no_drift_alert(tmp_path: Path) -> None:
    """Although each single prediction is off, above or below."""
    assert firing_alerts(tmp_path, CALM | predicted(0.002), "1499m", "AtelierQualityDrifts") == set()


@pytest.mark.parametrize("mean", [0.08, -0.08])
@pytest.mark.prometheus
def test_biased_predictor_fires_drift_alert(mean: float, tmp_path: Path) -> None:
    assert firing_alerts(tmp_path, predicted(mean), "1499m", "AtelierQualityDrifts")


def count_series(kind: str, outcome: str, histogram: str = "database_transaction", label: str = "kind") -> str:
    return f'atelier_{histogram}_seconds_count{{{label}="{kind}", outcome="{outcome}"}}'


def of_store(operation: str, outcome: str) -> str:
    return count_series(operation, outcome, "object_store_call", "operation")


@pytest.mark.parametrize("part", ["put", "delete"])
@pytest.mark.prometheus
def test_rare_operation_that_fails_fires_its_own_alert(part: str, tmp_path: Path) -> None:
    """Thirty pictures are read for each one that is stored."""
    series = {of_store(part, "error"): "0+2x60", of_store("get", "ok"): "0+60x60"}
    assert "AtelierStoreFails" in firing_alerts(tmp_path, CALM | series, "40m")
    series = {
        count_series("write", "error"): "0+6x60",
        count_series("write", "ok"): "0x60",
        count_series("poll", "ok"): "0+1800x60",
    }
    assert "AtelierDatabaseFails" in firing_alerts(tmp_path, CALM | series, "40m")


@pytest.mark.prometheus
def test_slow_reads_fire_alert_although_polls_are_fast(tmp_path: Path) -> None:
    """Workers poll for jobs thirty times a second; these polls are fast."""
    name = "atelier_database_transaction_seconds_bucket"
    series = {
        f'{name}{{kind="{kind}", le="{le}"}}': f"0+{n}x60"
        for kind, quick, all_of_them in (("read", 0, 10), ("poll", 1800, 1800))
        for le, n in (("0.1", quick), ("0.25", all_of_them), ("+Inf", all_of_them))
    }
    assert "AtelierDatabaseSlow" in firing_alerts(tmp_path, CALM | series, "40m")


@pytest.mark.prometheus
def test_slow_or_failing_store_deletes_fire_no_database_alert(tmp_path: Path) -> None:
    name = "atelier_database_transaction_seconds_bucket"
    slow = {f'{name}{{kind="delete", le="{le}"}}': f"0+{n}x60" for le, n in (("0.1", 0), ("0.25", 10), ("+Inf", 10))}
    assert firing_alerts(tmp_path, CALM | slow | {count_series("delete", "error"): "0+10x60"}, "40m") == set()


@pytest.mark.prometheus
def test_two_single_failures_fire_no_alert(tmp_path: Path) -> None:
    """Of all puts: each failure is in the window for five minutes, and both together for nine."""
    series = {of_store("put", "error"): "0x20 1x4 2x100", count_series("write", "error"): "0x20 1x4 2x100",
              count_series("write", "ok"): "0x100"}  # fmt: skip
    assert firing_alerts(tmp_path, CALM | series, "28m") == set()


@pytest.mark.parametrize("reason", ["InvalidRequest", "NotFound", "DeadlineExceeded", "TooLarge", "Overloaded"])
@pytest.mark.prometheus
def test_client_errors_fire_no_engine_alert(reason: str, tmp_path: Path) -> None:
    failures = {f'atelier_engine_failures_total{{engine="quality", reason="{reason}"}}': "0+600x3000"}
    assert firing_alerts(tmp_path, CALM | failures, "2h") == set()


@pytest.mark.parametrize(
    ("rule", "oldest"),
    [("AtelierQueues", 'atelier_queue_oldest_seconds{ensemble="illustrate"}'),
     ("AtelierJobsWait", 'atelier_jobs_oldest_seconds{lane="illustrate"}')],
)  # fmt: skip
@pytest.mark.prometheus
def test_queue_that_stands_still_fires_alert(rule: str, oldest: str, tmp_path: Path) -> None:
    """No wait ends, so none is counted: the percentile is of nothing."""
    assert rule in firing_alerts(tmp_path, CALM | {oldest: "0+60x60"}, "40m")


@pytest.mark.prometheus
def test_breaker_with_hanging_trials_fires_alert(tmp_path: Path) -> None:
    """Two scrapes with the breaker open, then four with its trial running, repeated."""
    series = {'atelier_breaker_open{service="illustrate"}': " ".join(["1 1 0.5 0.5 0.5 0.5"] * 10)}
    assert "AtelierStandIns" in firing_alerts(tmp_path, series, "50m")


def test_rule_files_are_up_to_date() -> None:
    """`make docs` writes them."""
    folder = ROOT / "deployments"
    assert (folder / "prometheus" / "rules.yml").read_text() == to_yaml(RULES)
    assert (folder / "kubernetes" / "alerts.yaml").read_text() == to_yaml(RULES, kubernetes=True)
    written = {path.stem: json.loads(path.read_text()) for path in (folder / "grafana").glob("*.json")}
    assert written == {board.uid: board.to_json() for board in BOARDS}


def test_every_rule_has_a_paragraph_in_the_docs() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()
                if line.startswith("#")}  # fmt: skip
    assert {rule.runbook for rule in rules(1.0)} <= headings


def test_budget_rule_needs_a_price() -> None:
    result = CliRunner().invoke(app, ["dashboards", "rules", "--budget-per-day", "5"])
    assert result.exit_code == 2
    assert "--cpu-hour" in result.stderr
    priced = CliRunner().invoke(app, ["dashboards", "rules", "--budget-per-day", "5", "--cpu-hour", "0.04"])
    assert "AtelierOverBudget" in priced.stdout
