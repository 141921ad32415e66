"""What a job asks for and what comes of it: plain values that a database keeps as JSON.

The JSON of a request is canonical: the same wish, whatever door it came by, is the same text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import FamilyInfo, IllustrateOptions
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import InvalidRequest

ILLUSTRATE, VECTORIZE = "illustrate", "vectorize"
"""The lanes of the queue: a lane has slots of its own, so that fast jobs do not wait behind slow ones."""
_COST = "cost"
"""Of the details what `serve.observability.costs` has told."""
_UNSAID = {"c2pa": False, "mark": True}
"""Of an encoding: requests of before they could be told are the same text."""


@dataclass(frozen=True)
class IllustrateRequest:
    """Prompt to pictures, or to drawings when ``encoding`` is SVG. ``more`` is only told in the answer.

    ``seed_named``: whether the seed is the caller's; of one that was drawn for it, nobody will ask again.
    """

    options: IllustrateOptions
    encoding: Encoding = field(default_factory=Encoding)
    more: Mapping[str, Any] = field(default_factory=dict)
    seed_named: bool = True
    kind: ClassVar[str] = "illustrate"
    lane: ClassVar[str] = ILLUSTRATE

    @property
    def prompt(self) -> str:
        return self.options.prompt

    @property
    def repeatable(self) -> bool:
        """Whether the same request must give the same answer."""
        return self.seed_named and self.options.seed is not None and self.options.seed >= 0

    def seeded(self) -> IllustrateRequest:
        """With a seed drawn, if it names none."""
        if self.options.seed is not None and self.options.seed >= 0:
            return self
        return replace(self, options=replace(self.options, seed=self.options.resolve_seed()), seed_named=False)

    def resolved(self, family: FamilyInfo) -> IllustrateRequest:
        """With the defaults of ``family`` written out: what a caller left out and what it spelt out become the same."""
        asked = self.options
        options = replace(
            asked,
            model=family.name,
            width=asked.width or family.width,
            height=asked.height or family.height,
            num_inference_steps=asked.num_inference_steps or family.num_inference_steps,
            guidance_scale=family.guidance_scale if asked.guidance_scale is None else asked.guidance_scale,
            sampler=asked.sampler or family.sampler,
        )
        return replace(self, options=options)

    def to_json(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["preview_every"], options["timeout_s"]  # they decide nothing about the pictures
        if options["moderation"] is None:
            del options["moderation"]
        if not options["engine_versions"]:
            del options["engine_versions"]
        drawn = {} if self.seed_named else {"seed_named": False}
        encoding = {name: value for name, value in asdict(self.encoding).items() if value != _UNSAID.get(name)}
        return {"kind": self.kind, "options": options, "encoding": encoding, "more": dict(self.more), **drawn}


@dataclass(frozen=True)
class VectorizeRequest:
    """Picture to SVG. ``image`` is the picture's name in the object store, which tells its content."""

    image: str
    options: VectorizeOptions
    kind: ClassVar[str] = "vectorize"
    lane: ClassVar[str] = VECTORIZE
    prompt: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True

    def to_json(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["timeout_s"]
        if not options["engine_versions"]:
            del options["engine_versions"]
        return {"kind": self.kind, "image": self.image, "options": options}


JobRequest = IllustrateRequest | VectorizeRequest


def from_json(document: Mapping[str, Any]) -> JobRequest:
    """The inverse of ``to_json``."""
    if document["kind"] == IllustrateRequest.kind:
        options = IllustrateOptions(**document["options"])
        named = document.get("seed_named", True)
        return IllustrateRequest(options, Encoding(**document["encoding"]), document["more"], named)
    if document["kind"] == VectorizeRequest.kind:
        return VectorizeRequest(document["image"], VectorizeOptions(**document["options"]))
    raise InvalidRequest("is no kind of job", "kind")


def digest(document: Any) -> str:
    """The SHA-256 of ``document`` as JSON with sorted keys, in hex."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class File:
    """One picture or drawing of an answer, as it goes to the object store."""

    data: bytes
    media_type: str
    width: int | None = None
    height: int | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a request came to. ``details`` is what an answer tells beside its files, JSON as it stands."""

    files: Sequence[File]
    details: Mapping[str, Any]
    model: str | None
    generation_time_s: float

    @property
    def cost(self) -> Mapping[str, float]:
        """As `serve.observability.costs` has it; empty where nobody measured."""
        found: Mapping[str, float] = self.details.get(_COST) or {}
        return found


def without_cost(details: Mapping[str, Any]) -> dict[str, Any]:
    """Who finds what somebody else paid for, or asks again for his own, is not told its cost once more."""
    return {name: told for name, told in details.items() if name != _COST}
