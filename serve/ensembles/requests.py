"""Job requests and outcomes: plain values that the database stores as JSON.

The JSON of a request is canonical: equal requests give the same text, whichever API they came through.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from serve.ensembles.captioner.options import CaptionOptions
from serve.ensembles.illustrator.adapters import control_from_json, lora_from_json, reference_from_json, use_to_json
from serve.ensembles.illustrator.encoding import AUTO, Encoding
from serve.ensembles.illustrator.finishing.finish import Finish, Hires
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import source_from_json
from serve.ensembles.illustrator.regions import region_from_json
from serve.ensembles.illustrator.service import FamilyInfo
from serve.ensembles.restyler.restyle import restyle_from_json
from serve.ensembles.vectorizer.vectorization import DRAWING_OPTIONS, QualitySample, VectorizeOptions
from serve.errors import InvalidRequest

MAX_STORED_ID = 128
STORED_ID = f"^[A-Za-z0-9_.:-]{{1,{MAX_STORED_ID}}}$"
"""The pattern of the id of a generation or of a result."""
ILLUSTRATE, VECTORIZE = "illustrate", "vectorize"
"""Lanes of the queue. Each has its own slots, so that fast jobs do not wait behind slow ones."""
FINISH, RESTYLE = "finish", "restyle"
"""Kinds of illustrations that begin with a picture and draw nothing."""
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
    lane: ClassVar[str] = ILLUSTRATE

    @property
    def kind(self) -> str:
        """What a list of jobs calls it: its JSON has the same kind for all three."""
        if self.options.draws:
            return ILLUSTRATE
        return FINISH if self.options.restyle is None else RESTYLE

    @property
    def prompt(self) -> str:
        return self.options.prompt

    @property
    def inputs(self) -> Sequence[str]:
        """Names in the object store of the pictures that it needs."""
        return [picture.name for picture in self.options.input_pictures]

    @property
    def kept_objects(self) -> Sequence[str]:
        """Names of all objects that it needs: its LoRAs' files are read where it is drawn."""
        return [*self.inputs, *(lora.object for lora in self.options.all_loras)]

    def without_lora_files(self) -> IllustrateRequest:
        """As the caller sent it, which says the same when a LoRA is gone or replaced."""
        if not self.options.all_loras:
            return self
        return replace(self, options=self.options.with_loras(lambda lora, _: replace(lora, object="", families=())))

    def with_inputs(self, data: Mapping[str, bytes]) -> IllustrateRequest:
        """With the contents of ``inputs``."""
        return replace(self, options=self.options.with_inputs(data)) if self.inputs else self

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
        if not self.options.draws:
            return self
        named, size = self.options, family.size_for(self.options)
        steps, guidance = family.steps_and_guidance(named)
        options = replace(
            named,
            model=family.name,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance,
            sampler=named.sampler or family.sampler,
        )
        encoding = self.encoding if family.alpha else replace(self.encoding, background=AUTO)
        return replace(self, options=options, encoding=encoding)

    def to_json(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["preview_every"], options["timeout_s"]  # without effect on the pictures
        del options["source"], options["regions"]
        if self.options.source is not None:
            options["source"] = self.options.source.to_json()
        if self.options.regions:
            options["regions"] = [region.to_json() for region in self.options.regions]
        del options["loras"], options["controls"], options["references"]
        if self.options.loras:
            options["loras"] = [lora.to_json() for lora in self.options.loras]
        if self.options.controls:
            options["controls"] = [use_to_json(use) for use in self.options.controls]
        if self.options.references:
            options["references"] = [use_to_json(use) for use in self.options.references]
        for name, stated in (
            ("finish", self.options.finish or None),
            ("hires", self.options.hires),
            ("restyle", self.options.restyle),
        ):
            del options[name]
            if stated is not None:
                options[name] = stated.to_json()
        if options["draws"]:
            del options["draws"]
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
        return {"kind": ILLUSTRATE, "options": options, "encoding": encoding, "more": dict(self.more), **drawn}


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

    @property
    def kept_objects(self) -> Sequence[str]:
        return self.inputs

    def to_json(self) -> dict[str, Any]:
        options = {**vars(self.options), "engine_versions": dict(self.options.engine_versions)}
        del options["timeout_s"]
        if not options["engine_versions"]:
            del options["engine_versions"]
        for name in set(DRAWING_OPTIONS) - set(self.options.drawing_options()):
            del options[name]
        return {"kind": self.kind, "image": self.image, "options": options}


@dataclass(frozen=True)
class CaptionRequest:
    """Captions of pictures. ``images`` are their names in the object store."""

    images: tuple[str, ...]
    options: CaptionOptions = field(default_factory=CaptionOptions)
    kind: ClassVar[str] = "caption"
    lane: ClassVar[str] = ILLUSTRATE
    prompt: ClassVar[str] = ""
    repeatable: ClassVar[bool] = False

    @property
    def kept_objects(self) -> Sequence[str]:
        return self.images

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "images": list(self.images), "options": self.options.to_json()}


@dataclass(frozen=True)
class RetrainRequest:
    """One step of the engine `quality`'s continuous learning: what it is, is found when it begins."""

    kind: ClassVar[str] = "retrain"
    lane: ClassVar[str] = ILLUSTRATE
    prompt: ClassVar[str] = ""
    repeatable: ClassVar[bool] = False

    @property
    def kept_objects(self) -> Sequence[str]:
        return ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "engine": "quality", "options": {}}


JobRequest = IllustrateRequest | VectorizeRequest | CaptionRequest | RetrainRequest


def from_json(document: Mapping[str, Any]) -> JobRequest:
    """The inverse of ``to_json``."""
    if document["kind"] == ILLUSTRATE:
        values = dict(document["options"])
        if values.get("source") is not None:
            values["source"] = source_from_json(values["source"])
        for name, kind in (("finish", Finish), ("hires", Hires)):
            if name in values:
                values[name] = kind(**values[name])
        if values.get("restyle") is not None:
            values["restyle"] = restyle_from_json(values["restyle"])
        values["regions"] = tuple(region_from_json(one) for one in values.get("regions", ()))
        values["loras"] = tuple(map(lora_from_json, values.get("loras", ())))
        values["controls"] = tuple(map(control_from_json, values.get("controls", ())))
        values["references"] = tuple(map(reference_from_json, values.get("references", ())))
        options = IllustrateOptions(**values)
        named = document.get("seed_named", True)
        return IllustrateRequest(options, Encoding(**document["encoding"]), document["more"], named)
    if document["kind"] == VectorizeRequest.kind:
        return VectorizeRequest(document["image"], VectorizeOptions(**document["options"]))
    if document["kind"] == CaptionRequest.kind:
        return CaptionRequest(tuple(document["images"]), CaptionOptions.from_json(document["options"]))
    if document["kind"] == RetrainRequest.kind:
        return RetrainRequest()
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
    sample: QualitySample | None = None
    """Of a conversion; stored beside its answer."""

    @property
    def cost(self) -> Mapping[str, float]:
        """Cost (`serve.observability.costs`); empty if not measured."""
        found: Mapping[str, float] = self.details.get(_COST) or {}
        return found


def without_cost(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details for an answer from the cache or a repeated read: the cost was already reported."""
    return {name: value for name, value in details.items() if name != _COST}
