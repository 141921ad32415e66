"""Whether an engine answers what its network answered (D-070: differences below 0.03)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from build_engines.export.contracts import Contract
from build_engines.export.runtimes import RUNTIMES

LIMIT = 0.03


class ParityError(Exception):
    """An exported engine differs from its network by more than LIMIT."""


def torch_answers(network: nn.Module, contract: Contract, inputs: dict[str, npt.NDArray[np.generic]]) -> list[Any]:
    """The network's outputs as arrays, in the contract's order."""
    network.eval()
    with torch.no_grad():
        out = network(*(torch.from_numpy(inputs[t.name]) for t in contract.inputs))
    return [o.numpy() for o in (out if isinstance(out, tuple) else (out,))]


def check(network: nn.Module, contract: Contract, path: Path) -> dict[str, float]:
    """Largest absolute difference to torch over three batches, per runtime and overall. Raises ParityError."""
    worst: dict[str, float] = {}
    for name, opener in RUNTIMES.items():
        run = opener(path, contract)
        gaps = []
        for batch, length in ((1, 1), (2, 16), (7, 300)):
            inputs = contract.example(batch, length, seed=batch)
            expected = torch_answers(network, contract, inputs)
            answers = run(inputs)
            gaps += [float(np.abs(answers[t.name] - e).max()) for t, e in zip(contract.outputs, expected, strict=True)]
        worst[name] = float(f"{max(gaps):.3g}")
    worst["max_abs_error"] = max(worst.values())
    worst["limit"] = LIMIT
    if not worst["max_abs_error"] < LIMIT:
        raise ParityError(f"{contract.name}: differs from its network by {worst['max_abs_error']}")
    return worst
