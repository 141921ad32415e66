"""OpenAI's own package, from an environment of its own (`make clients`), against the doors on a real socket."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from http_server import listening
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.api.app import create_app
from serve.settings import Settings

CLIENTS = Path(__file__).parents[1] / "clients"
PYTHON_OF_CLIENTS = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"


@pytest.mark.slow
def test_the_package_openai() -> None:
    """Sync, async, streams and errors."""
    assert PYTHON_OF_CLIENTS.exists(), "run `make clients` first"
    with listening(create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())) as address:
        command = [PYTHON_OF_CLIENTS, CLIENTS / "openai_check.py", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) > 15
    assert [key for key, value in told.items() if value is not True] == []
