"""Autoscaling policies. Ray Serve's controller calls them with the metrics of all replicas.

Ray Serve's own policy counts every call, health probes included, so a probed ensemble would never scale to zero. These
policies count only work: requests admitted in a replica (`serve.security.limits.admission_queue`), requests waiting
for a replica, jobs in the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve.settings import AutoscalingSettings

Rule = Callable[[Any], tuple[float, dict[str, Any]]]
ONGOING_REQUESTS = "turns"
"""Metric of an ensemble's replica: calls that run or wait in it."""
WANTED_WORKERS = "workers"
"""Metric of a worker: number of workers the queue could keep busy. All workers report the same queue."""


def by_ongoing_requests(context: Any) -> tuple[float, dict[str, Any]]:
    """Ongoing calls over the target per replica. ``context`` is Ray Serve's ``AutoscalingContext``."""
    if context.current_num_replicas == 0:
        return context.target_num_replicas, {}  # Ray Serve itself starts a replica for the first waiting call
    turns = sum(_reported(context, ONGOING_REQUESTS)) + context.total_queued_requests
    return turns / context.config.target_ongoing_requests, {}


def by_queue(context: Any) -> tuple[float, dict[str, Any]]:
    """The highest number reported by a worker; without reports the present number."""
    wanted = _reported(context, WANTED_WORKERS)
    return max(wanted) if wanted else context.target_num_replicas, {}


def _reported(context: Any, metric: str) -> list[float]:
    """Values of the running replicas, each aggregated over the look-back period."""
    return list((context.aggregated_metrics or {}).get(metric, {}).values())


def replicas(
    own: AutoscalingSettings, fewest: int, most: int, target: float, rule: Rule | None = None
) -> dict[str, Any]:
    """Scaling options of a Ray Serve deployment. ``target``: default of ``target_ongoing_requests``. ``rule``: policy;
    None uses Ray Serve's own, which counts every call."""
    options: dict[str, Any] = {}
    if own.max_per_machine is not None:
        options["max_replicas_per_node"] = own.max_per_machine
    if fewest == most:
        return options | {"num_replicas": fewest}
    config: dict[str, Any] = {
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
        config["policy"] = {"policy_function": f"{rule.__module__}:{rule.__name__}"}
    return options | {"autoscaling_config": config}
