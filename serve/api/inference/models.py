"""The models that the open inference doors show: the ensembles, and the engines that they are made of."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from serve.api.inference.codec import InferRequest
from serve.api.inference.description import Answer, ModelDescription
from serve.api.inference.illustrate_model import IllustrateModel
from serve.api.inference.recording import Recorder
from serve.api.inference.statistics import Statistics
from serve.api.inference.tensors import Array, Tensor
from serve.api.inference.vectorize_model import VectorizeModel
from serve.api.middleware.deadlines import asked_by, timeout_of
from serve.engines.service import EngineRouter, EngineService
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD, IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, InvalidRequest, NotFound, TooLarge
from serve.observability import request_context
from serve.releases.rollouts.version_selector import VersionSelector
from serve.settings import Settings
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics", "parameters", "generate"]

REMEMBERED_S = 3.0

MAX_ROWS = 4096
"""Most rows of one engine input: the product of its free axes (those of size -1), the batch's among them."""

MAX_PIXELS = 16 * 256 * 256
"""Instead of MAX_ROWS for inputs with three free axes and more (pictures, latents): a batch of the largest latents.

What one family's engines may be sent is bounded by its own sizes, in its ensemble.
"""


class EnsembleModel(Protocol):
    """An ensemble as a model."""

    description: ModelDescription

    async def ready(self) -> bool: ...
    async def config(self) -> dict[str, Any]: ...
    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer: ...


class Models:
    """Requests that both doors (HTTP and gRPC) have already decoded; answers as the protocol's JSON or arrays."""

    def __init__(
        self,
        vectorizer: VectorizerService,
        settings: Settings,
        illustrator: IllustratorService | None = None,
        choosing: VersionSelector | None = None,
        database: Database | None = None,
    ) -> None:
        """``choosing``: whose users have which versions of the engines behind an ensemble. What ensembles are asked is
        written down in the ``database``, if there is one."""
        recorder = Recorder(database)
        self._ensembles: dict[str, EnsembleModel] = {}
        self._streaming: dict[str, IllustrateModel] = {}
        services: list[EngineService] = [vectorizer]
        self._add(VectorizeModel(vectorizer, settings.vectorizer.image, choosing, recorder))
        if illustrator is not None:
            drawing = IllustrateModel(illustrator, choosing, recorder)
            self._add(drawing)
            self._streaming[drawing.description.name] = drawing
            services.append(illustrator)
        self.engines = EngineRouter(services)
        shown = [model.description for model in self._ensembles.values()]
        self._stats = {told.name: Statistics(told.name, told.version) for told in shown}
        self._told_at: dict[str, float] = {}
        self._metadata: dict[str, dict[str, Any]] = {told.name: told.metadata() for told in shown}

    def _add(self, model: EnsembleModel) -> None:
        self._ensembles[model.description.name] = model

    def server_metadata(self) -> dict[str, Any]:
        return {"name": "atelier", "version": version("atelier"), "extensions": EXTENSIONS}

    async def server_ready(self) -> bool:
        """Whether every engine of every ensemble is."""
        return (await self.engines.health()).ready

    async def model_ready(self, name: str, version: str = "") -> bool:
        await self.metadata(name, version)
        if name in self._ensembles:
            return await self._ensembles[name].ready()
        engines = (await self.engines.health()).engines
        return name in engines and engines[name].ready

    async def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """An engine's is kept for a moment: its versions change when another is loaded or promoted."""
        known = self._metadata.get(name)
        if known is None or self._is_old(name, version, known):
            if name == IllustrateModel.description.name:
                raise NotFound(f"there is no illustration model here; {HOW_TO_BUILD}, then start the stack again")
            known = self._metadata[name] = await self.engines.metadata(name)
            self._told_at[name] = time.monotonic()
        if version and version not in known.get("versions", []):
            raise NotFound(f"the model {name} has no version {_shown(version)}")
        return known

    def _is_old(self, name: str, version: str, known: Mapping[str, Any]) -> bool:
        if name in self._ensembles:
            return False
        is_new = bool(version) and version not in known.get("versions", [])
        return is_new or time.monotonic() - self._told_at[name] >= REMEMBERED_S

    async def config(self, name: str, version: str = "") -> dict[str, Any]:
        await self.metadata(name, version)
        return await (self._ensembles[name].config() if name in self._ensembles else self.engines.config(name))

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Of one model, or of all when ``name`` is empty."""
        if name:
            await self.metadata(name, version)
        names = [name] if name else [*self._ensembles, *await self.engines.engines()]
        stats: list[dict[str, Any]] = []
        for each in names:
            if each in self._stats:
                stats.append(self._stats[each].entry())
            else:
                stats += (await self.engines.statistics(each)).get("model_stats", [])
        return {"model_stats": stats}

    async def index(self) -> list[dict[str, str]]:
        listed = []
        for model in self._ensembles.values():
            is_ready = await model.ready()
            reason = "" if is_ready else "an engine of it is not ready"
            listed.append(_entry(model.description.name, model.description.version, is_ready, reason))
        health, names = (await self.engines.health()).engines, await self.engines.engines()
        for name in names:
            if name in health:
                versions = await self._versions_of(name)
                listed += [_entry(name, version, health[name].ready, health[name].reason) for version in versions]
        return listed

    async def _versions_of(self, name: str) -> list[str]:
        """Those that are loaded, in order."""
        with contextlib.suppress(AtelierError):
            return sorted((await self.metadata(name)).get("versions", []), key=lambda version: (len(version), version))
        return [""]

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

    def is_streaming(self, name: str) -> bool:
        """Whether a request to the model ``name`` may get several answers."""
        return name in self._streaming

    async def infer(self, name: str, version: str, request: InferRequest, user_id: str = ANONYMOUS) -> Answer:
        """An ensemble's engines have the versions that ``user_id`` has of them; an engine that is asked by its own name
        answers by ``version``, without one by the site's current one. Raises NotFound for one that is not loaded."""
        with request_context.use(asked_by(request.parameters)):
            return await self._infer(name, version, request, user_id)

    async def _infer(self, name: str, version: str, request: InferRequest, user_id: str) -> Answer:
        described = await self.metadata(name, version)
        timeout_s = timeout_of(request.parameters)
        if name in self._ensembles:
            with self._stats[name].counted():
                return await self._ensembles[name].infer(request, timeout_s, user_id)
        answered_by = version or str(next(reversed(described.get("versions", [])), "1"))
        _check_rows(described.get("inputs", []), request.inputs)
        outputs = await self.engines.infer(
            name,
            {tensor.name: tensor.array for tensor in request.inputs},
            outputs=[output.name for output in request.outputs] or None,
            timeout_s=timeout_s,
            version=answered_by,
        )
        _check_outputs(outputs)
        return Answer(answered_by, outputs)

    async def stream(
        self, name: str, version: str, request: InferRequest, user_id: str = ANONYMOUS
    ) -> AsyncGenerator[Answer]:
        """Every answer to ``request``: one, or previews before it. Closing it ends the work.

        The urgency of the task that reads it becomes that of ``request``.
        """
        request_context.set_current(asked_by(request.parameters))
        if not self.is_streaming(name):
            yield await self.infer(name, version, request, user_id)
            return
        await self.metadata(name, version)
        model = self._streaming[name]
        with self._stats[name].counted():
            async with contextlib.aclosing(model.stream(request, timeout_of(request.parameters), user_id)) as items:
                async for answer in items:
                    if not answer.final:
                        yield answer
        yield answer


def _entry(name: str, version: str, ready: bool, reason: str) -> dict[str, str]:
    return {"name": name, "version": version, "state": "READY" if ready else "UNAVAILABLE", "reason": reason}


def _check_rows(described: list[dict[str, Any]], tensors: Iterable[Tensor]) -> None:
    """Raises ``TooLarge``: an engine takes any size along a free axis, and memory in proportion."""
    shapes = {entry["name"]: [int(size) for size in entry.get("shape", [])] for entry in described}
    for tensor in tensors:
        declared = shapes.get(tensor.name, ())
        free = [size for size, wanted in zip(tensor.array.shape, declared, strict=False) if wanted < 0]
        rows, most = math.prod(free), MAX_ROWS if len(free) < 3 else MAX_PIXELS
        if rows > most:
            raise TooLarge(f"has {rows} rows on its free axes; at most {most} fit one request", tensor.name)


def _check_outputs(outputs: Mapping[str, Array]) -> None:
    """Inputs are finite; an output that is not tells that they lie far outside what the engine can take."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidRequest(f"the output {name} is not finite for these inputs; send smaller numbers", "inputs")


def _shown(text: str) -> str:
    return ascii(text[:64])
