"""The version of a request by direct call and as a job; which version its record and its cache key name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
import sqlalchemy as sa
from replica_rows import write_rollout
from standin import StandIn
from two_versions import HALF, UNET, USERS, Tracing, Versioned

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest, JobRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import Conflict, NotFound, StateUnavailable
from serve.jobs.direct.service import Answer, Caller, DirectService
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.execution import JobExecutor
from serve.releases.experiments.assignment import Exposure, expose
from serve.releases.rollouts.report import compare_versions
from serve.releases.rollouts.site import Rollout
from serve.state import State
from serve.state.tables import exposures, generations

pytestmark = pytest.mark.usefixtures("seen_at_once")


@pytest.fixture
def illustrator() -> Versioned:
    return Versioned()


@pytest.fixture
async def direct(state: State, illustrator: Versioned, tracing: Tracing) -> AsyncIterator[DirectService]:
    made = DirectService(state, illustrator, tracing, state.settings)
    yield made
    await made.close()


def request(prompt: str = "fox", form: str = "png") -> IllustrateRequest:
    return IllustrateRequest(IllustrateOptions(prompt, seed=7), Encoding(form))


def drawn_by(answer: Answer) -> str:
    return str(answer.details["model_versions"][UNET])


async def test_without_rollout_no_version_is_chosen(
    state: State, direct: DirectService, illustrator: Versioned
) -> None:
    await direct.draw(request(), Caller("ada"))
    assert illustrator.asked[0].engine_versions == {}
    async with state.database.read() as connection:
        assert "engine_versions" not in (await connection.scalar(sa.select(generations.c.parameters)))["options"]
        assert await connection.scalar(sa.select(sa.func.count()).select_from(exposures)) == 0


async def test_user_has_one_version_with_its_own_cache(
    state: State, direct: DirectService, illustrator: Versioned
) -> None:
    """D-083: a picture drawn by one version is never returned for the other."""
    await write_rollout(state, HALF)
    first = [drawn_by(await direct.draw(request(user), Caller(user))) for user in USERS]
    assert first == [f"{HALF.version_for(user)}.0" for user in USERS]
    assert set(first) == {"1.0", "2.0"}
    again = [await direct.draw(request(user), Caller(user)) for user in USERS]
    assert [drawn_by(answer) for answer in again] == first
    assert {answer.cache for answer in again} == {"hit"}
    one = next(user for user in USERS if HALF.version_for(user) == "1")
    two = next(user for user in USERS if HALF.version_for(user) == "2")
    assert (await direct.draw(request("same"), Caller(one))).cache == "miss"
    other = await direct.draw(request("same"), Caller(two))
    assert (other.cache, drawn_by(other)) == ("miss", "2.0")
    await write_rollout(state, Rollout(UNET, "1", candidate="2"))
    back = await direct.draw(request("same"), Caller(two))
    assert (back.cache, drawn_by(back)) == ("hit", "1.0"), "rolled back, the first version's picture is there still"


async def test_same_anonymous_request_has_one_version(state: State, direct: DirectService) -> None:
    await write_rollout(state, HALF)
    prompts = [f"fox {i}" for i in range(20)]
    found = [drawn_by(await direct.draw(request(prompt), Caller(bypass_cache=True))) for prompt in prompts]
    assert set(found) == {"1.0", "2.0"}
    assert [drawn_by(await direct.draw(request(prompt), Caller(bypass_cache=True))) for prompt in prompts] == found


async def test_drawing_and_tracing_use_the_users_versions(
    state: State, direct: DirectService, tracing: Tracing, logo: bytes
) -> None:
    await write_rollout(state, Rollout(UNET, "2"))
    await write_rollout(state, Rollout("plus_one", "2"))
    await direct.draw(request(form="svg"), Caller("ada"))
    await direct.vectorize(logo, VectorizeOptions(), Caller("ada"))
    assert tracing.had == [{UNET: "2", "plus_one": "2"}, {"plus_one": "2"}]


async def test_versions_are_compared(state: State, direct: DirectService, illustrator: Versioned) -> None:
    """D-083: the report of a split."""
    with pytest.raises(NotFound):
        await compare_versions(state.database, UNET)
    await write_rollout(state, Rollout(UNET, "1"))
    with pytest.raises(Conflict, match="nothing to compare"):
        await compare_versions(state.database, UNET)
    await write_rollout(state, HALF)
    users = [f"user-{i}" for i in range(100)]
    await asyncio.gather(*(direct.draw(request(user), Caller(user)) for user in users))
    found = await compare_versions(state.database, UNET)
    counts = {one["version"]: one["generations"] for one in found["versions"]}
    assert counts == {version: sum(HALF.version_for(user) == version for user in users) for version in ("1", "2")}
    assert (found["enough"], found["difference"]["error_rate"]["value"]) == (True, 0.0)
    for one in found["versions"]:
        assert one["metrics"]["error_rate"]["value"] == 0.0
        assert 0 < one["p50_time_s"] <= one["p95_time_s"]


async def resolved(state: State, request: JobRequest, attempt: int) -> Mapping[str, str]:
    job = ClaimedJob("job-1", "ada", request, attempt, None)
    found = await JobExecutor(state, StandIn(), Versioned())._resolve_request(job)
    return found.options.engine_versions


async def test_job_keeps_its_first_versions(state: State) -> None:
    """A checkpoint belongs to one version: another attempt, after a promotion, resumes with it."""
    await write_rollout(state, Rollout(UNET, "1"))
    assert await resolved(state, request(), 1) == {UNET: "1"}
    await write_rollout(state, Rollout(UNET, "2", previous="1"))
    assert await resolved(state, request(), 2) == {UNET: "1"}
    stale = replace(request().options, engine_versions={UNET: "9"})
    assert await resolved(state, replace(request(), options=stale), 2) == {UNET: "1"}
    async with state.database.write() as connection:
        await connection.execute(sa.delete(exposures))
        await expose(connection, [Exposure(f"engine {UNET}", "9", "ada")], "job-1")
    assert await resolved(state, request(), 2) == {UNET: "2"}, "what is in the repository no more cannot be had"


async def test_unavailable_database_changes_no_version(
    state: State, direct: DirectService, illustrator: Versioned
) -> None:
    await write_rollout(state, Rollout(UNET, "2"))
    await direct.draw(request(), Caller("ada"))
    assert direct.version_selector is not None

    async def fails() -> Mapping[str, Rollout]:
        raise StateUnavailable("gone")

    direct.version_selector._rollouts._read = fails
    assert await direct.version_selector.versions("ada", draws=True) == {UNET: "2"}
