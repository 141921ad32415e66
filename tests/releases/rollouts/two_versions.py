"""Ensembles that are functions, each with an engine of two versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from illustrator_standin import IllustratorStandIn
from numpy.typing import NDArray
from standin import StandIn

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.service import StreamItem, StreamOptions
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.releases.rollouts.site import Rollout

UNET, TRACER = "mini_unet", "plus_one"
HALF = Rollout(UNET, "1", candidate="2", percentage=50)
USERS = [f"user-{i}" for i in range(20)]


class Versioned(IllustratorStandIn):
    """Its UNet has two versions; the result names the one that drew."""

    async def versions(self) -> Mapping[str, str]:
        return {UNET: "1.0", f"{UNET}/1": "1.0", f"{UNET}/2": "2.0"}

    async def _drawn(self, options: IllustrateOptions, follow: StreamOptions, resume: Sequence[Any]) -> Any:
        version = options.engine_versions.get(UNET, "1")
        async for item in super()._drawn(options, follow, resume):
            result: StreamItem = (
                replace(item, model_versions={UNET: f"{version}.0"}) if isinstance(item, Illustration) else item
            )
            yield result


class Tracing(StandIn):
    """Its engine has two versions; the first is current. ``had`` and ``requested`` list the versions of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.had: list[Mapping[str, str]] = []
        self.requested: list[str] = []

    async def versions(self) -> Mapping[str, str]:
        return {TRACER: "1", f"{TRACER}/2": "2.0"}

    async def metadata(self, engine: str) -> dict[str, Any]:
        return {**await super().metadata(engine), "versions": ["2", "1"]}

    async def infer(
        self, engine: str, *arguments: Any, version: str = "", **named: Any
    ) -> dict[str, NDArray[np.generic]]:
        self.requested.append(version)
        return await super().infer(engine, *arguments, version=version, **named)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        self.had.append(options.engine_versions)
        version = options.engine_versions.get(TRACER, "1")
        return replace(await super().vectorize(data, options), model_versions={TRACER: f"{version}.0"})
