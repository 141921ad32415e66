"""Settings of moderation and provenance."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serve.settings.section import ProjectPath, Section
from serve.settings.security import _word


def _together(values: tuple[Any, Any], told: str) -> None:
    if (values[0] is None) != (values[1] is None):
        raise PydanticCustomError("together", "{told}", {"told": told})


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Category = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]{0,63}$")]
Phrase = Annotated[str, Field(min_length=1, max_length=256)]


class ModerationRule(Section):
    category: Category = Field(description="Category of a matching prompt.")
    score: Share = Field(1.0, description="Its score.")
    words: tuple[Phrase, ...] = Field((), max_length=100_000, description="Words, and phrases of them.")
    patterns: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=1000, description="Regular expressions of RE2, of the prompt in lower case."
    )


class ModerationSettings(Section):
    policy: Annotated[Literal["off", "flag", "blur", "refuse"], BeforeValidator(_word)] = Field(
        "off", description="Action on prompts and pictures found to be of a category."
    )
    rules: Annotated[tuple[ModerationRule, ...], Field(max_length=1000)] = Field(
        (), description="For prompts: lists of `words` and RE2 `patterns`, each with a `category` and a `score`."
    )
    lookalikes: bool = Field(True, description="Whether look-alike letters and digits are matched too.")
    engine: str | None = Field(
        None,
        description="Engine that classifies pictures, in the illustrator's repository; none: no check.",
    )
    categories: Annotated[tuple[Category, ...], Field(max_length=256)] = Field(
        (), description="Categories of the engine's scores, in order."
    )
    side_px: int = Field(224, ge=16, le=1024, description="Width and height of the engine's input.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for the engine.")
    threshold: Share = Field(0.5, description="Minimum score of a category.")
    thresholds: dict[Category, Share] = Field({}, description="Minimum scores of single categories.")
    low_threshold: Share = Field(0.85, description="The least threshold of requests with `moderation: low`.")
    on_failure: Literal["refuse", "allow"] = Field(
        "refuse", description="Action on pictures when the engine fails; refuse: 503."
    )

    @model_validator(mode="after")
    def _categories_are_known(self) -> ModerationSettings:
        _together((self.engine, self.categories or None), "engine and categories go together")
        unknown = set(self.thresholds) - {*self.categories, *(rule.category for rule in self.rules)}
        if unknown:
            told = f"thresholds: there is no category {min(unknown)}"
            raise PydanticCustomError("category", "{told}", {"told": told})
        return self


class ProvenanceSettings(Section):
    mark: bool = Field(True, description="Whether pictures are marked as generated in XMP: IPTC's DigitalSourceType.")
    c2pa: Annotated[Literal["off", "on_request", "always"], BeforeValidator(_word)] = Field(
        "off", description="Whether pictures get a signed C2PA manifest; it needs atelier[provenance]."
    )
    certificate: ProjectPath | None = Field(
        None, description="PEM of the signer's certificate, then its issuers'; none: the site's own, in `state_dir`."
    )
    private_key: ProjectPath | None = Field(None, description="PEM of the key of that certificate, without a password.")
    tell_prompt: bool = Field(False, description="Whether the manifest contains the prompt.")

    @model_validator(mode="after")
    def _certificate_has_key(self) -> ProvenanceSettings:
        _together((self.certificate, self.private_key), "certificate and private_key go together")
        return self
