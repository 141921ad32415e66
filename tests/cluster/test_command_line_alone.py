"""`atelier vectorize` without a running stack: the Vectorizer, with its Triton, in the command's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.load.stack import free_ports

pytestmark = pytest.mark.triton

SAMPLE = Path(__file__).parents[2] / "docs" / "media" / "sample.png"


def test_without_a_stack(tmp_path: Path) -> None:
    """From any folder."""
    patient = {f"ATELIER_VECTORIZER__{name}_S": "300" for name in ("TIMEOUT", "TRACE_TIMEOUT", "ENGINE_START_TIMEOUT")}
    environment = {**os.environ, **patient, "ATELIER_HTTP__PORT": str(free_ports(1)[0])}
    command = [sys.executable, "-m", "serve.cli.main", "vectorize", str(SAMPLE), "-o", "out.svg"]
    command += ["--validate", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["ai_metadata"]
    assert told["degraded"] == []
    assert told["actual_quality"] > 0.97
    assert (tmp_path / "out.svg").read_text().startswith("<svg")


def test_a_start_that_fails_ends_the_command(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "ATELIER_HTTP__PORT": str(free_ports(1)[0]),
        "ATELIER_VECTORIZER__MODEL_REPOSITORY": str(tmp_path),
    }
    command = [sys.executable, "-m", "serve.cli.main", "vectorize", str(SAMPLE), "-o", str(tmp_path / "out.svg")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "image_features" in done.stderr
    assert "Traceback" not in done.stderr
