"""Taste: feedback (C-057), preferences (C-050), recommendations (C-060), insights and cohorts (C-058)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from serve.api.admin.quality import Admin
from serve.api.http.models import NoQuery
from serve.api.http.ownership import actor_of, owner_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.mind.analyser import analyser
from serve.api.mind.fields import OwnerQuery
from serve.api.mind.taste_models import (
    AlgorithmsResponse,
    CohortResponse,
    ExportResponse,
    FavoriteFeedbackRequest,
    FeedbackRequest,
    FeedbackResponse,
    ForgottenResponse,
    InsightsQuery,
    InsightsResponse,
    LikeRequest,
    PreferencesRequest,
    PreferencesResponse,
    RateRequest,
    RecommendationsQuery,
    RecommendationsResponse,
    SelectRequest,
    SelectResponse,
    StatsQuery,
    StatsResponse,
)
from serve.api.openapi.operation import UNKNOWN
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.personalisation import analytics, feedback
from serve.personalisation.feedback import Kind, reward_of
from serve.personalisation.profile import PALETTES
from serve.personalisation.recommendations import Recommendation
from serve.personalisation.taste import TasteService
from serve.security.identity.audit import record_now
from serve.settings import Settings

router = APIRouter()


async def taste_of(request: Request, state: StateOf) -> TasteService:
    """That of this process."""
    known: TasteService | None = getattr(request.app.state, "taste", None)
    if known is None:
        settings: Settings = request.app.state.settings
        known = request.app.state.taste = TasteService(state.database, settings.taste, analyser())
    return known


TasteOf = Annotated[TasteService, Depends(taste_of)]


async def _give(
    body: FeedbackRequest, request: Request, state: StateOf, kind: Kind, is_set: bool = True, **more: Any
) -> Response:
    user_id = owner_of(request, body.user_id, "userId")
    value = more.get("value")
    await feedback.give(state.database, user_id, body.generation_id, kind, is_set, result_id=body.result_id, **more)
    reward = reward_of(kind, value) if is_set else 0.0
    content = {"generationId": body.generation_id, "kind": kind, "active": is_set, "reward": reward}
    return render(content, 200, None)


@router.post(
    "/api/feedback/rate", response_model=FeedbackResponse, response_description="As it counts", responses=UNKNOWN
)
async def rate(body: RateRequest, request: Request, state: StateOf) -> Response:
    """Rate a generation with 1 to 5 stars; another rating replaces the one before."""
    return await _give(body, request, state, "rate", value=float(body.stars), comment=body.comment)


@router.post(
    "/api/feedback/like", response_model=FeedbackResponse, response_description="As it counts", responses=UNKNOWN
)
async def like(body: LikeRequest, request: Request, state: StateOf) -> Response:
    """Like a generation, or take the like back; however often it is sent, it counts once."""
    return await _give(body, request, state, "like", body.liked)


@router.post(
    "/api/feedback/favorite", response_model=FeedbackResponse, response_description="As it counts", responses=UNKNOWN
)
async def favorite(body: FavoriteFeedbackRequest, request: Request, state: StateOf) -> Response:
    """Make a generation a favourite, in the gallery too, or no favourite any more."""
    return await _give(body, request, state, "favorite", body.favorite)


@router.post(
    "/api/feedback/share", response_model=FeedbackResponse, response_description="As it counts", responses=UNKNOWN
)
async def share(body: FeedbackRequest, request: Request, state: StateOf) -> Response:
    """Say that a generation was shared; it counts once."""
    return await _give(body, request, state, "share")


@router.post(
    "/api/feedback/download", response_model=FeedbackResponse, response_description="As it counts", responses=UNKNOWN
)
async def download(body: FeedbackRequest, request: Request, state: StateOf) -> Response:
    """Say that a generation was downloaded; it counts once."""
    return await _give(body, request, state, "download")


@router.get("/api/feedback/stats", response_model=StatsResponse, response_description="Counts and means")
async def stats(query: Annotated[StatsQuery, Query()], request: Request, state: StateOf, taste: TasteOf) -> Response:
    """What a user has said so far, and of one generation."""
    user_id = owner_of(request, query.user_id, "userId")
    counted, profile = await feedback.counts(state.database, user_id), await taste.profile(user_id)
    rewards = [one.reward for one in profile.interactions]
    given = await feedback.state_of(state.database, user_id, query.generation_id) if query.generation_id else None
    content = {
        "byKind": counted["by_kind"], "meanStars": counted["mean_stars"], "generations": counted["generations"],
        "interactions": len(rewards), "meanReward": sum(rewards) / len(rewards) if rewards else None, "given": given,
    }  # fmt: skip
    return render(content, 200, None)


@router.get("/api/preferences", response_model=PreferencesResponse, response_description="As learned so far")
async def preferences(query: Annotated[OwnerQuery, Query()], request: Request, taste: TasteOf) -> Response:
    """What a user likes, as far as the feedback says (C-050)."""
    return render(await taste.document(owner_of(request, query.user_id, "userId")), 200, None)


@router.put("/api/preferences", response_model=PreferencesResponse, response_description="As it is now")
async def set_preferences(body: PreferencesRequest, request: Request, taste: TasteOf) -> Response:
    """Set how a user's models are chosen: the algorithm and its exploration rate."""
    user_id = owner_of(request, body.user_id, "userId")
    await taste.set_own(user_id, body.epsilon, body.algorithm)
    return render(await taste.document(user_id), 200, None)


@router.delete("/api/preferences", response_model=ForgottenResponse, response_description="How much it was")
async def forget(query: Annotated[OwnerQuery, Query()], request: Request, state: StateOf, taste: TasteOf) -> Response:
    """Delete all that is known of a user's taste: feedback, ratings and settings. Favourites of the gallery stay."""
    user_id = owner_of(request, query.user_id, "userId")
    deleted = await taste.forget(user_id)
    await record_now(state.database, actor_of(request), "taste.delete", user_id, events=deleted)
    return render({"deleted": deleted}, 200, None)


@router.get("/api/preferences/export", response_model=ExportResponse, response_description="All of it")
async def export(query: Annotated[OwnerQuery, Query()], request: Request, taste: TasteOf) -> Response:
    """All that is known of a user's taste, with the interactions that it was learned from."""
    parts = taste.export(owner_of(request, query.user_id, "userId"))
    first = await anext(parts)  # errors of the state before the status is sent
    headers = {"Content-Disposition": 'attachment; filename="atelier-taste.json"'}
    return StreamingResponse(_chain(first, parts), 200, headers, "application/json")


async def _chain(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    yield first
    async for part in rest:
        yield part


@router.get("/api/recommendations", response_model=RecommendationsResponse, response_description="Four lists")
async def recommendations(
    query: Annotated[RecommendationsQuery, Query()], request: Request, taste: TasteOf
) -> Response:
    """For you, trending, similar to what you liked, and what to try (C-060, C-061)."""
    families = await _families(request)
    samplers = list(dict.fromkeys(name for family in families for name in family.samplers))
    user_id = owner_of(request, query.user_id, "userId")
    found = await taste.recommend(user_id, query.count, [one.name for one in families], samplers)
    names = {"for_you": "forYou"}
    return render(
        {names.get(name, name): [_recommendation_document(one) for one in each] for name, each in found.items()},
        200,
        None,
    )


@router.post("/api/recommendations/select", response_model=SelectResponse, response_description="The choice")
async def select(body: SelectRequest, request: Request, taste: TasteOf) -> Response:
    """Choose a model, style, sampler or palette for a user by a bandit (C-051), in the context of a prompt."""
    user_id = owner_of(request, body.user_id, "userId")
    candidates = list(dict.fromkeys(body.candidates or await _candidates(request, body.dimension)))
    if not candidates:
        return render(_nothing(body.dimension), 200, None)
    choice = await taste.choose(user_id, body.dimension, candidates, body.prompt, body.algorithm)
    content = {
        "dimension": choice.dimension, "name": choice.name, "confidence": choice.confidence,
        "expectedReward": choice.expected_reward, "pulls": choice.pulls, "explored": choice.explored,
        "reason": choice.reason,
    }  # fmt: skip
    return render(content, 200, None)


def _nothing(dimension: str) -> Mapping[str, Any]:
    return {
        "dimension": dimension, "name": "", "confidence": 0.0, "expectedReward": 0.0, "pulls": 0.0, "explored": False,
        "reason": "there is none on this site",
    }  # fmt: skip


async def _candidates(request: Request, dimension: str) -> list[str]:
    if dimension == "style":
        return list(analyser().vocabulary.terms["styles"])
    if dimension == "palette":
        return list(PALETTES)
    families = await _families(request)
    if dimension == "model":
        return [family.name for family in families]
    return list(families[0].samplers) if families else []


async def _families(request: Request) -> list[FamilyInfo]:
    illustrator: IllustratorService | None = request.app.state.illustrator
    return [] if illustrator is None else list(await request.app.state.direct.families())


def _recommendation_document(one: Recommendation) -> Mapping[str, Any]:
    return {"kind": one.kind, "name": one.name, "score": round(one.score, 4), "reason": one.reason}


@router.get("/api/analytics/insights", response_model=InsightsResponse, response_description="What was found")
async def insights(query: Annotated[InsightsQuery, Query()], request: Request, taste: TasteOf) -> Response:
    """What a user likes most and least, whether satisfaction rises, and which styles would please (C-058, C-059)."""
    user_id = owner_of(request, query.user_id, "userId")
    profile = await taste.profile(user_id)
    predicted = await asyncio.to_thread(profile.predict, query.prompt) if query.prompt else {}
    content = {
        "insights": analytics.insights(profile),
        "predicted": [{"style": name, "probability": round(value, 4)} for name, value in predicted.items()],
        "ucb": {name: value if value < 1e9 else None for name, value in profile.ucb_values("model").items()},
    }
    return render(content, 200, None)


@router.get(
    "/api/admin/taste/algorithms",
    dependencies=[Admin],
    response_model=AlgorithmsResponse,
    response_description="What users say of what each has chosen",
)
async def algorithms(query: Annotated[NoQuery, Query()], taste: TasteOf) -> Response:
    """The algorithms that a site compares (`taste.compared`), by the rewards of the users that have each (C-058). Users
    who have set one themselves are left out."""
    entries = [
        {"algorithm": one.algorithm, "users": one.users, "interactions": one.interactions,
         "meanReward": one.mean_reward, "low": one.low, "high": one.high}
        for one in await taste.compared()
    ]  # fmt: skip
    return render({"algorithms": entries}, 200, None)


@router.get(
    "/api/admin/cohorts/{cohort}",
    dependencies=[Admin],
    response_model=CohortResponse,
    response_description="Its figures",
)
async def cohort(
    cohort: Annotated[
        str, Path(pattern="^[a-z]{1,20}$", description=f"{', '.join(analytics.COHORTS)}.", examples=["active"])
    ],
    state: StateOf,
) -> Response:
    """Figures of a group of users, without their names (C-058)."""
    found = await analytics.cohort(state.database, cohort)
    names = {
        "users_of_site": "usersOfSite", "mean_stars": "meanStars", "generations_per_user": "generationsPerUser",
        "feedback_per_generation": "feedbackPerGeneration",
    }  # fmt: skip
    return render({names.get(name, name): value for name, value in found.items()}, 200, None)
