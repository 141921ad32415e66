"""The package webuiapi, from an environment of its own (`make clients`), against the doors on a real socket."""

from __future__ import annotations

import json
import subprocess

import pytest
from http_server import listening
from illustrator_standin import IllustratorStandIn
from standin import StandIn
from test_openai_client import CLIENTS, PYTHON_OF_CLIENTS

from serve.api.app import create_app
from serve.settings import Settings


@pytest.mark.slow
def test_the_package_webuiapi() -> None:
    """Every list, pictures, models, what is not there yet, progress and interruption; sync and async."""
    assert PYTHON_OF_CLIENTS.exists(), "run `make clients` first"
    illustrator = IllustratorStandIn()
    illustrator.step_s = 0.005
    with listening(create_app(StandIn(), Settings(), illustrator=illustrator)) as address:
        command = [PYTHON_OF_CLIENTS, CLIENTS / "webuiapi_check.py", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told) > 30
    assert [key for key, value in told.items() if value is not True] == []
