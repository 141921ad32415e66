"""`EngineVersions`: the versions of its engines that one Triton has loaded, and the current one of each (D-083)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from serve.engines.client import EngineClient
from serve.engines.triton import manifests, server_log
from serve.engines.triton.manifests import check_files, version_label
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError, Conflict, EngineUnavailable, InvalidRequest, Overloaded
from serve.observability.metrics import catalogue

LOGGER = logging.getLogger(__name__)

MAX_LOADED_VERSIONS = 4
"""Loaded versions per engine: the current, the previous, a candidate, and one for an older job."""
UNUSED_TTL_S = 30.0
"""An unused version is unloaded after this time."""
LOAD_RETRY_S = 30.0
"""A version that failed to load is not tried again for this time."""
UNKNOWN = "unknown"


class EngineVersions:
    """For one event loop. Without ``server`` Triton is external: nothing is loaded or unloaded."""

    def __init__(
        self,
        repository: Path,
        names: Sequence[str],
        client: EngineClient,
        server: TritonServer | None,
        current: Mapping[str, str],
        load_timeout_s: float,
    ) -> None:
        """``current``: selected version by engine; default: the lowest."""
        self._repository = repository
        self._names = tuple(names)
        self._client = client
        self._server = server
        self._load_timeout_s = load_timeout_s
        self._current = {engine: current.get(engine, self._lowest_version(engine)) for engine in names}
        self._labels = {engine: self._labels_of(engine) for engine in names}
        self._uses: Counter[tuple[str, str]] = Counter()
        self._used_at: dict[tuple[str, str], float] = {}
        self._locks = {engine: asyncio.Lock() for engine in names}
        self._failed: dict[tuple[str, str], tuple[float, AtelierError]] = {}

    @property
    def current(self) -> Mapping[str, str]:
        """Version by engine for requests that name none; "" lets Triton choose."""
        return self._current

    def loaded(self, engine: str) -> Sequence[str]:
        """Loaded versions; empty for an external Triton."""
        return self._server.versions.get(engine, ()) if self._server is not None else ()

    def label(self, engine: str, version: str = "") -> str:
        """The label of a version in answers, from its manifest."""
        return self._labels.get(engine, {}).get(version or self._current.get(engine, ""), UNKNOWN)

    def labels(self) -> dict[str, str]:
        """Labels of the current version by engine, and of each version by ENGINE/VERSION."""
        found = {engine: self.label(engine) for engine in self._names}
        return found | {
            f"{name}/{version}": label for name, of in self._labels.items() for version, label in of.items()
        }

    @contextlib.asynccontextmanager
    async def using(self, wanted: Mapping[str, str]) -> AsyncIterator[Mapping[str, str]]:
        """Reserve a version of every engine for one request: as in ``wanted``, otherwise the current one.

        Reserved versions are not unloaded. Raises EngineUnavailable for a version that cannot be loaded, and
        Overloaded.
        """
        chosen = {engine: wanted.get(engine, version) for engine, version in self._current.items()}
        keys = list(chosen.items())
        self._uses.update(keys)  # before loading, so that none is unloaded in between
        try:
            for engine, version in keys:
                await self.ensure(engine, version)
            yield chosen
        finally:
            self._uses.subtract(keys)
            self._used_at.update(dict.fromkeys(keys, time.monotonic()))

    async def ensure(self, engine: str, version: str) -> None:
        """Load the version if needed. The load completes even if the caller is cancelled: others may wait for it."""
        if self._server is not None and version and version not in self.loaded(engine):
            await asyncio.shield(asyncio.ensure_future(self._add(engine, version)))

    async def _add(self, engine: str, version: str) -> None:
        async with self._locks[engine]:
            if version in self.loaded(engine):
                return
            if (failed := self._failed.get((engine, version))) and time.monotonic() - failed[0] < LOAD_RETRY_S:
                raise failed[1]
            kept = list(self.loaded(engine))
            if len(kept) >= MAX_LOADED_VERSIONS:
                kept.remove(self._least_recently_used(engine))
            self._client.check_restarting(engine)  # not a failure of this version
            try:
                await self._check_files(engine, version)
                await self._load(engine, [*kept, version])
            except AtelierError as error:
                self._failed[engine, version] = time.monotonic(), error
                raise
            LOGGER.warning("engine %s has version %s now", engine, version)

    async def _check_files(self, engine: str, version: str) -> None:
        """Verify checksums: a version may be named by a client."""
        try:
            await asyncio.to_thread(check_files, self._repository / engine, version)
        except Conflict as error:
            raise EngineUnavailable(str(error)) from error

    def switch(self, engine: str, version: str) -> None:
        """Make ``version`` the default of requests that name none, if it is loaded."""
        if self._server is None or version in self.loaded(engine):
            self._current[engine] = version

    async def retain(self, engine: str, versions: Sequence[str]) -> dict[str, str]:
        """Load ``versions``; unload versions that are not among them, not current and idle.

        Returns the reasons of failed loads by version.
        """
        failures = {}
        for version in versions:
            try:
                await self.ensure(engine, version)
            except AtelierError as error:
                failures[version] = str(error)
        if self._server is not None:
            await self._unload_unused(engine, versions)
        return failures

    def block(self, engine: str, version: str, reason: str) -> None:
        """Block loading of ``version`` until `clear_failures`."""
        self._failed[engine, version] = math.inf, EngineUnavailable(reason)

    def clear_failures(self, engine: str) -> None:
        """Allow an immediate retry of failed loads."""
        self._failed = {key: failure for key, failure in self._failed.items() if key[0] != engine}

    async def _unload_unused(self, engine: str, wanted: Sequence[str]) -> None:
        async with self._locks[engine]:
            loaded, now = self.loaded(engine), time.monotonic()
            wanted = [*wanted, self._current[engine]]
            kept = [one for one in loaded if one in wanted or not self._is_idle(engine, one, now)]
            if len(kept) < len(loaded):
                await self._load(engine, kept)
                LOGGER.warning("engine %s has left: version %s", engine, ", ".join(set(loaded) - set(kept)))

    async def _load(self, engine: str, versions: Sequence[str]) -> None:
        assert self._server is not None
        before = self.loaded(engine)
        # Versions to unload are not supervised from now on; new ones only once they are loaded.
        self._server.set_versions(engine, [version for version in before if version in versions])
        try:
            await asyncio.to_thread(self._server.set_view, engine, versions)
            await self._client.load(engine, timeout_s=self._load_timeout_s)
        except BaseException as error:
            self._server.set_versions(engine, before)
            await asyncio.to_thread(self._server.set_view, engine, before)
            if isinstance(error, InvalidRequest):  # Triton's code for a version that cannot be loaded
                LOGGER.error("engine %s: %s", engine, error)
                raise EngineUnavailable(f"it does not load: {server_log.plain(str(error))}") from error
            raise
        self._server.set_versions(engine, versions)
        self._labels[engine] = await asyncio.to_thread(self._labels_of, engine)
        for version in {*before, *versions}:
            catalogue.ENGINE_INFO.set(float(version in versions), engine, self.label(engine, version))

    def _least_recently_used(self, engine: str) -> str:
        """The least recently used idle version. Raises Overloaded if all are in use."""
        idle = [one for one in self.loaded(engine) if one != self._current[engine] and not self._uses[engine, one]]
        if not idle:
            raise Overloaded(f"engine '{engine}' has {MAX_LOADED_VERSIONS} versions at work already")
        return min(idle, key=lambda one: self._used_at.get((engine, one), 0.0))

    def _is_idle(self, engine: str, version: str, now: float) -> bool:
        used_at = self._used_at.setdefault((engine, version), now)
        return not self._uses[engine, version] and now - used_at >= UNUSED_TTL_S

    def _lowest_version(self, engine: str) -> str:
        if self._server is None:
            return ""
        return next(iter(manifests.version_numbers(self._repository / engine)), "")

    def _labels_of(self, engine: str) -> dict[str, str]:
        folder = self._repository / engine
        versions = manifests.version_numbers(folder)
        labels = {version: version_label(folder, version) for version in ("", *versions)}
        return {version: label for version, label in labels.items() if label is not None}
