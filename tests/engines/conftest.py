from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import tiny_onnx

from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

BACKENDS = ("onnxruntime", "openvino")
NAMES = (
    *(f"{kind}_{backend}" for kind in ("affine", "pair", "whole") for backend in BACKENDS),
    *(f"{kind}_onnxruntime" for kind in ("lookup", "text", "slow")),
)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with each tiny engine, named by kind and backend."""
    root = tmp_path_factory.mktemp("model_repository")
    for name in NAMES:
        kind, backend = name.split("_")
        getattr(tiny_onnx, kind)(root, name, backend)
    return root


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[TritonServer]:
    """A running server with every tiny engine. Tests that break it start their own."""
    with TritonServer(repository, NAMES, threads=2) as server:
        yield server


@pytest.fixture
async def engines(triton: TritonServer) -> AsyncIterator[EngineClient]:
    client = EngineClient(triton.url)
    yield client
    await client.close()
