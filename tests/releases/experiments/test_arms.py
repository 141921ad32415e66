"""Assignment of users to arms (A-102): stable for a user, proportional to the weights, and recorded once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from arms import MODELS, STEPS, experiment, exposed, with_experiments
from illustrator_standin import IllustratorStandIn, family
from jobs_standin import with_settings
from standin import StandIn

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest
from serve.errors import EngineLost, InvalidRequest
from serve.jobs.direct.service import Caller, DirectService
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.queue.views import JobViews
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.releases.experiments.assignment import Experiments, assign_arm
from serve.releases.flags import Flags
from serve.settings import ExperimentSettings
from serve.state import State
from serve.state.job_states import COMPLETED

FAMILIES = (family("mini"), family("turbo", 96, samplers=("euler",)))
USERS = [f"user-{i}" for i in range(4000)]
QUICK = {"poll_s": 0.01, "beat_s": 0.05, "lease_s": 0.5, "progress_s": 0.0, "retry_s": 0.01}


def test_users_are_split_by_weights_and_stay_in_their_arm() -> None:
    uneven = experiment({"arms": {"a": {"weight": 1}, "b": {"weight": 3}}})
    first = {user: assign_arm("x", uneven, user) for user in USERS}
    assert first == {user: assign_arm("x", uneven, user) for user in reversed(USERS)}
    assert abs(Counter(first.values())["b"] / len(USERS) - 0.75) < 4 * (0.75 * 0.25 / len(USERS)) ** 0.5
    other = sum(assign_arm("y", uneven, user) == first[user] for user in USERS) / len(USERS)
    assert abs(other - (0.75**2 + 0.25**2)) < 0.04, "independent of another experiment"


async def arms_of(state: State, document: dict[str, Any], options: IllustrateOptions, users: list[str]) -> set[str]:
    settings: dict[str, ExperimentSettings] = {"x": experiment(document)}
    found = Experiments(settings, Flags(state.settings.flags, state.database))
    exposures = [(await found.assign(IllustrateRequest(options), user, FAMILIES, user))[1] for user in users]
    return {exposure.arm for exposure in exposures if exposure is not None}


@pytest.mark.parametrize(
    ("document", "options", "takes_part"),
    [
        (STEPS, IllustrateOptions("fox"), True),
        (STEPS, IllustrateOptions("fox", num_inference_steps=3), False),
        (STEPS, IllustrateOptions("fox", model="mini"), False),
        ({**STEPS, "model": "mini"}, IllustrateOptions("fox", model="mini"), True),
        ({**STEPS, "model": "mini"}, IllustrateOptions("fox"), True),
        ({**STEPS, "model": "turbo"}, IllustrateOptions("fox"), False),
        (MODELS, IllustrateOptions("fox"), True),
        (MODELS, IllustrateOptions("fox", width=96, height=96), True),
        (MODELS, IllustrateOptions("fox", width=184), False),
        (MODELS, IllustrateOptions("fox", sampler="ddim"), False),
        ({"arms": {"a": {}, "b": {"options": {"model": "nowhere"}}}}, IllustrateOptions("fox"), False),
    ],
)
async def test_only_requests_that_every_arm_can_serve_take_part(
    state: State, document: dict[str, Any], options: IllustrateOptions, takes_part: bool
) -> None:
    assert await arms_of(state, document, options, USERS[:20]) == (set(document["arms"]) if takes_part else set())


async def test_flag_selects_participants(state: State) -> None:
    changed = with_experiments(state, {"testers": {"percentage": 0, "users": ["ada"]}})
    settings = {"x": experiment(flag="testers")}
    found = Experiments(settings, Flags(changed.settings.flags, state.database))
    request = IllustrateRequest(IllustrateOptions("fox"))
    assert (await found.assign(request, "ada", FAMILIES, "ada"))[1] is not None
    assert (await found.assign(request, "bob", FAMILIES, "bob"))[1] is None


@pytest.mark.parametrize("options", [{"guidance_scale": -1}, {"num_inference_steps": "many"}, {"sampler": "magic"}])
async def test_invalid_arms_are_refused(state: State, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"experiments\.x\.arms\.b\.options"):
        Experiments({"x": experiment({"arms": {"a": {}, "b": {"options": options}}})}, Flags({}, state.database))


async def test_direct_requests_are_recorded_with_their_arm(state: State) -> None:
    state = with_experiments(state, steps=STEPS)
    illustrator = IllustratorStandIn()
    direct = DirectService(state, illustrator, StandIn(), state.settings)
    request = IllustrateRequest(IllustrateOptions("fox", seed=7))
    first = await direct.draw(request, Caller("ada"))
    again = await direct.draw(request, Caller("ada"))
    assert again.cached
    arm = assign_arm("steps", experiment(), "ada")
    assert illustrator.asked[0].num_inference_steps == (6 if arm == "many" else 8)
    assert first.details["parameters"]["num_inference_steps"] == illustrator.asked[0].num_inference_steps
    illustrator.failure = EngineLost("gone")
    with pytest.raises(EngineLost):
        await direct.draw(IllustrateRequest(IllustrateOptions("fox", seed=8)), Caller("ada"))
    found = await exposed(state.database)
    assert [row[:3] for row in found] == [("steps", arm, "ada")] * 3
    assert [row[3] for row in found[:2]] == [first.generation_id, again.generation_id]
    await direct.close()


async def test_each_anonymous_request_gets_its_own_arm(state: State) -> None:
    state = with_experiments(state, steps=STEPS)
    direct = DirectService(state, IllustratorStandIn(), StandIn(), state.settings)
    for seed in range(16):
        await direct.draw(IllustrateRequest(IllustrateOptions("fox", seed=seed)), Caller())
    assert {row[1] for row in await exposed(state.database)} == {"few", "many"}
    await direct.close()


async def test_repeated_anonymous_request_gets_the_same_arm(state: State) -> None:
    """With any seed, also a random one: the cache is looked up with the arm that draws."""
    state = with_experiments(state, steps=STEPS)
    direct = DirectService(state, IllustratorStandIn(), StandIn(), state.settings)
    for place in range(16):
        for seed in (place, -1, None):
            request = IllustrateRequest(IllustrateOptions(f"fox {place}", seed=seed))
            for _ in range(2):
                await direct.draw(request, Caller(bypass_cache=True))
            assert len({row[1] for row in (await exposed(state.database))[-2:]}) == 1
    assert await direct.cached_answer(IllustrateRequest(IllustrateOptions("fox 3", seed=3)), Caller()) is not None
    await direct.close()


async def test_jobs_get_the_arm_of_their_user(state: State) -> None:
    state = with_experiments(state, steps=STEPS)
    state = State(state.database, state.objects, with_settings(state.settings, jobs=QUICK))
    illustrator = IllustratorStandIn()
    worker = Worker(state, JobExecutor(state, StandIn(), illustrator))
    queue, views = GenerationQueue(state), JobViews(state.database)
    users = ["ada", "bob", "cleo", "dan", "anonymous"]
    ids = {}
    for user in users:
        ids[user] = (await queue.add(IllustrateRequest(IllustrateOptions("fox", seed=7)), JobOptions(user))).ids[0]
    await worker.start()
    async with asyncio.timeout(60):
        for job_id in ids.values():
            while (await views.get(job_id)).status != COMPLETED:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    await worker.close()
    found = {row[2]: row for row in await exposed(state.database)}
    for user in users:
        unit = user if user != "anonymous" else f"request {ids[user]}"
        assert found[user] == ("steps", assign_arm("steps", experiment(), unit), user, ids[user])
        made = (await views.get(ids[user])).details["parameters"]
        assert made["num_inference_steps"] == (6 if found[user][1] == "many" else 8)
