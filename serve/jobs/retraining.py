"""Jobs of the kind `retrain`: one step of the continuous learning, with the training in a process of its own.

Serving has no torch. The training runs ``python -m build_engines retrain quality`` by the interpreter that
`vectorizer.learning.python` names, with low priority, and lays its version beside the others only when it is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serve.ensembles.requests import Outcome, RetrainRequest
from serve.ensembles.vectorizer.vectorization import QUALITY
from serve.errors import Conflict, DeadlineExceeded, Unsupported
from serve.jobs.quality_samples import export_samples
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.releases.rollouts import learning
from serve.releases.rollouts.shadow import ShadowClient
from serve.settings import Settings, python_environment
from serve.state import State
from serve.state.job_states import TERMINAL
from serve.state.tables import generations

USER = "site"
"""Whose jobs those are that the schedule adds."""
NICENESS = 15
_MAX_OUTPUT = 64 * 1024
_WRITTEN = re.compile(rf"^{QUALITY}/(\d+):", re.MULTILINE)
_REFUSED = re.compile(r"^refused: (.*)$", re.MULTILINE)

Train = Callable[[Settings, Path], Awaitable[str]]
"""From the settings and a file of samples to the name of the new version. Raises Conflict with reasons against it."""


async def add_if_due(state: State) -> None:
    """Adds a job where there is a step to do, unless one waits or runs."""
    step = await learning.next_step(state)
    g = generations.c
    query = sa.select(sa.func.count()).select_from(generations)
    async with state.database.read() as connection:
        there = await connection.scalar(query.where(g.kind == RetrainRequest.kind, g.status.not_in(TERMINAL)))
    if step.act != "wait" and not there:
        await GenerationQueue(state).add(RetrainRequest(), JobOptions(user_id=USER, priority=-1))


async def retrain(state: State, client: ShadowClient, train: Train | None = None) -> Outcome:
    """One step, and what it was. ``client`` reaches the engine that serves, for its shadow.

    Raises Conflict for a retrained engine that is refused, with the reasons, and the errors of the engine.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    step = await learning.next_step(state)
    if step.act == "shadow":
        step = await learning.shadow_step(state, step, client)
    details: dict[str, Any] = {"act": step.act, "reason": step.reason, "version": step.version}
    if step.act == "train":
        with tempfile.TemporaryDirectory(prefix="atelier-retraining-") as folder:
            file = Path(folder) / "samples.npz"
            details["conversions"], _ = await export_samples(state, file)
            version = await (train or train_in_process)(state.settings, file)
        rollout = await learning.begin_trial(state, version)
        details |= {"version": version, "percentage": rollout.percentage}
    else:
        await learning.apply(state, step)
    return Outcome([], {"retraining": details}, QUALITY, loop.time() - began)


async def train_in_process(settings: Settings, samples: Path) -> str:
    """Raises Conflict with the reasons of a refusal, Unsupported without the training's packages, DeadlineExceeded."""
    own = settings.vectorizer.learning
    command = [
        str(own.python or sys.executable), "-m", "build_engines", "retrain", QUALITY, "--samples", str(samples),
        "--repository", str(settings.vectorizer.model_repository), "--preset", own.preset,
        "--epochs", str(own.epochs), "--processes", "1",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", str(NICENESS), *command,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=python_environment(), start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(own.timeout_s):
            output = await _tail(process)
            await process.wait()
    except TimeoutError:
        raise DeadlineExceeded(f"the training was not done within {own.timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if written := _WRITTEN.search(output):
        return written[1]
    if refused := _REFUSED.search(output):
        raise Conflict(f"the retrained engine is refused: {refused[1]}")
    if "No module named" in output:
        raise Unsupported(
            "the training's packages are not there: pip install 'atelier[build]', or name their interpreter in "
            "vectorizer.learning.python"
        )
    raise Conflict(f"the training ended with {process.returncode} and made no version; its log is the worker's")


async def _tail(process: asyncio.subprocess.Process) -> str:
    """The last of what it printed."""
    assert process.stdout is not None
    kept = b""
    while piece := await process.stdout.read(4096):
        kept = (kept + piece)[-_MAX_OUTPUT:]
    return kept.decode("utf-8", "replace")
