"""`EngineVersions`: which versions of its engines one Triton has, and which of them a request gets (D-083, D-091)."""

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
from serve.engines.triton import log, repository_view
from serve.engines.triton.manifests import check_files, label_of
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError, Conflict, EngineUnavailable, InvalidRequest, Overloaded
from serve.observability.metrics import catalogue

LOGGER = logging.getLogger(__name__)

MOST_LOADED = 4
"""Versions of one engine in one Triton: what is served, what was, what may be, and one for a job of before."""
LINGER_S = 30.0
"""How long a version stays that nobody wants any more: who asks for it may ask again."""
REST_S = 30.0
"""What did not load is not tried again for so long, whoever asks for it."""
UNKNOWN = "unknown"


class EngineVersions:
    """For one event loop. Without a ``server`` a Triton outside has what it has: nothing is loaded or unloaded."""

    def __init__(
        self,
        repository: Path,
        names: Sequence[str],
        client: EngineClient,
        server: TritonServer | None,
        current: Mapping[str, str],
        load_timeout_s: float,
    ) -> None:
        """``current`` where somebody said which; else an engine's lowest."""
        self._repository = repository
        self._names = tuple(names)
        self._client = client
        self._server = server
        self._load_timeout_s = load_timeout_s
        self._current = {engine: current.get(engine, self._first(engine)) for engine in names}
        self._labels = {engine: self._labels_of(engine) for engine in names}
        self._uses: Counter[tuple[str, str]] = Counter()
        self._used_at: dict[tuple[str, str], float] = {}
        self._turns = {engine: asyncio.Lock() for engine in names}
        self._failed: dict[tuple[str, str], tuple[float, AtelierError]] = {}

    @property
    def current(self) -> Mapping[str, str]:
        """What a request gets that names none; "" is Triton's to say."""
        return self._current

    def loaded(self, engine: str) -> Sequence[str]:
        """None where a Triton outside has what it has."""
        return self._server.versions.get(engine, ()) if self._server is not None else ()

    def label(self, engine: str, version: str = "") -> str:
        """What answers call it: as its manifest has it."""
        return self._labels.get(engine, {}).get(version or self._current.get(engine, ""), UNKNOWN)

    def labels(self) -> dict[str, str]:
        """By engine that of the current version, and by ENGINE/VERSION each."""
        found = {engine: self.label(engine) for engine in self._names}
        return found | {
            f"{name}/{version}": label for name, of in self._labels.items() for version, label in of.items()
        }

    @contextlib.asynccontextmanager
    async def using(self, wanted: Mapping[str, str]) -> AsyncIterator[Mapping[str, str]]:
        """The version of every engine for one request: as ``wanted``, else the current one. They stay meanwhile.

        Raises EngineUnavailable for one that cannot be had here, and Overloaded.
        """
        chosen = {engine: wanted.get(engine, version) for engine, version in self._current.items()}
        keys = list(chosen.items())
        self._uses.update(keys)  # before they are loaded: nobody unloads them in between
        try:
            for engine, version in keys:
                await self.ensure(engine, version)
            yield chosen
        finally:
            self._uses.subtract(keys)
            self._used_at.update(dict.fromkeys(keys, time.monotonic()))

    async def ensure(self, engine: str, version: str) -> None:
        """Loads it unless it is loaded; to its end, whoever stops waiting: others want it, too."""
        if self._server is not None and version and version not in self.loaded(engine):
            await asyncio.shield(asyncio.ensure_future(self._add(engine, version)))

    async def _add(self, engine: str, version: str) -> None:
        async with self._turns[engine]:
            if version in self.loaded(engine):
                return
            if (failed := self._failed.get((engine, version))) and time.monotonic() - failed[0] < REST_S:
                raise failed[1]
            kept = list(self.loaded(engine))
            if len(kept) >= MOST_LOADED:
                kept.remove(self._spare(engine))
            self._client.check_restarting(engine)  # which is no failure of this version's
            try:
                await self._check_files(engine, version)
                await self._load(engine, [*kept, version])
            except AtelierError as error:
                self._failed[engine, version] = time.monotonic(), error
                raise
            LOGGER.warning("engine %s has version %s now", engine, version)

    async def _check_files(self, engine: str, version: str) -> None:
        """Whoever names a version: who opens a file that is not what it says trusts a stranger."""
        try:
            await asyncio.to_thread(check_files, self._repository / engine, version)
        except Conflict as error:
            raise EngineUnavailable(str(error)) from error

    def switch(self, engine: str, version: str) -> None:
        """From now on requests that name none get ``version``, if it is loaded; else what they got before."""
        if self._server is None or version in self.loaded(engine):
            self._current[engine] = version

    async def keep(self, engine: str, versions: Sequence[str]) -> dict[str, str]:
        """``versions`` are loaded; what is none of them, nor the current one, and has not been used for a while, goes.

        Returns why versions cannot be had.
        """
        failures = {}
        for version in versions:
            try:
                await self.ensure(engine, version)
            except AtelierError as error:
                failures[version] = str(error)
        if self._server is not None:
            await self._drop_unused(engine, versions)
        return failures

    def refuse(self, engine: str, version: str, reason: str) -> None:
        """``version`` is not loaded for anybody, before its failures are forgotten."""
        self._failed[engine, version] = math.inf, EngineUnavailable(reason)

    def forget_failures(self, engine: str) -> None:
        """What could not be loaded a moment ago is tried again at once."""
        self._failed = {key: told for key, told in self._failed.items() if key[0] != engine}

    async def _drop_unused(self, engine: str, wanted: Sequence[str]) -> None:
        async with self._turns[engine]:
            loaded, now = self.loaded(engine), time.monotonic()
            wanted = [*wanted, self._current[engine]]
            kept = [one for one in loaded if one in wanted or not self._is_idle(engine, one, now)]
            if len(kept) < len(loaded):
                await self._load(engine, kept)
                LOGGER.warning("engine %s has left: version %s", engine, ", ".join(set(loaded) - set(kept)))

    async def _load(self, engine: str, versions: Sequence[str]) -> None:
        assert self._server is not None
        before = self.loaded(engine)
        # What is to go is not watched from now on, and what is to come not before it is there.
        self._server.confirm(engine, [version for version in before if version in versions])
        try:
            await asyncio.to_thread(self._server.show, engine, versions)
            await self._client.load(engine, timeout_s=self._load_timeout_s)
        except BaseException as error:
            self._server.confirm(engine, before)
            await asyncio.to_thread(self._server.show, engine, before)
            if isinstance(error, InvalidRequest):  # how Triton says that what it was given does not load
                LOGGER.error("engine %s: %s", engine, error)
                raise EngineUnavailable(f"it does not load: {log.plain(str(error))}") from error
            raise
        self._server.confirm(engine, versions)
        self._labels[engine] = await asyncio.to_thread(self._labels_of, engine)
        for version in {*before, *versions}:
            catalogue.ENGINE_INFO.set(float(version in versions), engine, self.label(engine, version))

    def _spare(self, engine: str) -> str:
        """The one that was used the longest time ago. Raises Overloaded when all are in use."""
        idle = [one for one in self.loaded(engine) if one != self._current[engine] and not self._uses[engine, one]]
        if not idle:
            raise Overloaded(f"engine '{engine}' has {MOST_LOADED} versions at work already")
        return min(idle, key=lambda one: self._used_at.get((engine, one), 0.0))

    def _is_idle(self, engine: str, version: str, now: float) -> bool:
        used_at = self._used_at.setdefault((engine, version), now)
        return not self._uses[engine, version] and now - used_at >= LINGER_S

    def _first(self, engine: str) -> str:
        if self._server is None:
            return ""
        return next(iter(repository_view.numbers(self._repository / engine)), "")

    def _labels_of(self, engine: str) -> dict[str, str]:
        folder = self._repository / engine
        versions = repository_view.numbers(folder)
        labels = {version: label_of(folder, version) for version in ("", *versions)}
        return {version: label for version, label in labels.items() if label is not None}
