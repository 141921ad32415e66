"""The package webuiapi, in an environment of its own (`make clients`), against the endpoints on a real socket."""

from __future__ import annotations

import pytest
from client_checks import checked
from illustrator_standin import IllustratorStandIn
from programs.http_server import listening
from standin import StandIn

from serve.api.app import create_app
from serve.settings import Settings


@pytest.mark.slow
def test_webuiapi_package() -> None:
    """Lists, pictures, models, unimplemented routes, progress and interruption; sync and async."""
    illustrator = IllustratorStandIn()
    illustrator.step_s = 0.005
    with listening(create_app(StandIn(), Settings(), illustrator=illustrator)) as address:
        assert len(checked("webuiapi_check.py", ".venv-clients", address)) > 30
