"""A stand-in Vectorizer for tests of the endpoints: real decoding and VTracer, an engine that adds one. No models,
Triton or Ray."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.api.inference.usage import Statistics
from serve.engines.service import EngineHealth, Health
from serve.ensembles.vectorizer.vectorization import Analysis, Vectorization, VectorizeOptions
from serve.errors import InvalidRequest, NotFound
from serve.vector.image import decode
from serve.vector.parameters import VTracerParameters
from serve.vector.svg import statistics
from serve.vector.trace import trace_vtracer

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Served:
    """Addresses of the HTTP and the gRPC server, as host:port."""

    http: str
    grpc: str


class StandIn:
    """``delay_s`` delays each conversion; ``gate`` holds all until it is set, and ``begun`` counts them; ``broken``
    makes the engine unhealthy; ``cancelled`` counts cancelled conversions; ``degraded`` is reported by conversions."""

    def __init__(self, settings: Any = None) -> None:
        self.delay_s = 0.0
        self.gate: asyncio.Event | None = None
        self.begun = 0
        self.broken = False
        self.degraded: Sequence[str] = ()
        self.cancelled = 0
        self._counted = Statistics("plus_one", "1")

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        start = time.perf_counter()
        picture = await asyncio.to_thread(decode, data)
        self.begun += 1
        try:
            await asyncio.sleep(self.delay_s)
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        parameters = VTracerParameters()
        svg = await asyncio.to_thread(trace_vtracer, picture.rgba, parameters)
        sizes = statistics(svg)
        return Vectorization(
            svg=svg,
            logo_type="simple",
            confidence=0.5,
            tier=str(options.tier),
            tracer="vtracer",
            predicted_quality=0.9,
            actual_quality=0.95 if options.validate else None,
            bytes=sizes.bytes,
            paths=sizes.paths,
            parameters=parameters.to_dict(),
            model_versions={"plus_one": "1"},
            timings_s={"trace": 0.01},
            input_sha256=hashlib.sha256(data).hexdigest(),
            width=picture.rgba.shape[1],
            height=picture.rgba.shape[0],
            processing_time_s=time.perf_counter() - start,
            degraded=self.degraded,
        )

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] | None = None) -> Analysis:
        height, width = decode(data).rgba.shape[:2]
        return Analysis(
            features={"edge_density": 0.1},
            logo_type="simple",
            confidence=0.5,
            recommended_tier="1",
            width=width,
            height=height,
            input_sha256=hashlib.sha256(data).hexdigest(),
            processing_time_s=0.001,
            method="local_optimized",
        )

    async def health(self) -> Health:
        return Health({"plus_one": EngineHealth(not self.broken, 1.0, "1", "broken" if self.broken else "")})

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Array],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, Array]:
        self._known(engine)
        with self._counted.counted():
            return self._plus_one(inputs)

    def _plus_one(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if list(inputs) != ["x"] or inputs["x"].dtype != np.float32 or inputs["x"].ndim != 2:
            raise InvalidRequest("must be FP32 with 2 dimensions", "x")
        with np.errstate(over="ignore", invalid="ignore"):
            return {"y": inputs["x"] * np.float32(2) - inputs["x"] + 1}  # overflows to infinity, as engines do

    def _known(self, engine: str) -> None:
        if engine != "plus_one":
            raise NotFound(f"there is no model named {engine[:64]!a}")

    async def metadata(self, engine: str) -> dict[str, Any]:
        self._known(engine)
        tensor = {"datatype": "FP32", "shape": [-1, 4]}
        inputs, outputs = [{"name": "x", **tensor}], [{"name": "y", **tensor}]
        return {"name": engine, "versions": ["1"], "platform": "test", "inputs": inputs, "outputs": outputs}

    async def config(self, engine: str) -> dict[str, Any]:
        self._known(engine)
        tensor = {"data_type": "TYPE_FP32", "dims": [4]}
        tensors = {"input": [{"name": "x", **tensor}], "output": [{"name": "y", **tensor}]}
        return {"name": engine, "backend": "test", "max_batch_size": 8, **tensors}

    async def statistics(self, engine: str) -> dict[str, Any]:
        self._known(engine)
        return {"model_stats": [self._counted.entry()]}

    async def engines(self) -> list[str]:
        return ["plus_one"]

    async def versions(self) -> Mapping[str, str]:
        return {"plus_one": "1"}
