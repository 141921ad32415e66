"""Requests and answers of feedback, preferences, recommendations and insights.

Names of fields are those of the interface that the routes come from: camelCase.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.models import Flag, Number, RequestModel, Text, Time, Whole, one_of
from serve.api.http.ownership import UserName
from serve.api.mind.fields import MAX_PROMPT, OwnerQuery
from serve.api.openapi.operation import EXAMPLE_ID
from serve.ensembles.requests import STORED_ID
from serve.personalisation.bandits import Algorithm

MAX_COMMENT = 2_000
Id = Annotated[Text, Field(pattern=STORED_ID, examples=[EXAMPLE_ID])]


class FeedbackRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"generationId": EXAMPLE_ID}]})

    generation_id: Annotated[Id, Field(alias="generationId", description="One of the user's own.")]
    result_id: Annotated[Id | None, Field(alias="resultId", description="Which of its pictures is meant.")] = None
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class RateRequest(FeedbackRequest):
    model_config = ConfigDict(json_schema_extra={"examples": [{"generationId": EXAMPLE_ID, "stars": 4}]})

    stars: Annotated[Whole, Field(ge=1, le=5)]
    comment: Annotated[Text | None, Field(max_length=MAX_COMMENT, description="Notes, which are kept with it.")] = None


class LikeRequest(FeedbackRequest):
    liked: Annotated[Flag, Field(description="False takes the like back.")] = True


class FavoriteFeedbackRequest(FeedbackRequest):
    favorite: Annotated[Flag, Field(description="False: no favourite any more.")] = True


class FeedbackResponse(BaseModel):
    generationId: str
    kind: Annotated[str, Field(examples=["rate"])]
    active: Annotated[bool, Field(description="Whether it counts now; a like that was taken back does not.")]
    reward: Annotated[float, Field(ge=-1, le=1, description="What it counts for.", examples=[0.5])]


class Said(BaseModel):
    value: float | None
    comment: str | None


class StatsResponse(BaseModel):
    byKind: Annotated[dict[str, int], Field(description="Events by kind.", examples=[{"like": 3, "rate": 2}])]
    meanStars: float | None
    generations: Annotated[int, Field(description="Completed drawings of the user.")]
    interactions: Annotated[int, Field(description="Rewards that are learned from, those for no interaction too.")]
    meanReward: float | None
    given: Annotated[
        dict[str, Said] | None,
        Field(
            description="Of `generationId`: what was said, by kind.", examples=[{"like": {"value": 1, "comment": ""}}]
        ),
    ]


class StatsQuery(OwnerQuery):
    generation_id: Annotated[
        Text | None, Field(alias="generationId", pattern=STORED_ID, description="Tell what was said of this one, too.")
    ] = None


class PreferredArm(BaseModel):
    score: Annotated[float, Field(description="The average reward.")]
    pulls: int
    wins: Annotated[int, Field(description="How many rewards were positive.")]


_ARMS = {"examples": [{"mini": {"score": 0.4, "pulls": 12, "wins": 9}}]}
_SCORES = {"examples": [{"watercolour": 0.4}]}


class PreferencesResponse(BaseModel):
    userId: str
    modelPreferences: Annotated[dict[str, PreferredArm], Field(json_schema_extra=_ARMS)]
    samplerPreferences: Annotated[dict[str, PreferredArm], Field(json_schema_extra=_ARMS)]
    stylePreferences: Annotated[dict[str, float], Field(json_schema_extra=_SCORES)]
    colorPreferences: Annotated[dict[str, float], Field(json_schema_extra=_SCORES)]
    moodPreferences: Annotated[dict[str, float], Field(json_schema_extra=_SCORES)]
    epsilon: Annotated[float, Field(ge=0, le=1, description="The exploration rate.")]
    algorithm: Annotated[str, Field(examples=["thompson"])]
    totalGenerations: int
    updatedAt: Time | None


class PreferencesRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"epsilon": 0.2, "algorithm": "ucb"}]})

    epsilon: Annotated[Number | None, Field(ge=0, le=1, description="Exploration rate; none: the site's.")] = None
    algorithm: Annotated[Algorithm | None, Field(description="How models are chosen; none: the site's.")] = None
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class ForgottenResponse(BaseModel):
    deleted: Annotated[int, Field(description="Events of feedback.")]


class InteractionInfo(BaseModel):
    generationId: str
    kind: str
    reward: float
    model: str | None
    sampler: str | None
    prompt: str
    at: Time
    value: Annotated[float | None, Field(description="Stars of a rating.")]
    comment: str | None
    resultId: str | None


class ExportResponse(BaseModel):
    preferences: PreferencesResponse
    interactions: list[InteractionInfo]


class RecommendationInfo(BaseModel):
    kind: Literal["style", "model", "sampler", "palette", "prompt"]
    name: str
    score: float
    reason: Annotated[str, Field(examples=["you liked it"])]


class RecommendationsResponse(BaseModel):
    forYou: list[RecommendationInfo]
    trending: list[RecommendationInfo]
    similar: list[RecommendationInfo]
    explore: list[RecommendationInfo]


class RecommendationsQuery(OwnerQuery):
    count: Annotated[Whole, Field(ge=1, le=50, description="Most of each list.")] = 5


class SelectRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a red fox", "dimension": "style"}]})

    dimension: Annotated[
        str, one_of(["model", "style", "sampler", "palette"]), Field(description="What to choose.")
    ] = "model"
    candidates: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=256)]] | None,
        Field(min_length=1, max_length=100, description="Choose among these; by default all that there are."),
    ] = None
    prompt: Annotated[
        Text | None, Field(max_length=MAX_PROMPT, description="Rewards of prompts near this one count most.")
    ] = None
    algorithm: Annotated[Algorithm | None, Field(description="None: the user's own.")] = None
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class SelectResponse(BaseModel):
    dimension: str
    name: Annotated[str, Field(description="What was chosen.")]
    confidence: Annotated[float, Field(ge=0, le=1, description="The probability that no other is better.")]
    expectedReward: float
    pulls: Annotated[float, Field(description="Rewards of the user that it has, the older the less.")]
    explored: Annotated[bool, Field(description="Whether it was chosen to learn about it, and not as the best.")]
    reason: str


class InsightInfo(BaseModel):
    kind: Literal["best", "worst", "trend"]
    dimension: str | None
    name: str
    score: float
    pulls: float
    text: str


class PredictedInfo(BaseModel):
    style: str
    probability: Annotated[float, Field(ge=0, le=1)]


class InsightsResponse(BaseModel):
    insights: list[InsightInfo]
    predicted: Annotated[list[PredictedInfo], Field(description="Of `prompt`: how likely each style is to please.")]
    ucb: Annotated[dict[str, float | None], Field(description="Of models (C-054).", json_schema_extra=_SCORES)]


class InsightsQuery(OwnerQuery):
    prompt: Annotated[Text | None, Field(max_length=2_000, description="Predict styles for it.")] = None


class AlgorithmOutcome(BaseModel):
    algorithm: Algorithm
    users: int
    interactions: int
    meanReward: Annotated[float | None, Field(description="The mean of the users' means; None below two users.")]
    low: Annotated[float | None, Field(description="Of the 95 % confidence interval.")]
    high: float | None


class AlgorithmsResponse(BaseModel):
    algorithms: Annotated[list[AlgorithmOutcome], Field(description="Of taste.compared, in its order.")]


class CohortResponse(BaseModel):
    cohort: str
    users: int
    usersOfSite: int
    generations: int
    feedback: Annotated[dict[str, int], Field(description="Events by kind.", examples=[{"like": 3}])]
    meanStars: float | None
    generationsPerUser: float | None
    feedbackPerGeneration: float | None
