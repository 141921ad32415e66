"""How many replicas are wanted (A-113, B-054, D-090): by work and not by probes; and the value given to Ray Serve."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve.cluster.autoscaling import ONGOING_REQUESTS, WANTED_WORKERS, by_ongoing_requests, by_queue, replicas
from serve.errors import InvalidRequest
from serve.settings import AutoscalingSettings, load


def context(metrics: dict[str, dict[str, float]] | None = None, **told: Any) -> Any:
    base = {"current_num_replicas": 2, "target_num_replicas": 2, "total_queued_requests": 0.0}
    config = SimpleNamespace(target_ongoing_requests=4.0)
    return SimpleNamespace(aggregated_metrics=metrics, config=config, **base | told)


def test_turns_of_all_replicas_and_what_waits_for_one_are_counted() -> None:
    assert by_ongoing_requests(context({ONGOING_REQUESTS: {"a": 6.0, "b": 2.0}}, total_queued_requests=4.0))[0] == 3.0


def test_probes_keep_nothing_awake() -> None:
    """Ray Serve counts them as ongoing; a replica without a used slot wants no replicas."""
    assert (
        by_ongoing_requests(context({ONGOING_REQUESTS: {"a": 0.0}}, current_num_replicas=1, total_num_requests=9.0))[0]
        == 0
    )


def test_a_replica_that_starts_is_not_taken_back() -> None:
    """Its caller may have disconnected: the next one finds it."""
    assert by_ongoing_requests(context(None, current_num_replicas=0, target_num_replicas=1))[0] == 1


def test_workers_follow_the_queue_that_all_of_them_see() -> None:
    assert by_queue(context({WANTED_WORKERS: {"a": 3.0, "b": 2.6}}))[0] == 3.0


def test_workers_that_say_nothing_stay() -> None:
    """The database is unavailable, or the first replica has only just begun."""
    assert by_queue(context(None, target_num_replicas=2))[0] == 2
    assert by_queue(context({}, target_num_replicas=2))[0] == 2


def test_as_many_as_ever_need_no_policy() -> None:
    assert replicas(AutoscalingSettings(), 2, 2, 8) == {"num_replicas": 2}
    assert replicas(AutoscalingSettings(max_per_machine=1), 2, 2, 8)["max_replicas_per_node"] == 1


@pytest.mark.ray
def test_ray_serve_takes_what_it_is_told() -> None:
    from ray.serve.config import AutoscalingConfig

    own = AutoscalingSettings(downscale_to_zero_delay_s=7, look_back_period_s=3)
    told = AutoscalingConfig(**replicas(own, 0, 3, 8, by_ongoing_requests)["autoscaling_config"])
    assert (told.min_replicas, told.initial_replicas, told.max_replicas) == (0, 1, 3)
    assert (told.target_ongoing_requests, told.downscale_to_zero_delay_s, told.look_back_period_s) == (8, 7, 3)
    assert told.policy.get_policy()(context({ONGOING_REQUESTS: {"a": 8.0}}))[0] == 2.0


@pytest.mark.ray
def test_a_spare_replica_raises_what_it_begins_with() -> None:
    """D-091: `atelier deploy` adds one to the minimum for a while, whatever the settings' initial number is."""
    from ray.serve.config import AutoscalingConfig

    own = AutoscalingSettings(initial_replicas=1)
    for fewest in (1, 2):
        told = AutoscalingConfig(**replicas(own, fewest, fewest + 2, 8)["autoscaling_config"])
        assert (told.min_replicas, told.initial_replicas) == (fewest, fewest)


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        ("vectorizer", {"min_replicas": 3, "max_replicas": 2}, "min_replicas"),
        ("illustrator", {"max_replicas": 2, "autoscaling": {"initial_replicas": 3}}, "initial_replicas"),
        ("illustrator", {"autoscaling": {"metrics_interval_s": 10, "look_back_period_s": 10}}, "look_back_period_s"),
        ("gateway", {"min_replicas": 0}, "greater than or equal to 1"),
        ("jobs", {"workers": 2, "max_workers": 1}, "max_workers"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(section: str, values: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        load(**{section: values})
