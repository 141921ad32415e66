"""The Vectorizer's breaker counts, and refuses no request (A-100)."""

from __future__ import annotations

import pytest
from standin import StandIn

from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.errors import BadImage, EngineLost, EngineUnavailable, Overloaded
from serve.releases.fallback.circuit_breaker import CLOSED, OPEN
from serve.releases.fallback.wrappers import WatchedVectorizer
from serve.settings import BreakerSettings


class Failing(StandIn):
    error: Exception | None = None

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        if self.error is not None:
            raise self.error
        return await super().vectorize(data, options)


async def test_engine_failures_are_counted_and_requests_pass_while_open(logo: bytes) -> None:
    service = Failing()
    watched = WatchedVectorizer(service, BreakerSettings(failures=3, wait_s=60))
    for error in (BadImage("x", "image"), Overloaded("full")):
        service.error = error
        for _ in range(5):
            with pytest.raises(type(error)):
                await watched.vectorize(logo, VectorizeOptions())
    assert (watched.breaker.state, watched.breaker.counts()) == (CLOSED, (0, 0))
    service.error = EngineLost("gone")
    for _ in range(3):
        with pytest.raises(EngineUnavailable):
            await watched.vectorize(logo, VectorizeOptions())
    assert watched.breaker.state == OPEN
    service.error = None
    assert (await watched.vectorize(logo, VectorizeOptions())).svg.startswith("<svg")
    assert await watched.engines() == ["plus_one"]
    assert await watched.versions() == {"plus_one": "1"}


async def test_successes_are_counted(logo: bytes) -> None:
    watched = WatchedVectorizer(StandIn(), BreakerSettings())
    await watched.vectorize(logo, VectorizeOptions())
    await watched.analyze(logo)
    assert watched.breaker.counts() == (2, 0)
