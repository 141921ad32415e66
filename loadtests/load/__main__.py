"""``python -m loadtests.load callers_10``: one scenario against a running stack, with a report and a verdict.

Writes locust's HTML, CSV and JSON reports to ``var/load`` and exits with 1 when a limit of limits.yaml is exceeded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from loadtests.load.scenario import Scenario, broken, limits, outcome, scenarios

ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 180


def command(scenario: Scenario, url: str, grpc_address: str, tier: str, report: Path) -> list[str]:
    """Locust, headless; failures are judged by the limits and not by its exit status."""
    users = ["--users", str(scenario.callers), "--spawn-rate", str(scenario.spawn_rate)]
    doors = ["--http-weight", str(scenario.http), "--grpc-weight", str(scenario.grpc), "--grpc-address", grpc_address]
    reports = ["--html", f"{report}.html", "--csv", str(report), "--json-file", str(report), "--only-summary"]
    run = ["--headless", "--run-time", f"{scenario.run_time_s}s", "--stop-timeout", "60", "--host", url]
    run += ["--exit-code-on-error", "0"]
    users_file = str(Path(__file__).with_name("users.py"))
    return [sys.executable, "-m", "locust", "-f", users_file, *run, *users, *doors, "--tier", tier, *reports]


def main() -> None:
    known = scenarios()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=sorted(known), help="see loadtests/load/scenarios.yaml")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the HTTP door")
    parser.add_argument("--grpc", default="127.0.0.1:9000", help="the gRPC door")
    parser.add_argument("--tier", default="auto")
    parser.add_argument("--reports", type=Path, default=ROOT / "var" / "load")
    arguments = parser.parse_args()
    scenario = known[arguments.scenario]
    arguments.reports.mkdir(parents=True, exist_ok=True)
    report = arguments.reports / scenario.name
    line = command(scenario, arguments.url, arguments.grpc, arguments.tier, report)
    subprocess.run(line, check=True, timeout=scenario.run_time_s + GRACE_S, cwd=ROOT)
    found = outcome(json.loads(Path(f"{report}.json").read_text()))
    reasons = broken(found, limits(scenario.name))
    print(
        f"{scenario.name}: {found.requests} requests, {found.requests_per_second:.1f}/s, p50 {found.p50_ms:.0f} ms, "
        f"p95 {found.p95_ms:.0f} ms, {found.failures} failed; report: {report}.html"
    )
    if reasons:
        sys.exit(f"limits exceeded: {'; '.join(reasons)}")


if __name__ == "__main__":
    main()
