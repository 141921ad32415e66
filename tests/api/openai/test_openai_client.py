"""Third-party clients of OpenAI's API, in environments of their own (`make clients`), on a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_checks import checked
from illustrator_standin import IllustratorStandIn
from programs.erring import ERRORS, Erring
from programs.http_server import listening, listening_with_state
from standin import StandIn

from serve.api.app import create_app
from serve.settings import Settings

pytestmark = pytest.mark.slow


def test_openai_package() -> None:
    """Sync, async, streams, edits and bad values."""
    with listening(create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())) as address:
        assert len(checked("openai_check.py", ".venv-clients", address)) > 20


def test_openai_package_errors_and_retries(tmp_path: Path) -> None:
    """Three attempts for retryable errors, one for others; a retry after a disconnect gets the drawing that was
    started."""
    studio = Erring()
    with listening_with_state(Settings(state_dir=tmp_path), studio) as address:
        assert len(checked("openai_errors_check.py", ".venv-clients", address)) > 15
    again = {"TooManyRequests", "Overloaded", "DeadlineExceeded"}
    twice = {"Unauthorized", "TooManyRequestsToday", "EngineFailure"}
    others = {"once Overloaded": 2, "late EngineFailure": 1, "slow apple": 1}
    for name, times in studio.times.items():
        assert times == others.get(name, 3 if name in again else 2 if name in twice else 1), name
    assert others.keys() | again | twice < studio.times.keys()


def test_litellm_package(tmp_path: Path) -> None:
    studio = Erring()
    with listening_with_state(Settings(state_dir=tmp_path), studio) as address:
        assert len(checked("litellm_check.py", ".venv-litellm", address)) > 10
    again = {"Overloaded", "DeadlineExceeded"}
    assert {name: studio.times[name] for name in ERRORS if name in studio.times} == {
        name: 3 if name in again else 1 for name in ERRORS if name in studio.times
    }
    assert again < studio.times.keys()
