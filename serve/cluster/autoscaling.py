"""How many replicas Ray Serve is to keep of what. It runs these in its controller, with every metric that they need.

Ray Serve's own rule counts every call, and a probe of health is one: an ensemble that is probed would never sleep.
These count work alone: admitted requests in a replica (`serve.security.limits.admission_queue`), requests that wait
for a replica, jobs in the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve.settings import AutoscalingSettings

Rule = Callable[[Any], tuple[float, dict[str, Any]]]
TURNS = "turns"
"""What a replica of an ensemble reports: calls that work or wait in it."""
WORKERS = "workers"
"""What a worker reports: how many of them the queue could keep busy. All see the same queue."""


def by_ongoing_requests(context: Any) -> tuple[float, dict[str, Any]]:
    """So many that each has its target of calls. ``context`` is Ray Serve's ``AutoscalingContext``."""
    if context.current_num_replicas == 0:
        return context.target_num_replicas, {}  # the first to ask wakes it: Ray Serve does that before it asks us
    turns = sum(_reported(context, TURNS)) + context.total_queued_requests
    return turns / context.config.target_ongoing_requests, {}


def by_queue(context: Any) -> tuple[float, dict[str, Any]]:
    """As many as the workers say. Until one of them says something, as many as there are."""
    wanted = _reported(context, WORKERS)
    return max(wanted) if wanted else context.target_num_replicas, {}


def _reported(context: Any, metric: str) -> list[float]:
    """By the replicas that run, each over the time that is looked back on."""
    return list((context.aggregated_metrics or {}).get(metric, {}).values())


def replicas(
    own: AutoscalingSettings, fewest: int, most: int, target: float, rule: Rule | None = None
) -> dict[str, Any]:
    """Options of a Ray Serve deployment. ``target`` is for settings without one; ``rule``: none counts every call."""
    options: dict[str, Any] = {}
    if own.max_per_machine is not None:
        options["max_replicas_per_node"] = own.max_per_machine
    if fewest == most:
        return options | {"num_replicas": fewest}
    told: dict[str, Any] = {
        "min_replicas": fewest,
        "max_replicas": most,
        "initial_replicas": max(fewest, 1 if own.initial_replicas is None else own.initial_replicas),
        "target_ongoing_requests": own.target_ongoing_requests or max(1.0, target),
        "upscale_delay_s": own.upscale_delay_s,
        "downscale_delay_s": own.downscale_delay_s,
        "downscale_to_zero_delay_s": own.downscale_to_zero_delay_s,
        "metrics_interval_s": own.metrics_interval_s,
        "look_back_period_s": own.look_back_period_s,
        "upscaling_factor": own.upscaling_factor,
        "downscaling_factor": own.downscaling_factor,
    }
    if rule is not None:
        told["policy"] = {"policy_function": f"{rule.__module__}:{rule.__name__}"}
    return options | {"autoscaling_config": told}
