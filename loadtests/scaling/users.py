"""Locust users that draw, and a load in steps. Run by ``python -m loadtests.benchmarks.scaling``."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, LoadTestShape, constant, events, task

from loadtests.load.callers import ANEW
from loadtests.scaling.steps import drawing, steps_of

PAUSE_S = 1.0
SEEDS = itertools.count(1)
TIMEOUT_S = 120.0


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--steps", default="1x30,12x90,1x120", help="callers x seconds, one step after the other")
    parser.add_argument("--requests-file", default="requests.jsonl", help="a line for every request")


class Drawer(FastHttpUser):  # type: ignore[misc]
    """One picture after the other, each another seed."""

    wait_time = constant(0)
    connection_timeout = TIMEOUT_S
    network_timeout = TIMEOUT_S

    def on_start(self) -> None:
        self.file = Path(self.environment.parsed_options.requests_file).open("a", buffering=1)  # noqa: SIM115 (until on_stop)

    def on_stop(self) -> None:
        self.file.close()

    @task
    def draw(self) -> None:
        began = time.time()
        body, target = drawing(next(SEEDS)), "/v1/images/generations"
        with self.client.post(target, json=body, headers=ANEW, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:120]}")
        self.file.write(json.dumps({"began": began, "ended": time.time(), "status": answer.status_code}) + "\n")
        if answer.status_code != 200:
            time.sleep(PAUSE_S)


class InSteps(LoadTestShape):  # type: ignore[misc]
    """As many callers as each step says, at once; the end after the last."""

    def tick(self) -> tuple[int, float] | None:
        left = self.get_run_time()
        for callers, seconds in steps_of(self.runner.environment.parsed_options.steps):
            left -= seconds
            if left < 0:
                return callers, 100.0
        return None
