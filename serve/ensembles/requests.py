"""Job requests and outcomes: plain values that the database stores as JSON.

The JSON of a request is canonical: equal requests give the same text, whichever API they came through.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from serve.ensembles.illustrator.encoding import AUTO, Encoding
from serve.ensembles.illustrator.illustration import FamilyInfo, IllustrateOptions
from serve.ensembles.illustrator.picture_source import source_from_json
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import InvalidRequest

ILLUSTRATE, VECTORIZE = "illustrate", "vectorize"
"""Lanes of the queue. Each has its own slots, so that fast jobs do not wait behind slow ones."""
_COST = "cost"
"""Key of the cost in the details."""
_OMITTED_DEFAULTS: Mapping[str, Any] = {"palette": (), "c2pa": False, "mark": True, "background": AUTO}
"""Encoding fields left out at their default, so that the JSON of older requests stays the same."""


@dataclass(frozen=True)
class IllustrateRequest:
    """Prompt to pictures, or to SVGs if ``encoding`` is SVG. ``more`` is only repeated in the answer.

    ``seed_named``: whether the caller chose the seed. Results of a random seed are not worth caching.
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
    def inputs(self) -> Sequence[str]:
        """Names in the object store of the pictures that it needs."""
        source = self.options.source
        return [] if source is None else [picture.name for picture in source.pictures]

    def with_inputs(self, data: Mapping[str, bytes]) -> IllustrateRequest:
        """With the contents of ``inputs``."""
        source = self.options.source
        return self if source is None else replace(self, options=replace(self.options, source=source.with_data(data)))

    @property
    def repeatable(self) -> bool:
        """Whether equal requests must give equal answers."""
        return self.seed_named and self.options.seed is not None and self.options.seed >= 0

    def seeded(self) -> IllustrateRequest:
        """With a random seed, unless it has one."""
        if self.options.seed is not None and self.options.seed >= 0:
            return self
        return replace(self, options=replace(self.options, seed=self.options.resolve_seed()), seed_named=False)

    def resolved(self, family: FamilyInfo) -> IllustrateRequest:
        """With the defaults of ``family`` filled in, so that omitted and explicit defaults are equal; without a
        background where pictures have no alpha."""
        named, size = self.options, family.size_for(self.options)
        options = replace(
            named,
            model=family.name,
            width=size[0],
            height=size[1],
            num_inference_steps=named.num_inference_steps or family.num_inference_steps,
            guidance_scale=family.guidance_scale if named.guidance_scale is None else named.guidance_scale,
            sampler=named.sampler or family.sampler,
        )
        encoding = self.encoding if family.alpha else replace(self.encoding, background=AUTO)
        return replace(self, options=options, encoding=encoding)

    def to_json(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["preview_every"], options["timeout_s"]  # without effect on the pictures
        del options["source"]
        if self.options.source is not None:
            options["source"] = self.options.source.to_json()
        if options["moderation"] is None:
            del options["moderation"]
        if options["candidates"] == 1:
            del options["candidates"]
        if not options["engine_versions"]:
            del options["engine_versions"]
        drawn = {} if self.seed_named else {"seed_named": False}
        encoding = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.encoding).items()
            if value != _OMITTED_DEFAULTS.get(name)
        }
        return {"kind": self.kind, "options": options, "encoding": encoding, "more": dict(self.more), **drawn}


@dataclass(frozen=True)
class VectorizeRequest:
    """Picture to SVG. ``image`` is the picture's content-addressed name in the object store."""

    image: str
    options: VectorizeOptions
    kind: ClassVar[str] = "vectorize"
    lane: ClassVar[str] = VECTORIZE
    prompt: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True

    @property
    def inputs(self) -> Sequence[str]:
        return [self.image]

    def to_json(self) -> dict[str, Any]:
        options = {**vars(self.options), "engine_versions": dict(self.options.engine_versions)}
        del options["timeout_s"]
        if not options["engine_versions"]:
            del options["engine_versions"]
        return {"kind": self.kind, "image": self.image, "options": options}


JobRequest = IllustrateRequest | VectorizeRequest


def from_json(document: Mapping[str, Any]) -> JobRequest:
    """The inverse of ``to_json``."""
    if document["kind"] == IllustrateRequest.kind:
        values = dict(document["options"])
        if values.get("source") is not None:
            values["source"] = source_from_json(values["source"])
        options = IllustrateOptions(**values)
        named = document.get("seed_named", True)
        return IllustrateRequest(options, Encoding(**document["encoding"]), document["more"], named)
    if document["kind"] == VectorizeRequest.kind:
        return VectorizeRequest(document["image"], VectorizeOptions(**document["options"]))
    raise InvalidRequest("is no kind of job", "kind")


def digest(document: Any) -> str:
    """SHA-256 (hex) of ``document`` as JSON with sorted keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class File:
    """One output file for the object store."""

    data: bytes
    media_type: str
    width: int | None = None
    height: int | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """Result of a request. ``details``: JSON members of the answer besides its files."""

    files: Sequence[File]
    details: Mapping[str, Any]
    model: str | None
    generation_time_s: float

    @property
    def cost(self) -> Mapping[str, float]:
        """Cost (`serve.observability.costs`); empty if not measured."""
        found: Mapping[str, float] = self.details.get(_COST) or {}
        return found


def without_cost(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details for an answer from the cache or a repeated read: the cost was already reported."""
    return {name: value for name, value in details.items() if name != _COST}
