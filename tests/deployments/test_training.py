"""Engines trained every week (D-091): the script that the timer and the CronJob run, and their definitions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from image_recipe import FOLDER, Copy, Recipe, copies

from serve.settings import HOME

SCRIPT = HOME / "deployments" / "train-engines"
UNITS = HOME / "deployments" / "systemd"
CRON = HOME / "deployments" / "kubernetes" / "training" / "cronjob.yaml"
PARSED = "import sys; from {0} import app; from typer.main import get_command; " + (
    "command = get_command(app)\nfor name in sys.argv[1].split(): command = command.get_command(None, name)\n"
    "command.make_context('', sys.argv[2:])"
)


def run_script(folder: Path, added: str, refused: str = "none") -> subprocess.CompletedProcess[str]:
    """Runs the script with stand-ins that record their arguments; `add` prints ``added``."""
    for name, text in {
        "python": 'mkdir -p "$(echo "$*" | sed \'s/.*--repository \\([^ ]*\\).*/\\1/\')"',
        "atelier": f'[ "$2" != add ] || printf "{added}"; [ "$2 $3" != "load {refused}" ]',
    }.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{text}\n')
        path.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(folder)}
    (folder / "deployments").mkdir(exist_ok=True)
    script = shutil.copy(SCRIPT, folder / "deployments")
    return subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60)


def calls(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


def loads(folder: Path) -> list[list[str]]:
    return [words[3:] for words in calls(folder) if words[1:3] == ["models", "load"]]


def test_commands_exist(tmp_path: Path) -> None:
    assert run_script(tmp_path, "quality 2").returncode == 0
    for program, *words in calls(tmp_path):
        if program == "python":
            assert words[:2] == ["-m", "build_engines"]
            module, names, arguments = "build_engines.cli", words[2], words[3:]
        else:
            module, names, arguments = "serve.cli.main", " ".join(words[:2]), words[2:]
            if words[1] == "add":
                arguments = [str(tmp_path)]  # its own folder is gone
        done = subprocess.run(
            [sys.executable, "-c", PARSED.format(module), names, *arguments],
            cwd=HOME, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (names, arguments, done.stderr)


def test_new_versions_are_loaded_and_none_is_promoted(tmp_path: Path) -> None:
    done = run_script(tmp_path, r"tier1 2\nquality 3\n", refused="tier1")
    assert done.returncode == 1, "one was refused"
    assert loads(tmp_path) == [["quality", "3"], ["tier1", "2"]]
    assert not list(tmp_path.glob("tmp.*"))


def test_refused_version_is_loaded_again_until_a_newer_one(tmp_path: Path) -> None:
    assert run_script(tmp_path, r"tier1 2\nquality 3\n", refused="tier1").returncode == 1
    (tmp_path / "calls").unlink()
    assert run_script(tmp_path, r"tier1 10\n", refused="tier1").returncode == 1
    assert loads(tmp_path) == [["tier1", "10"]]
    (tmp_path / "calls").unlink()
    assert run_script(tmp_path, "").returncode == 0
    assert loads(tmp_path) == [["tier1", "10"]]
    (tmp_path / "calls").unlink()
    assert run_script(tmp_path, "").returncode == 0
    assert loads(tmp_path) == []


def test_week_without_new_versions_succeeds(tmp_path: Path) -> None:
    assert run_script(tmp_path, "").returncode == 0
    assert len(calls(tmp_path)) == 2


def values(unit: str, name: str) -> list[str]:
    lines = (UNITS / unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def test_timers_service_has_the_stacks_properties() -> None:
    for name in ("User", "Group", "WorkingDirectory", "EnvironmentFile", "StateDirectory", "StateDirectoryMode"):
        assert values("atelier-train.service", name) == values("atelier.service", name), name
    assert values("atelier-train.service", "ExecStart") == [f"/opt/atelier/{SCRIPT.relative_to(HOME)}"]
    assert values("atelier-train.timer", "WantedBy") == ["timers.target"]
    assert values("atelier-train.timer", "OnCalendar")[0].startswith("Sun ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_verifies_both_units(tmp_path: Path) -> None:
    for name in ("atelier-train.service", "atelier-train.timer"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(re.sub("(?m)^ExecStart=.*", f"ExecStart={sys.executable}", text))
    units = sorted(tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "atelier" in line]) == (0, [])


def test_cron_job_matches_kubernetes_schemas_and_the_scripts_needs() -> None:
    claim, network, job = yaml.safe_load_all(CRON.read_text())
    for document in (claim, network, job):
        kubernetes_validate.validate(document, "1.33", strict=True)
    (nodes, *_) = yaml.safe_load_all((CRON.parents[1] / "network.yaml").read_text())
    assert network["spec"]["egress"] == nodes["spec"]["egress"]
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert network["spec"]["podSelector"]["matchLabels"] == labels
    assert job["spec"]["schedule"].split()[-1] == "0", "every week"
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    recipe = Recipe(FOLDER / "cpu.Dockerfile")
    assert container["image"] == f"atelier-train:{recipe.arguments()['VERSION']}"
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    settings = yaml.safe_load((CRON.parents[1] / "config.yaml").read_text())["data"]
    assert mounts["models"] == settings["ATELIER_VECTORIZER__MODEL_REPOSITORY"]
    assert mounts["training"] == "/opt/atelier/var"
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {"atelier-models", claim["metadata"]["name"]}


def test_image_has_the_script_and_its_training_packages() -> None:
    stage = Recipe(FOLDER / "cpu.Dockerfile").stages["train"]
    instructions = dict(stage)
    assert instructions["ENTRYPOINT"].endswith(f'"/opt/atelier/{SCRIPT.relative_to(HOME)}"]')
    assert instructions["USER"] == "10001:10001"
    assert {Copy((f"{name}/",), f"{name}/") for name in ("build_engines", "deployments")} <= set(copies(stage))
    runs = " ".join(value for name, value in stage if name == "RUN")
    assert ".[build]" in runs
    assert " npm " in runs, "which brings the icons"
