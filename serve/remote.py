"""The hop from a gateway to an ensemble's replicas, and the one place where Ray's errors become ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from serve.api.open_inference.tensors import Array
from serve.engines.service import Health
from serve.ensembles.illustration import (
    UNFOLLOWED,
    Checkpoint,
    FamilyInfo,
    Follow,
    IllustrateOptions,
    Illustration,
    Told,
)
from serve.ensembles.relay import Outbox, relay
from serve.ensembles.reports import WAITING_PREVIEWS, Seen, lay
from serve.ensembles.vectorization import NO_VERSIONS, Analysis, Vectorization, VectorizeOptions
from serve.errors import AtelierError, Cancelled, DeadlineExceeded, EngineFailure, EngineLost, Overloaded

ATTEMPTS = 2
"""A call whose replica died is made once more: every call of ours gives the same answer when repeated."""

HEALTH_TIMEOUT_S = 10.0
"""Who asks for health does not wait as long as for a conversion: no answer is one, too."""


class _Lost(Exception):
    """The replica died with the call."""


class RemoteEnsemble:
    """What every ensemble's replica answers. ``name`` is for messages; ``timeout_s`` bounds each call."""

    def __init__(self, name: str, handle: DeploymentHandle[Any], timeout_s: float) -> None:
        self._name = name
        self._handle = handle
        self._timeout_s = timeout_s

    async def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Within one deadline, however often it asks."""
        timeout_s = min(self._timeout_s, HEALTH_TIMEOUT_S) if method == "health" else self._timeout_s
        deadline = asyncio.get_running_loop().time() + timeout_s
        for _ in range(ATTEMPTS):
            response = self._handle.call.remote(method, *arguments, **named)
            with contextlib.suppress(_Lost), self._errors(response, timeout_s):
                async with asyncio.timeout_at(deadline):
                    result = await response
                return _value(result)
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def _stream(self, deadline: float, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """What one replica yields until ``deadline``, in the event loop's time. Raises ``_Lost`` if it dies."""
        response: Any = self._handle.options(stream=True).stream.remote(method, *arguments)
        with self._errors(response, self._timeout_s):
            while True:
                async with asyncio.timeout_at(deadline):
                    item = await anext(response, None)
                if item is None:
                    return
                yield _value(item)

    @contextlib.contextmanager
    def _errors(
        self, response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any], timeout_s: float
    ) -> Iterator[None]:
        """Ray's errors as ours; whoever stops waiting cancels the work."""
        try:
            yield
        except TimeoutError:
            _cancel(response)
            raise DeadlineExceeded(f"no answer within {timeout_s:g} s") from None
        except (asyncio.CancelledError, GeneratorExit):
            _cancel(response)
            raise
        except BackPressureError:
            raise Overloaded("too many requests are waiting; try again later") from None
        except TaskCancelledError:
            raise Cancelled("the request was cancelled") from None
        except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError):
            raise _Lost from None
        except RayTaskError as error:
            # Ray's text is a trace with addresses: it stays in the log.
            raise EngineFailure(f"an internal error of the {self._name}; the log has it") from error

    async def health(self) -> Health:
        result: Health = await self._call("health")
        return result

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Array],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, Array]:
        result: dict[str, Array] = await self._call(
            "infer", engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version
        )
        return result

    async def metadata(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("metadata", engine)
        return result

    async def config(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("config", engine)
        return result

    async def statistics(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("statistics", engine)
        return result

    async def engines(self) -> list[str]:
        result: list[str] = await self._call("engines")
        return result

    async def versions(self) -> Mapping[str, str]:
        result: Mapping[str, str] = await self._call("versions")
        return result


class RemoteVectorizer(RemoteEnsemble):
    """The ``VectorizerService`` across the hop."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float) -> None:
        super().__init__("Vectorizer", handle, timeout_s)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        result: Vectorization = await self._call("vectorize", data, options)
        return result

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        result: Analysis = await self._call("analyze", data, engine_versions)
        return result


class RemoteIllustrator(RemoteEnsemble):
    """The ``IllustratorService`` across the hop. Seeds are drawn here, so that a repeated call draws the same."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float) -> None:
        super().__init__("Illustrator", handle, timeout_s)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        result: Illustration = await self._call("draw", _seeded(options))
        return result

    async def stream(
        self, options: IllustrateOptions, follow: Follow = UNFOLLOWED, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[Told, None]:
        """A replica that dies is replaced by one that goes on from the last checkpoints; nothing is told twice."""
        work = partial(self._read, _seeded(options), follow, resume)
        async with contextlib.aclosing(relay(work, WAITING_PREVIEWS)) as items:
            async for item in items:
                yield item

    async def _read(
        self, options: IllustrateOptions, follow: Follow, resume: Sequence[Checkpoint], outbox: Outbox
    ) -> Illustration | None:
        """As fast as it comes: Ray keeps for a slow reader all that was yielded, and not the newest alone."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        seen, drawn = Seen(resume), None
        for _ in range(ATTEMPTS):
            stream = self._stream(deadline, "stream", options, follow, tuple(seen.checkpoints.values()))
            with contextlib.suppress(_Lost):
                async with contextlib.aclosing(stream) as items:
                    async for item in items:
                        if isinstance(item, Illustration):
                            drawn = item
                        elif seen.is_new(item):
                            await lay(outbox, item)
                return drawn
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def families(self) -> Sequence[FamilyInfo]:
        result: Sequence[FamilyInfo] = await self._call("families")
        return result


def _seeded(options: IllustrateOptions) -> IllustrateOptions:
    return replace(options, seed=options.named_seed())


def _value(result: Any) -> Any:
    """Replicas answer errors of ours as values, since Ray Serve logs an exception that leaves one as its failure."""
    if isinstance(result, AtelierError):
        raise result
    return result


def _cancel(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> None:
    response.cancel()  # type: ignore[no-untyped-call]
