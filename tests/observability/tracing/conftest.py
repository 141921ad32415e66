"""A collector, and this process sending to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from otlp_collector import Collector, collecting

from serve.observability.tracing import export
from serve.settings import TracingSettings


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def traced(collector: Collector) -> Iterator[Collector]:
    export.start(TracingSettings(endpoint=collector.url), "Tests", "one")
    yield collector
    export.stop()
