"""Prometheus on one host: the commands of the document, and what Prometheus reads after them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest
from programs.prometheus_server import listening
from test_systemd import values, variables

from serve.observability.dashboards.alerts import RULES
from serve.observability.metrics.prometheus import ALERTMANAGERS, TARGETS, write_targets
from serve.observability.metrics.prometheus import RULES as RULES_FILE
from serve.settings import HOME

DOCUMENTS = sorted((HOME / "docs").glob("*.md"))
ETC = "/etc/prometheus/"
READ = ("prometheus.yml", RULES_FILE, "targets", *TARGETS, *ALERTMANAGERS)
NODE = {"NodeManagerAddress": "127.0.0.1", "MetricsExportPort": 1, "Alive": True}


def commands() -> list[str]:
    """The commands of the document's block that prepare files."""
    text = (HOME / "docs" / "DEPLOYMENT.md").read_text()
    block = text.partition("### Prometheus on one host")[2].split("```")[1]
    return [line for line in block.splitlines() if line.startswith(("install ", "ln "))]


def metrics_file() -> Path:
    return Path(variables()["ATELIER_METRICS_FILE"])


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """/etc/prometheus after these commands, on a host where Atelier's unit runs."""
    (tmp_path / ETC[1:]).mkdir(parents=True)
    for command in commands():
        inside = re.sub(r"(?<= )/(?=etc/|run/)", f"{tmp_path}/", command)
        subprocess.run(["bash", "-ec", inside], check=True, cwd=HOME, timeout=60)
    write_targets(tmp_path / str(metrics_file())[1:], [NODE], 2)
    return tmp_path / ETC[1:]


@pytest.mark.prometheus
def test_prometheus_reads_the_prepared_files(etc: Path, tmp_path: Path) -> None:
    assert shutil.which("promtool"), "run `make prometheus` first: it installs Debian's packages"
    config = etc / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={etc}/data"]
    with listening(command, tmp_path / "log") as url:
        assert scraped_targets(url) == {"http://127.0.0.1:1/metrics", "http://127.0.0.1:2/metrics"}


def scraped_targets(url: str, limit_s: float = 60.0) -> set[str]:
    """The URLs that Prometheus scrapes, as soon as there are any."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/api/v1/targets", timeout=5).raise_for_status()
            found = answer.json()["data"]["activeTargets"]
        except httpx.HTTPError:  # not there yet, or not ready: 503
            found = []
        if found:
            return {one["scrapeUrl"] for one in found}
        time.sleep(0.2)
    raise AssertionError(f"nothing was scraped within {limit_s:g} s")


def test_prometheus_user_can_read_the_units_file() -> None:
    """systemd's default mode of a runtime directory is 0755."""
    assert str(metrics_file().parent) == f"/run/{values('RuntimeDirectory')[0]}"
    assert values("RuntimeDirectoryMode") == values("UMask") == []


def test_document_copies_only_files_that_prometheus_reads() -> None:
    named = {one for path in DOCUMENTS for one in re.findall(rf"{ETC}([\w./*-]*[\w*])", path.read_text())}
    assert {"prometheus.yml", RULES_FILE} <= named
    assert {one for one in named if not any(fnmatch(one, known) for known in READ)} == set()
