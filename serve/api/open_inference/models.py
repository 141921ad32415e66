"""The models that the open inference doors show: `vectorize`, and the engines that it is made of."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from serve.api.open_inference import vectorize_model
from serve.api.open_inference.codec import InferRequest
from serve.api.open_inference.tensors import Array, Tensor
from serve.ensembles.vectorization import VectorizerService
from serve.errors import InvalidRequest, NotFound, TooLarge
from serve.settings import Settings

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics", "parameters", "generate"]

MAX_ROWS = 4096
"""Most rows of one engine input: the product of its free axes (those of size -1), the batch's among them."""


class Models:
    """Requests that both doors (HTTP and gRPC) have already decoded; answers as the protocol's JSON or arrays."""

    def __init__(self, service: VectorizerService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._stats = {"success": [0, 0], "fail": [0, 0]}  # count, nanoseconds: this gateway's share
        self._last_inference_ms = 0
        self._metadata: dict[str, dict[str, Any]] = {vectorize_model.NAME: vectorize_model.metadata()}

    def server_metadata(self) -> dict[str, Any]:
        return {"name": "atelier", "version": version("atelier"), "extensions": EXTENSIONS}

    async def server_ready(self) -> bool:
        return (await self._service.health()).ready

    async def model_ready(self, name: str, version: str = "") -> bool:
        await self.metadata(name, version)
        if name == vectorize_model.NAME:
            return True  # it converts without any engine, if it must
        engines = (await self._service.health()).engines
        return name in engines and engines[name].ready

    async def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """An engine's is kept once it is known: it cannot change while the stack runs."""
        known = self._metadata.get(name)
        if known is None:
            known = self._metadata[name] = await self._service.metadata(name)
        if version and version not in known.get("versions", []):
            raise NotFound(f"the model {name} has no version {_shown(version)}")
        return known

    async def config(self, name: str, version: str = "") -> dict[str, Any]:
        await self.metadata(name, version)
        return vectorize_model.config() if name == vectorize_model.NAME else await self._service.config(name)

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Of one model, or of all when ``name`` is empty."""
        if name:
            await self.metadata(name, version)
        stats = [self._own_statistics()] if name in ("", vectorize_model.NAME) else []
        for engine in await self._service.engines() if not name else [name]:
            if engine != vectorize_model.NAME:
                stats += (await self._service.statistics(engine)).get("model_stats", [])
        return {"model_stats": stats}

    async def index(self) -> list[dict[str, str]]:
        health, engines = await self._service.health(), await self._service.engines()
        listed = [{"name": vectorize_model.NAME, "version": vectorize_model.VERSION, "state": "READY", "reason": ""}]
        for name, engine in ((name, health.engines[name]) for name in engines if name in health.engines):
            state = "READY" if engine.ready else "UNAVAILABLE"
            listed.append({"name": name, "version": engine.version, "state": state, "reason": engine.reason})
        return listed

    async def load(self, name: str, parameters: Iterable[str]) -> None:
        """Every model is loaded as long as the stack runs, so that this only checks the name.

        ``parameters`` of Triton's would replace the model's configuration or files: that is refused.
        """
        await self.metadata(name)
        overrides = list(parameters)
        if overrides:
            raise InvalidRequest("the stack's models keep the configuration that they have", overrides[0][:64])

    async def unload(self, name: str) -> None:
        await self.metadata(name)
        raise InvalidRequest("the stack's models stay loaded while it runs", "model")

    async def infer(self, name: str, version: str, request: InferRequest) -> tuple[str, dict[str, Array]]:
        """The version that answered, and its outputs by name."""
        if name == vectorize_model.NAME:
            await self.metadata(name, version)
            return vectorize_model.VERSION, await self._vectorize(request)
        described = await self.metadata(name, version)
        versions = described.get("versions", [])
        _check_rows(described.get("inputs", []), request.inputs)
        outputs = await self._service.infer(
            name,
            {tensor.name: tensor.array for tensor in request.inputs},
            outputs=[output.name for output in request.outputs] or None,
            timeout_s=self._timeout_s(request),
        )
        _check_outputs(outputs)
        return version or str(versions[-1] if versions else "1"), outputs

    async def _vectorize(self, request: InferRequest) -> dict[str, Array]:
        start = time.perf_counter_ns()
        outcome = "fail"
        try:
            # In a thread: to pack ten megabytes of pixels would hold every other request up.
            image = await asyncio.to_thread(vectorize_model.read_image, request, self._settings.vectorizer.image)
            options = vectorize_model.read_options(request, timeout_s=self._timeout_s(request))
            outputs = vectorize_model.to_outputs(await self._service.vectorize(image, options), request)
            outcome = "success"
            return outputs
        finally:
            self._stats[outcome][0] += 1
            self._stats[outcome][1] += time.perf_counter_ns() - start
            self._last_inference_ms = time.time_ns() // 1_000_000

    @staticmethod
    def _timeout_s(request: InferRequest) -> float | None:
        """Triton's request parameter ``timeout``, in microseconds; 0 is none."""
        timeout_us = request.parameters.get("timeout", 0)
        if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or not 0 <= timeout_us <= 3_600_000_000:
            raise InvalidRequest("must be a number of microseconds, at most an hour", "timeout")
        return timeout_us / 1e6 or None

    def _own_statistics(self) -> dict[str, Any]:
        inference_stats = {key: {"count": count, "ns": ns} for key, (count, ns) in self._stats.items()}
        succeeded = self._stats["success"][0]
        return {
            "name": vectorize_model.NAME,
            "version": vectorize_model.VERSION,
            "last_inference": self._last_inference_ms,
            "inference_count": succeeded,
            "execution_count": succeeded,
            "inference_stats": inference_stats,
            "batch_stats": [],
        }


def _check_rows(described: list[dict[str, Any]], tensors: Iterable[Tensor]) -> None:
    """Raises ``TooLarge``: an engine takes any size along a free axis, and memory in proportion."""
    shapes = {entry["name"]: [int(size) for size in entry.get("shape", [])] for entry in described}
    for tensor in tensors:
        declared = shapes.get(tensor.name, ())
        rows = math.prod(size for size, wanted in zip(tensor.array.shape, declared, strict=False) if wanted < 0)
        if rows > MAX_ROWS:
            raise TooLarge(f"has {rows} rows on its free axes; at most {MAX_ROWS} fit one request", tensor.name)


def _check_outputs(outputs: Mapping[str, Array]) -> None:
    """Inputs are finite; an output that is not tells that they lie far outside what the engine can take."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidRequest(f"the output {name} is not finite for these inputs; send smaller numbers", "inputs")


def _shown(text: str) -> str:
    return ascii(text[:64])
