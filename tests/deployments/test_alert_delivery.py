"""Delivery of an alert: Prometheus and Alertmanager with the files of compose.yaml, and a webhook (C-160)."""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Request
from image_recipe import FOLDER
from programs import http_server
from programs.prometheus_server import listening

from serve.settings import HOME

WEBHOOK = '# webhook_configs: [{url: "https://HOST/PATH"}]'
SERVICE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["alertmanager"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """What make-secrets writes for Alertmanager."""
    subprocess.run([FOLDER / "make-secrets", tmp_path], check=True, timeout=60)
    return tmp_path / "secrets" / "alertmanager.yml"


def checked(path: Path) -> str:
    assert shutil.which("amtool"), "run `make prometheus` first: it installs Debian's package"
    done = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_config_is_valid_with_and_without_receivers(config: Path) -> None:
    """Without receivers Alertmanager starts too, and sends nothing."""
    text = config.read_text()
    assert "1 receivers" in checked(config)
    assert "_configs" not in re.sub(r"#.*", "", text)
    filled = re.sub(r"# (?=webhook_configs|email_configs)", "", text).replace("#   -", "  -")
    config.write_text(filled)
    (people,) = yaml.safe_load(filled)["receivers"]
    assert {"name", "webhook_configs", "email_configs"} == set(people)
    checked(config)


@pytest.mark.prometheus
def test_alert_reaches_the_webhook(config: Path, tmp_path: Path) -> None:
    """By the command of compose.yaml and the configuration that `atelier metrics --prometheus` writes. An alert that
    always fires stands for ours, which are tested in tests/observability/dashboards."""
    received: queue.Queue[dict[str, Any]] = queue.Queue()
    people = FastAPI()

    @people.post("/told")
    async def receive(request: Request) -> None:
        received.put(await request.json())

    rule = {"alert": "Always", "expr": "vector(1)", "labels": {"severity": "page"}}
    rules = {"groups": [{"name": "atelier", "interval": "1s", "rules": [rule]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(HOME / "deployments" / "prometheus" / "prometheus.yml", tmp_path)
    given = [word for word in SERVICE["command"] if not word.startswith(("--config.file", "--storage.path"))]
    alertmanager = [f"--config.file={config}", f"--storage.path={tmp_path}/alertmanager", *given]
    prometheus = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with http_server.listening(people) as address:
        text = config.read_text()
        assert WEBHOOK in text
        config.write_text(text.replace(WEBHOOK, f'webhook_configs: [{{url: "http://{address}/told"}}]'))
        with listening(["prometheus-alertmanager", *alertmanager], tmp_path / "alertmanager.log") as url:
            write_targets(url.removeprefix("http://"), tmp_path / "targets")
            command = ["prometheus", *prometheus, "--rules.alert.resend-delay=1s"]
            with listening(command, tmp_path / "prometheus.log"):
                arrived = received.get(timeout=90)
    assert [(one["status"], one["labels"]["alertname"]) for one in arrived["alerts"]] == [("firing", "Always")]
    assert arrived["receiver"] == "people"


def write_targets(address: str, targets: Path) -> None:
    """Writes the file by which Prometheus in compose.yaml finds Alertmanager."""
    text = (FOLDER / "alertmanagers.json").read_text().replace("alertmanager:9093", address)
    assert json.loads(text)[0]["targets"] == [address]
    targets.mkdir()
    (targets / "alertmanagers.json").write_text(text)
