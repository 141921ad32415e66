"""The real HTTP application and the real gRPC servicer around a stand-in Vectorizer, in this process. No Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from both_doors import both_doors
from illustrator_standin import IllustratorStandIn
from keyed_door import KeyedSite, ada, admin, bob, keyed_site  # noqa: F401
from standin import Served, StandIn

from serve.api.app import create_app
from serve.ensembles.illustrator.service import IllustratorService
from serve.settings import Settings
from serve.state import State
from tests.ensembles.drawn_family import write_family


@pytest.fixture
def service() -> StandIn:
    return StandIn()


@pytest.fixture
async def door(service: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application over an in-memory transport."""
    transport = httpx.ASGITransport(create_app(service, Settings()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client


@pytest.fixture
def illustrator() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a family whose engines are functions."""
    return write_family(tmp_path_factory.mktemp("repository"))


@pytest.fixture
async def site(state: State, illustrator: IllustratorService) -> AsyncIterator[KeyedSite]:
    """With keys, and whatever Illustrator the module has."""
    async with keyed_site(state, illustrator) as made:
        yield made


@pytest.fixture
async def studio(service: StandIn, illustrator: IllustratorStandIn) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with an Illustrator."""
    app = create_app(service, Settings(), illustrator=illustrator)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """HTTP and gRPC on real sockets, for stock clients."""
    with both_doors() as doors:
        yield doors
