"""A running stack gets new settings or new code, replica by replica: what the command and the stack tell each other.

`atelier deploy` leaves its wish beside the stack's record. The stack looks there, has the application deployed anew by
a process that loads today's code, and leaves the outcome. No Ray here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from serve.cluster.stack import Running, running, state_file
from serve.errors import Conflict, EngineUnavailable
from serve.settings import Settings

LOGGER = logging.getLogger(__name__)

FIXED = ("http", "grpc", "ray", "dashboard", "proxy", "limits", "gateway")
"""What Ray, HAProxy and every process read once, as they start."""


def fixed_digest(settings: Settings) -> str:
    """Of what only a new start can change."""
    told = {name: getattr(settings, name).model_dump(mode="json") for name in FIXED}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def request_redeployment(settings: Settings, there: Running, config: Path | None, timeout_s: float) -> None:
    """Until the stack has done it. Raises Conflict for settings that need a new start, EngineUnavailable when it fails;
    what ran before then runs on."""
    if there.fixed != fixed_digest(settings):
        raise Conflict(f"{', '.join(FIXED)} cannot change while the stack runs: `atelier down`, then `atelier up`")
    wish = secrets.token_hex(8)
    _wish_file(settings).write_text(json.dumps({"id": wish, "config": str(config.resolve()) if config else None}))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        outcome = _read(_outcome_file(settings))
        if outcome.get("id") == wish:
            if outcome["error"]:
                raise EngineUnavailable(f"the stack was not deployed anew: {outcome['error']}")
            return
        if running(settings) is None:
            raise EngineUnavailable("the stack ended meanwhile")
        time.sleep(0.2)
    raise EngineUnavailable(f"the stack was not deployed anew within {timeout_s:g} s; it goes on trying")


def redeploy_if_requested(settings: Settings, address: str) -> None:
    """In the stack's own process, now and then: what was wished for since the last time, if anything was.

    Whatever comes in between is told and no more: the stack serves on.
    """
    wish = _read(_wish_file(settings))
    if not wish:
        return
    try:
        _wish_file(settings).unlink()  # first: once is enough, also where the outcome cannot be written down
        error = _redeployed(wish.get("config"), address, 2 * settings.ray.start_timeout_s)  # it deploys twice
        if error:
            LOGGER.error("not deployed anew: %s", error)
        _outcome_file(settings).write_text(json.dumps({"id": wish.get("id"), "error": error}))
    except OSError as error:
        LOGGER.error("whoever wished for a deployment is not told: %s", error)


def _redeployed(config: str | None, address: str, timeout_s: float) -> str:
    """What went wrong; nothing when it is done."""
    command = [sys.executable, "-m", "serve.cli.main", "redeploy", *(["--config", config] if config else [])]
    environment = {**os.environ, "RAY_ADDRESS": address}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout_s:g} s"
    except OSError as error:
        return f"no process could be started: {error}"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"it ended with {done.returncode}")


def forget(settings: Settings) -> None:
    """As a stack begins and ends: no other one is meant."""
    for path in (_wish_file(settings), _outcome_file(settings)):
        path.unlink(missing_ok=True)


def _wish_file(settings: Settings) -> Path:
    return state_file(settings).with_suffix(".wish.json")


def _outcome_file(settings: Settings) -> Path:
    return state_file(settings).with_suffix(".outcome.json")


def _read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
