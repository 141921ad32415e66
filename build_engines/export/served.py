"""Parity once more, through the real server: what Triton answers against what the network answered (D-070)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from build_engines.export.contracts import CONTRACTS
from build_engines.export.parity import LIMIT, ParityError, torch_answers
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

_BATCHES = ((1, 8), (4, 100))


def check_served(networks: Mapping[str, nn.Module], repository: Path) -> dict[str, float]:
    """Starts Triton on ``repository``, compares every engine with its network, and adds ``served`` to its manifest.

    Returns the largest absolute difference by engine. Raises ParityError past LIMIT.
    """
    with TritonServer(repository, list(networks)) as server:
        gaps = asyncio.run(_gaps(server.url, networks))
    for name, gap in gaps.items():
        path = repository / name / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["parity"]["served"] = gap
        manifest["parity"]["max_abs_error"] = max(gap, manifest["parity"]["max_abs_error"])
        path.write_text(json.dumps(manifest, indent=2) + "\n")
        if not gap < LIMIT:
            raise ParityError(f"{name}: as served it differs from its network by {gap}")
    return gaps


async def _gaps(url: str, networks: Mapping[str, nn.Module]) -> dict[str, float]:
    client = EngineClient(url)
    try:
        return {name: await _gap(client, name, network) for name, network in networks.items()}
    finally:
        await client.close()


async def _gap(client: EngineClient, name: str, network: nn.Module) -> float:
    contract, worst = CONTRACTS[name], 0.0
    for batch, length in _BATCHES:
        inputs = contract.example(batch, length, seed=batch)
        answers = await client.infer(name, inputs)
        for tensor, expected in zip(contract.outputs, torch_answers(network, contract, inputs), strict=True):
            worst = max(worst, float(np.abs(answers[tensor.name] - expected).max()))
    return float(f"{worst:.3g}")
