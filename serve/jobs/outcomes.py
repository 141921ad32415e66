"""What ensembles answer, as the outcome of a request: files, and what an answer tells beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import Illustration
from serve.ensembles.requests import File, Outcome
from serve.ensembles.vectorizer.vectorization import Vectorization


def of_illustration(
    illustration: Illustration, encoding: Encoding, files: Sequence[bytes], more: Mapping[str, Any]
) -> Outcome:
    """``files`` has the pictures as ``encoding`` says; ``more`` joins the parameters (A-070, A-072)."""
    made = illustration.parameters
    details: dict[str, Any] = {
        "model": made.model,
        "parameters": {**dataclasses.asdict(made), **more},
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
    kept = [
        File(data, encoding.media_type, picture.pixels.shape[1], picture.pixels.shape[0], picture.seed)
        for data, picture in zip(files, illustration.pictures, strict=True)
    ]
    return Outcome(kept, details, made.model, illustration.processing_time_s)


def of_vectorization(result: Vectorization) -> Outcome:
    """The SVG, and all that D-054 tells of it."""
    details = dataclasses.asdict(result)
    svg = details.pop("svg")
    if not result.cost:
        del details["cost"]
    file = File(svg.encode(), "image/svg+xml", result.width, result.height)
    return Outcome([file], details, None, result.processing_time_s)
