"""Requests and answers of `/api/nlp`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.models import Cursor, Flag, Moment, NextCursor, RequestModel, Text, Time, Whole, one_of
from serve.api.http.ownership import UserName
from serve.api.mind.fields import MAX_PROMPT, OwnerQuery
from serve.api.mind.memories import MAX_CONTENT, MAX_DATE, MAX_TITLE, StoredMemoryFields
from serve.ensembles.prompts.enhancement import LEVELS
from serve.state.prompts import MAX_PAGE_SIZE

_EXAMPLE = "a red fox in a misty autumn forest at dawn, watercolour"
PromptText = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT, examples=[_EXAMPLE])]
Confidence = Annotated[float, Field(ge=0, le=1)]
ServedBy = Annotated[
    Literal["rules", "rules and text engine"],
    Field(
        description="What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, "
        "mood and sentiment."
    ),
]


class PromptRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": _EXAMPLE}]})

    prompt: PromptText


class AnalyzeRequest(PromptRequest):
    save: Annotated[
        Flag,
        Field(description="Whether it becomes an entry of the history; a user has to be known: by a key or `userId`."),
    ] = True
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class MemoryFields(StoredMemoryFields):
    """Of A-071: what its pictures should recall. Its texts win over those of a stored memory."""

    title: Annotated[Text | None, Field(max_length=MAX_TITLE)] = None
    content: Annotated[Text | None, Field(max_length=MAX_CONTENT)] = None
    date: Annotated[Text | None, Field(max_length=MAX_DATE)] = None

    def texts(self) -> dict[str, str]:
        """Those that are not empty, by their names."""
        texts = {"title": self.title, "content": self.content, "date": self.date}
        return {name: text.strip() for name, text in texts.items() if text and text.strip()}


class EnhanceRequest(PromptRequest):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a fox in a forest", "level": "balanced"}]})

    level: Annotated[str, one_of(list(LEVELS)), Field(description="How much is added.")] = "balanced"
    style: Annotated[
        Text | None, Field(max_length=64, description="A style to use, by a name of `keywords.styles`.")
    ] = None
    memory_context: Annotated[
        MemoryFields, Field(alias="memoryContext", description="Its things, colours and mood are taken up.")
    ] = MemoryFields()
    user_id: Annotated[UserName | None, Field(alias="userId", description="Of a stored memory.")] = None


class KeywordInfo(BaseModel):
    name: Annotated[str, Field(examples=["watercolour"])]
    text: Annotated[str, Field(description="As the prompt has it.", examples=["watercolour"])]
    language: Annotated[str, Field(description="ISO 639-1.", examples=["en"])]
    confidence: Confidence


class ScoredName(BaseModel):
    name: Annotated[str, Field(examples=["nature"])]
    confidence: Confidence


class Evidence(BaseModel):
    text: str
    strength: Annotated[float, Field(description="From -4.5 to 4.5.", examples=[2.0])]


class SentimentInfo(BaseModel):
    label: Literal["positive", "neutral", "negative"]
    confidence: Annotated[Confidence, Field(description="Calibrated on labelled prompts.")]
    scores: Annotated[dict[str, float], Field(examples=[{"positive": 0.2, "neutral": 0.7, "negative": 0.1}])]
    evidence: list[Evidence]


class Keywords(BaseModel):
    styles: list[KeywordInfo]
    moods: list[KeywordInfo]
    colors: list[KeywordInfo]
    lighting: list[KeywordInfo]
    textures: list[KeywordInfo]
    compositions: list[KeywordInfo]


class SwatchInfo(BaseModel):
    hex: Annotated[str, Field(pattern="^#[0-9a-f]{6}$", examples=["#d62828"])]
    name: Annotated[str, Field(description="The word, thing, light, mood or concept that it comes from.")]
    source: Literal["word", "thing", "light", "mood", "concept"]


class SuggestionInfo(BaseModel):
    style: str
    phrase: Annotated[str, Field(description="Words to add.")]
    reason: Annotated[str, Field(examples=["suits nature"])]
    confidence: Confidence


class AnalysisInfo(BaseModel):
    language: Annotated[str | None, Field(description="ISO 639-1; None where it is not clear.", examples=["en"])]
    sentiment: SentimentInfo
    keywords: Keywords
    excluded: Annotated[list[KeywordInfo], Field(description="What the prompt does not want.")]
    objects: Annotated[list[KeywordInfo], Field(description="Things that the vocabulary knows.")]
    concepts: list[ScoredName]
    mood: ScoredName | None
    moods: Annotated[dict[str, float], Field(description="Probabilities.", examples=[{"peaceful": 0.6}])]
    palette: list[SwatchInfo]
    style_suggestions: list[SuggestionInfo]
    word_count: int
    served_by: ServedBy


class AnalyzeResponse(AnalysisInfo):
    id: Annotated[str | None, Field(description="Of the entry of the history; None if there is none.")]
    prompt: str


class KeywordsResponse(BaseModel):
    keywords: Keywords
    excluded: list[KeywordInfo]
    objects: list[KeywordInfo]
    served_by: ServedBy


class SentimentResponse(SentimentInfo):
    mood: ScoredName | None
    served_by: ServedBy


class EnhancementChange(BaseModel):
    kind: Annotated[str, Field(examples=["lighting"])]
    text: Annotated[str, Field(examples=["soft diffused light"])]
    reason: str


class EnhanceResponse(BaseModel):
    original: str
    enhanced: Annotated[str, Field(description="The prompt itself, then what was added.")]
    negative_prompt: str
    changes: list[EnhancementChange]
    analysis: Annotated[AnalysisInfo, Field(description="Of the original.")]
    served_by: ServedBy


class PresetInfo(BaseModel):
    name: str
    prompt: str


class PromptPresetsResponse(BaseModel):
    categories: Annotated[
        dict[str, list[PresetInfo]], Field(examples=[{"landscape": [{"name": "Misty lake", "prompt": "a still lake"}]}])
    ]


class HistoryQuery(OwnerQuery):
    cursor: Cursor = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_PAGE_SIZE, description="Most in one page.")] = 20
    favorite: Annotated[Flag | None, Field(description="Favourites alone, or all others.")] = None
    q: Annotated[Text | None, Field(max_length=256, description="Words of the prompt or of its keywords.")] = None


class DeleteHistoryQuery(OwnerQuery):
    favorites: Annotated[Flag, Field(description="Whether favourites are deleted, too.")] = False
    until: Annotated[
        Moment | None, Field(description="Entries of this time and before alone, such as the newest that is seen.")
    ] = None


class DeletedHistoryResponse(BaseModel):
    deleted: Annotated[int, Field(ge=0)]


class HistoryEntry(BaseModel):
    id: str
    prompt: str
    analysis: AnalysisInfo
    favorite: bool
    created_at: Time


class HistoryPage(BaseModel):
    prompts: list[HistoryEntry]
    next_cursor: NextCursor


class FavoritePromptRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"favorite": True}]})

    favorite: Flag = True
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class FavoritePromptResponse(BaseModel):
    id: str
    favorite: bool
