"""Redeployment of a running stack with new settings or code, replica by replica. No Ray here.

`atelier deploy` writes a request file beside the stack's record. The stack reads it, runs a process with today's code
that deploys the application again, and writes an outcome file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import subprocess
import time
from pathlib import Path

from serve.cluster.stack import StackRecord, running_stack, state_file
from serve.errors import Conflict, EngineUnavailable
from serve.settings import Settings, module_command

LOGGER = logging.getLogger(__name__)

FIXED = ("http", "grpc", "ray", "dashboard", "proxy", "limits", "gateway")
"""Sections that Ray, HAProxy and all processes read only at start."""


def fixed_digest(settings: Settings) -> str:
    """Digest of the settings that only a restart can change."""
    sections = {name: getattr(settings, name).model_dump(mode="json") for name in FIXED}
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def request_redeployment(settings: Settings, there: StackRecord, config: Path | None, timeout_s: float) -> None:
    """Request a redeployment and wait for it. Raises Conflict for settings that need a restart, EngineUnavailable when
    it fails; then the previous application keeps running."""
    if there.fixed != fixed_digest(settings):
        raise Conflict(f"{', '.join(FIXED)} cannot change while the stack runs: `atelier down`, then `atelier up`")
    request_id = secrets.token_hex(8)
    _request_file(settings).write_text(
        json.dumps({"id": request_id, "config": str(config.resolve()) if config else None})
    )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        outcome = _read(_outcome_file(settings))
        if outcome.get("id") == request_id:
            if outcome["error"]:
                raise EngineUnavailable(f"the stack was not deployed anew: {outcome['error']}")
            return
        if running_stack(settings) is None:
            raise EngineUnavailable("the stack ended meanwhile")
        time.sleep(0.2)
    raise EngineUnavailable(f"the stack was not deployed anew within {timeout_s:g} s; it goes on trying")


def redeploy_if_requested(settings: Settings, address: str) -> None:
    """Handle a pending request, if any; called periodically by the stack's process.

    Errors are logged: the stack keeps serving.
    """
    request_id = _read(_request_file(settings))
    if not request_id:
        return
    try:
        _request_file(settings).unlink()  # first, so that it runs once even if the outcome cannot be written
        error = _redeploy(request_id.get("config"), address, 2 * settings.ray.start_timeout_s)  # it deploys twice
        if error:
            LOGGER.error("not deployed anew: %s", error)
        _outcome_file(settings).write_text(json.dumps({"id": request_id.get("id"), "error": error}))
    except OSError as error:
        LOGGER.error("the outcome of a redeployment cannot be written: %s", error)


def _redeploy(config: str | None, address: str, timeout_s: float) -> str:
    """The error message; empty on success."""
    command = [*module_command("serve.cli.main"), "redeploy", *(["--config", config] if config else [])]
    environment = {**os.environ, "RAY_ADDRESS": address}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout_s:g} s"
    except OSError as error:
        return f"no process could be started: {error}"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"it ended with {done.returncode}")


def clear_requests(settings: Settings) -> None:
    """Remove stale files; called when a stack starts and ends."""
    for path in (_request_file(settings), _outcome_file(settings)):
        path.unlink(missing_ok=True)


def _request_file(settings: Settings) -> Path:
    return state_file(settings).with_suffix(".wish.json")


def _outcome_file(settings: Settings) -> Path:
    return state_file(settings).with_suffix(".outcome.json")


def _read(path: Path) -> dict[str, str]:
    try:
        document: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document
