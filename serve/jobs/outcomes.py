"""Runs the ensembles for a request and converts their answers to an `Outcome`: files and details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from serve.ensembles.illustrator.encoding import Encoding, SignsFiles, encode_all
from serve.ensembles.illustrator.illustration import Illustration
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.requests import File, IllustrateRequest, Outcome
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions, Vectorizes
from serve.observability.costs import total


def illustration_outcome(
    illustration: Illustration, encoding: Encoding, files: Sequence[bytes], extra: Mapping[str, Any]
) -> Outcome:
    """``files`` are the pictures in the format of ``encoding``; ``extra`` is added to the parameters (A-070, A-072)."""
    parameters = illustration.parameters
    details: dict[str, Any] = {
        "model": parameters.model,
        "parameters": {**parameters.to_json(), **extra},
        "generation_time": illustration.processing_time_s,
        "tokens": illustration.tokens,
        "negative_tokens": illustration.negative_tokens,
        "evaluations": illustration.evaluations,
        "model_versions": dict(illustration.model_versions),
        "timings_s": dict(illustration.timings_s),
        "served_by": illustration.served_by,
    }
    if illustration.cost:
        details["cost"] = dict(illustration.cost)
    if illustration.moderation is not None:
        details |= {"flagged": illustration.moderation["flagged"], "moderation": dict(illustration.moderation)}
    pictures = [
        File(data, encoding.media_type, picture.pixels.shape[1], picture.pixels.shape[0], picture.seed)
        for data, picture in zip(files, illustration.pictures, strict=True)
    ]
    return Outcome(pictures, details, parameters.model, illustration.processing_time_s)


def vectorization_outcome(result: Vectorization) -> Outcome:
    """The SVG, and the details that D-054 lists."""
    mappings = ("parameters", "model_versions", "timings_s", "cost")
    details = {**vars(result), **{name: dict(getattr(result, name)) for name in mappings}}
    svg, sample = details.pop("svg"), details.pop("sample")
    if not result.cost:
        del details["cost"]
    file = File(svg.encode(), "image/svg+xml", result.width, result.height)
    return Outcome([file], details, None, result.processing_time_s, sample)


async def draw_illustration(
    request: IllustrateRequest,
    illustrator: IllustratorService,
    vectorizer: Vectorizes,
    signer: SignsFiles | None = None,
) -> Outcome:
    return await encode_illustration(await illustrator.draw(request.options), request, vectorizer, signer)


async def encode_illustration(
    illustration: Illustration, request: IllustrateRequest, vectorizer: Vectorizes, signer: SignsFiles | None = None
) -> Outcome:
    """Encodes the pictures; ``degraded`` in the details lists what vectorization fell back on."""
    recorder = _RecordingVectorizer(vectorizer, request.options.engine_versions)
    files = await encode_all(illustration, request.encoding, recorder, signer)
    outcome = illustration_outcome(illustration, request.encoding, files, request.more)
    extra: dict[str, Any] = {"degraded": list(dict.fromkeys(recorder.degraded))} if recorder.degraded else {}
    if recorder.costs:
        extra["cost"] = total(illustration.cost, *recorder.costs)
    return replace(outcome, details={**outcome.details, **extra}) if extra else outcome


async def trace_image(image: bytes, options: VectorizeOptions, vectorizer: Vectorizes) -> Outcome:
    return vectorization_outcome(await vectorizer.vectorize(image, options))


class _RecordingVectorizer:
    """A Vectorizer that uses the engine versions of the drawing and records degradations and cost."""

    def __init__(self, vectorizer: Vectorizes, engine_versions: Mapping[str, str]) -> None:
        self._vectorizer = vectorizer
        self._engine_versions = engine_versions
        self.degraded: list[str] = []
        self.costs: list[Mapping[str, float]] = []

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        found = await self._vectorizer.vectorize(data, replace(options, engine_versions=self._engine_versions))
        self.degraded += found.degraded
        self.costs += [found.cost] if found.cost else []
        return found
