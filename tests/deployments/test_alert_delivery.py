"""An alert on its way to people: Prometheus and Alertmanager with the files of compose.yaml, and a webhook (C-160)."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Request
from http_server import listening
from image_recipe import FOLDER

from loadtests.load.stack import free_ports
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
    done = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_valid_before_and_after_people_are_filled_in(config: Path) -> None:
    """Without them it starts too, and tells nobody."""
    text = config.read_text()
    assert "1 receivers" in checked(config)
    assert "_configs" not in re.sub(r"#.*", "", text)
    filled = re.sub(r"# (?=webhook_configs|email_configs)", "", text).replace("#   -", "  -")
    config.write_text(filled)
    (people,) = yaml.safe_load(filled)["receivers"]
    assert {"name", "webhook_configs", "email_configs"} == set(people)
    checked(config)


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, command
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_an_alert_arrives(config: Path, tmp_path: Path) -> None:
    """By the command of compose.yaml and the configuration that `atelier metrics --prometheus` writes; an alert that
    always fires stands for ours, which tests/dashboards makes fire."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    people = FastAPI()

    @people.post("/told")
    async def tell(request: Request) -> None:
        told.put(await request.json())

    prometheus_port, alertmanager_port = free_ports(2)
    rule = {"alert": "Always", "expr": "vector(1)", "labels": {"severity": "page"}}
    rules = {"groups": [{"name": "atelier", "interval": "1s", "rules": [rule]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(HOME / "deployments" / "prometheus" / "prometheus.yml", tmp_path)
    (tmp_path / "targets").mkdir()
    targets = (FOLDER / "alertmanagers.json").read_text().replace("alertmanager:9093", f"127.0.0.1:{alertmanager_port}")
    (tmp_path / "targets" / "alertmanagers.json").write_text(targets)
    assert json.loads(targets)[0]["targets"] == [f"127.0.0.1:{alertmanager_port}"]
    given = [word for word in SERVICE["command"] if not word.startswith(("--config.file", "--storage.path"))]
    with listening(people) as address:
        text = config.read_text()
        assert WEBHOOK in text
        config.write_text(text.replace(WEBHOOK, f'webhook_configs: [{{url: "http://{address}/told"}}]'))
        with (
            running("prometheus-alertmanager", f"--config.file={config}", f"--storage.path={tmp_path}/alertmanager",
                    f"--web.listen-address=127.0.0.1:{alertmanager_port}", *given),
            running("prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
                    f"--web.listen-address=127.0.0.1:{prometheus_port}", "--rules.alert.resend-delay=1s"),
        ):  # fmt: skip
            arrived = told.get(timeout=90)
    assert [(one["status"], one["labels"]["alertname"]) for one in arrived["alerts"]] == [("firing", "Always")]
    assert arrived["receiver"] == "people"
