"""Real workers in processes of their own, forked from one that has imported everything: `python worker_fork_server.py`.

It reads lines: a JSON object {"database", "folder", "repository", "jobs"} once, then ``fork`` for each worker wanted,
and answers with the pid. A worker draws with the real Illustrator on engines that are functions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from pydantic import SecretStr  # noqa: E402
from standin import StandIn  # noqa: E402

from serve.ensembles.illustrator.illustrator import Illustrator  # noqa: E402
from serve.jobs.worker.execution import JobExecutor  # noqa: E402
from serve.jobs.worker.worker import Worker  # noqa: E402
from serve.settings import DatabaseSettings, IllustratorSettings, JobsSettings, Settings  # noqa: E402
from serve.state import State  # noqa: E402
from tests.ensembles.drawn_family import engines  # noqa: E402

STEP_S = 0.004


class SlowEngines(type(engines())):  # type: ignore[misc]
    """A step takes some time, as with real engines, so that a worker can be killed within it."""

    async def infer(self, engine: str, inputs: Any, **options: Any) -> Any:
        answer = await super().infer(engine, inputs, **options)
        await asyncio.sleep(STEP_S if engine.endswith("unet") else 0)
        return answer


def settings_of(order: dict[str, Any]) -> Settings:
    return Settings(
        database=DatabaseSettings(url=SecretStr(order["database"])),
        state_dir=Path(order["folder"]),
        jobs=JobsSettings(**order["jobs"]),
    )


async def work(order: dict[str, Any]) -> None:
    state = await State.open(settings_of(order))
    own = IllustratorSettings(model_repository=Path(order["repository"]))
    slow = SlowEngines(engines().answers)
    worker = Worker(state, JobExecutor(state, StandIn(), Illustrator(own, engines=slow)))
    await worker.start()
    await asyncio.Event().wait()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    for _ in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            asyncio.run(work(order))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
