"""`atelier deploy`: new settings and code for a running stack, replica by replica; and `atelier environment`, what a
node's shell needs before Ray starts."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable
from typing import Any

from serve.cli.database import ConfigOption, err, fail
from serve.cluster import ray_environment, redeployment, stack
from serve.cluster.nodes import with_addresses
from serve.errors import AtelierError, EngineUnavailable, InvalidRequest
from serve.settings import CONFIG_VARIABLE, Settings, load

WAIT_S = 30.0
"""Added to the stack's own limit: time until it reads the request."""


def deploy(config: ConfigOption = None) -> None:
    """Give the running stack its settings and code anew, replica by replica, while it serves."""
    try:
        settings = with_addresses(load(config))
        there = stack.running_stack(settings)
        if there is None:
            raise EngineUnavailable("no stack of these settings is running")
        with err.status(f"Deploying to {there.url}"):
            redeployment.request_redeployment(settings, there, config, 2 * settings.ray.start_timeout_s + WAIT_S)
    except AtelierError as error:
        fail(error)
    err.print("deployed")


def redeploy(config: ConfigOption = None) -> None:
    """Run by a stack in a new process with today's code; see `serve.cluster.redeployment`."""
    try:
        settings = ray_environment.apply(with_addresses(load(config)))
        import ray  # after its environment is set

        from serve.app import compose, new_version, spare_for
        from serve.cli.machine.preparation import ray_working_folder

        with ray_working_folder(settings):
            ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
        version, spare = new_version(), spare_for(settings, ray.available_resources())  # type: ignore[no-untyped-call]
        # First with extra replicas: Ray Serve stops an old replica before its successor is ready.
        run_application(compose(settings, version, spare))
        run_application(compose(settings, version))
    except AtelierError as error:
        fail(error)


def run_application(application: Any) -> None:
    """Deploy and wait until it runs. Raises AtelierError with the reason of a failed deployment."""
    from ray import serve as ray_serve

    from serve.cluster.replicas import APPLICATION

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        ray_serve.run(application, name=APPLICATION)
    except RuntimeError as error:  # Ray Serve's error of a failed deployment, without the reason
        deployments = ray_serve.status().applications[APPLICATION].deployments.values()
        raise AtelierError(f"the application did not start: {reason_in(deployments) or error}") from error


def reason_in(deployments: Iterable[Any]) -> str:
    """The last line of the traceback in a failed deployment's message: its constructor's error."""
    lines = [
        line.strip() for d in deployments for line in d.message.splitlines() if "Error" in line or "serve." in line
    ]
    return lines[-1] if lines else ""


def environment(config: ConfigOption = None) -> None:
    """Print what a node's shell has to evaluate before `ray start`: eval "$(atelier environment)".

    The output holds the token that nodes share: keep it out of logs.
    """
    try:
        print("\n".join(exports(load(config))))
    except AtelierError as error:
        fail(error, 2)


def exports(settings: Settings) -> list[str]:
    """Shell lines. Raises InvalidRequest without ``proxy.token``: a generated one would differ per node."""
    if settings.proxy.token is None:
        reason = "nodes of a cluster need one in common: ATELIER_PROXY__TOKEN=$(openssl rand -hex 16) on each of them"
        raise InvalidRequest(reason, "proxy.token")
    variables = ray_environment.ray_environment(settings)
    if named := os.environ.get(CONFIG_VARIABLE):
        variables[CONFIG_VARIABLE] = named
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
