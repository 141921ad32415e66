"""The GitHub workflow (C-132): it matches the schema and runs the project's own command; it was never run here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serve.settings import HOME

SCHEMA = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/github-workflows.json").read_text())
WORKFLOW: dict[str, Any] = yaml.safe_load((HOME / ".github" / "workflows" / "ci.yaml").read_text())
TEST, DEPLOY = WORKFLOW["jobs"]["test"], WORKFLOW["jobs"]["deploy"]
VERSION = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["version"]


def test_workflow_matches_the_schema() -> None:
    validator = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    validator.validate(WORKFLOW)
    assert not validator.is_valid(WORKFLOW | {"jobz": {}}), "it would find something"


def test_tests_run_on_every_push_and_pull_request() -> None:
    assert {"push", "pull_request"} <= set(WORKFLOW["on"])
    command = TEST["steps"][-1]["run"]
    assert os.access(HOME / command, os.X_OK)
    limit = re.search(r"timeout --kill-after=60 (\d+)", (HOME / command).read_text())
    assert limit is not None
    assert TEST["timeout-minutes"] * 60 > int(limit[1]) + 60


def test_only_the_deploy_job_may_write_packages() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in TEST
    assert DEPLOY["permissions"] == {"contents": "read", "packages": "write"}
    assert (DEPLOY["needs"], DEPLOY["if"]) == ("test", "github.ref_type == 'tag'")


def test_actions_have_versions() -> None:
    used = [step["uses"] for job in (TEST, DEPLOY) for step in job["steps"] if "uses" in step]
    assert len(used) > 3
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", one)] == []


def test_both_images_are_pushed() -> None:
    built = {one["dockerfile"] for one in DEPLOY["strategy"]["matrix"]["include"]}
    assert built == {str(path.relative_to(HOME)) for path in (HOME / "deployments" / "docker").glob("*.Dockerfile")}


@pytest.mark.parametrize(("tag", "code"), [(f"v{VERSION}", 0), ("v999.0", 1)])
def test_tag_must_be_the_projects_version(tmp_path: Path, tag: str, code: int) -> None:
    (step,) = (step for step in DEPLOY["steps"] if "run" in step)
    output = tmp_path / "output"
    output.touch()
    env = {
        "GITHUB_REF_NAME": tag,
        "GITHUB_REPOSITORY": "Some/Atelier",
        "GITHUB_OUTPUT": str(output),
        "SUFFIX": "-gpu",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=HOME, env={"PATH": os.environ["PATH"], **env},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert output.read_text() == ("" if code else f"name=ghcr.io/some/atelier-gpu:{VERSION}\n")
