"""What locust runs: the users of one scenario. Started by ``python -m loadtests.load``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
from locust import LoadTestShape, User, constant, events, task

from loadtests.load.arrivals import Arrivals
from loadtests.load.scenario import Scenario, Stage
from loadtests.load.users import USERS
from loadtests.load.users.load_user import LoadUser

MOST_THREADS = 1000

grpc_gevent.init_gevent()
# gRPC waits in threads of gevent's own pool, which has ten: who looks up an address would wait for them.
gevent.get_hub().threadpool.maxsize = MOST_THREADS


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--grpc-address", default="127.0.0.1:9000", help="host:port of the gRPC door")
    parser.add_argument("--key", default="", env_var="ATELIER_ACCESS__KEY", help="an API key", is_secret=True)
    parser.add_argument("--scenario", default="{}", help="a scenario as JSON")
    parser.add_argument("--notes", default="", help="where to write what is counted beside waiting times")


def _scenario(options: Any) -> Scenario:
    definition = json.loads(options.scenario)
    return Scenario(**{**definition, "stages": tuple(Stage(**stage) for stage in definition["stages"])})


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    wanted = _scenario(environment.parsed_options)
    for name in ("steps", "tier", "catalogue", "limit_s"):
        setattr(environment.parsed_options, name, getattr(wanted, name))
    for name, user in USERS.items():
        user.weight = wanted.mix.get(name, 0)


@events.test_start.add_listener
def _begin(**_: Any) -> None:
    LoadUser.notes.began = time.time()


@events.quitting.add_listener
def _keep_notes(environment: Any, **_: Any) -> None:
    if environment.parsed_options.notes:
        LoadUser.notes.write(Path(environment.parsed_options.notes))


class Shape(LoadTestShape):  # type: ignore[misc]
    """The stages of the scenario, one after the other."""

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        wanted = _scenario(self.runner.environment.parsed_options)
        if wanted.per_minute:
            return None if Rate.done else (1, 1.0, [Rate])
        stage = wanted.at(self.get_run_time())
        return None if stage is None else (stage.users, stage.spawn_rate, [USERS[name] for name in wanted.mix])


class Rate(User):  # type: ignore[misc]
    """Stands for all who come at a rate."""

    wait_time = constant(1)
    done = False

    @task
    def come(self) -> None:
        if not Rate.done:
            wanted = _scenario(self.environment.parsed_options)
            Arrivals(self.environment, wanted.mix, wanted.per_minute, wanted.run_time_s).run()
            Rate.done = True


globals().update(USERS)  # locust takes the users that it finds here
