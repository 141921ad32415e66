"""The models of the open inference protocol: the ensembles, and the engines that they are made of."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Protocol

from serve.api.inference.codec import InferRequest
from serve.api.inference.description import Answer, ModelDescription
from serve.api.inference.illustrate_model import IllustrateModel
from serve.api.inference.tensors import Tensor
from serve.api.inference.usage import Recorder, Statistics
from serve.api.inference.vectorize_model import VectorizeModel
from serve.api.middleware.deadlines import context_with_parameters, timeout_of
from serve.engines.service import EngineRouter, EngineService
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, InvalidRequest, NotFound, TooLarge
from serve.observability import request_context
from serve.releases.rollouts.version_selector import VersionSelector
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics", "parameters", "generate"]

METADATA_CACHE_S = 3.0
"""How long an engine's metadata is cached."""

MAX_ROWS = 4096
"""Most rows of one engine input: the product of its free axes (those of size -1), the batch's among them."""

MAX_PIXELS = 16 * 256 * 256
"""Instead of MAX_ROWS for inputs with three or more free axes (pictures, latents): a batch of the largest latents.

The ensemble bounds the sizes that one family's engines get.
"""


class EnsembleModel(Protocol):
    """An ensemble as a model."""

    description: ModelDescription

    async def ready(self) -> bool: ...
    async def config(self) -> dict[str, Any]: ...
    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer: ...


class Models:
    """Takes requests that HTTP or gRPC has decoded; answers as the protocol's JSON or arrays."""

    def __init__(
        self,
        vectorizer: VectorizerService,
        settings: Settings,
        illustrator: IllustratorService | None = None,
        version_selector: VersionSelector | None = None,
        database: Database | None = None,
        state: State | None = None,
    ) -> None:
        """``version_selector`` assigns users to versions of an ensemble's engines. The ``database`` gets a row with the
        cost of each request to an ensemble. Of the ``state`` are the LoRAs that requests name."""
        recorder = Recorder(database)
        self._ensembles: dict[str, EnsembleModel] = {}
        self._streaming: dict[str, IllustrateModel] = {}
        services: list[EngineService] = [vectorizer]
        self._add(VectorizeModel(vectorizer, settings.vectorizer.image, version_selector, recorder))
        if illustrator is not None:
            drawing = IllustrateModel(illustrator, settings.vectorizer.image, version_selector, recorder, state)
            self._add(drawing)
            self._streaming[drawing.description.name] = drawing
            services.append(illustrator)
        self.engines = EngineRouter(services)
        descriptions = [model.description for model in self._ensembles.values()]
        self._stats = {one.name: Statistics(one.name, one.version) for one in descriptions}
        self._metadata: dict[str, dict[str, Any]] = {one.name: one.metadata() for one in descriptions}
        self._metadata_read_at: dict[str, float] = {}
        """Of engines, by ``time.monotonic``."""

    def _add(self, model: EnsembleModel) -> None:
        self._ensembles[model.description.name] = model

    def server_metadata(self) -> dict[str, Any]:
        return {"name": "atelier", "version": version("atelier"), "extensions": EXTENSIONS}

    async def server_ready(self) -> bool:
        """Whether every engine of every ensemble is ready."""
        return (await self.engines.health()).ready

    async def model_ready(self, name: str, version: str = "") -> bool:
        await self.metadata(name, version)
        if name in self._ensembles:
            return await self._ensembles[name].ready()
        engines = (await self.engines.health()).engines
        return name in engines and engines[name].ready

    async def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """An engine's is cached briefly: its versions change when another is loaded or promoted."""
        known = self._metadata.get(name)
        if known is None or self._is_old(name, version, known):
            if name == IllustrateModel.description.name:
                raise NotFound(f"there is no illustration model here; {HOW_TO_BUILD}, then start the stack again")
            known = self._metadata[name] = await self.engines.metadata(name)
            self._metadata_read_at[name] = time.monotonic()
        if version and version not in known.get("versions", []):
            raise NotFound(f"the model {name} has no version {_ascii(version)}")
        return known

    def _is_old(self, name: str, version: str, known: Mapping[str, Any]) -> bool:
        if name in self._ensembles:
            return False
        is_new = bool(version) and version not in known.get("versions", [])
        return is_new or time.monotonic() - self._metadata_read_at[name] >= METADATA_CACHE_S

    async def config(self, name: str, version: str = "") -> dict[str, Any]:
        await self.metadata(name, version)
        return await (self._ensembles[name].config() if name in self._ensembles else self.engines.config(name))

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Statistics of one model, or of all when ``name`` is empty."""
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
        """The loaded versions, in order."""
        with contextlib.suppress(AtelierError):
            return sorted((await self.metadata(name)).get("versions", []), key=lambda version: (len(version), version))
        return [""]

    async def load(self, name: str, parameters: Iterable[str]) -> None:
        """Checks the name only: every model is loaded as long as the stack runs.

        Triton's ``parameters`` would replace the model's configuration or files; they raise InvalidRequest.
        """
        await self.metadata(name)
        overrides = list(parameters)
        if overrides:
            raise InvalidRequest("the stack's models keep the configuration that they have", overrides[0][:64])

    async def unload(self, name: str) -> None:
        await self.metadata(name)
        raise InvalidRequest("the stack's models stay loaded while it runs", "model")

    def is_known_engine(self, name: str) -> bool:
        """Whether ``name`` is an engine whose metadata has been read."""
        return name in self._metadata_read_at

    def is_streaming(self, name: str) -> bool:
        """Whether a request to the model ``name`` may get several answers."""
        return name in self._streaming

    async def infer(self, name: str, version: str, request: InferRequest, user_id: str = ANONYMOUS) -> Answer:
        """An ensemble uses the versions of its engines that are assigned to ``user_id``. An engine answers with
        ``version``, by default the site's current one. Raises NotFound for a version that is not loaded."""
        with request_context.use(context_with_parameters(request.parameters)):
            return await self._infer(name, version, request, user_id)

    async def _infer(self, name: str, version: str, request: InferRequest, user_id: str) -> Answer:
        described = await self.metadata(name, version)
        timeout_s = timeout_of(request.parameters)
        if name in self._ensembles:
            with self._stats[name].counted():
                return await self._ensembles[name].infer(request, timeout_s, user_id)
        answering_version = version or str(next(reversed(described.get("versions", [])), "1"))
        _check_rows(described.get("inputs", []), request.inputs)
        outputs = await self.engines.infer(
            name,
            {tensor.name: tensor.array for tensor in request.inputs},
            outputs=[output.name for output in request.outputs] or None,
            timeout_s=timeout_s,
            version=answering_version,
        )
        return Answer(answering_version, outputs)

    async def stream(
        self, name: str, version: str, request: InferRequest, user_id: str = ANONYMOUS
    ) -> AsyncGenerator[Answer]:
        """Every answer to ``request``: one, or previews before it. Closing it cancels the work.

        The `RequestContext` of the calling task is replaced by that of ``request``.
        """
        request_context.set_current(context_with_parameters(request.parameters))
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
    """Raises ``TooLarge``: an engine accepts any size along a free axis, and needs memory in proportion."""
    shapes = {entry["name"]: [int(size) for size in entry.get("shape", [])] for entry in described}
    for tensor in tensors:
        declared = shapes.get(tensor.name, ())
        free = [size for size, declared_size in zip(tensor.array.shape, declared, strict=False) if declared_size < 0]
        rows, most = math.prod(free), MAX_ROWS if len(free) < 3 else MAX_PIXELS
        if rows > most:
            raise TooLarge(f"has {rows} rows on its free axes; at most {most} fit one request", tensor.name)


def _ascii(text: str) -> str:
    return ascii(text[:64])
