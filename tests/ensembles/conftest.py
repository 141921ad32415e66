from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fake_models import models
from fakes import FakeEngines

from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vectorizer() -> AsyncIterator[Vectorizer]:
    """With stand-in engines and real tracers."""
    made = Vectorizer(VectorizerSettings(workers=2), engines=FakeEngines(models()))  # type: ignore[arg-type]
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def engines(vectorizer: Vectorizer) -> Any:
    """The stand-in engines, with all answers restored and no recorded calls."""
    fake = vectorizer.engine_set.client
    fake.answers = models()  # type: ignore[attr-defined]
    fake.calls.clear()  # type: ignore[attr-defined]
    vectorizer._health = None
    vectorizer._resources.analyzer._cache.clear()
    return fake
