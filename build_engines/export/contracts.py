"""The engines' contracts: names, shapes and types of what goes in and out, and how many requests a batch may join.

``config.pbtxt`` is written from here, the ONNX is exported with these names, and a test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from serve.engines.adapter_files import IDS, SCALES, SLOTS
from serve.vector.features import STATISTICS
from serve.vector.parameters import CANDIDATE_WIDTH, LEARNED
from serve.vector.structure import STRUCTURE

DataType = Literal["TYPE_FP32", "TYPE_UINT8", "TYPE_INT32", "TYPE_INT64"]
SIDE_PX = 128
EMBEDDING = 512


@dataclass(frozen=True)
class Tensor:
    """One input or output without its batch axis; -1 is any length, and ``axes`` names those lengths in their order."""

    name: str
    dims: tuple[int, ...]
    data_type: DataType = "TYPE_FP32"
    axes: tuple[str, ...] = ()

    @property
    def free(self) -> dict[int, str]:
        """The names of the axes of any length, by position behind the batch axis (which is 0)."""
        positions = [i + 1 for i, d in enumerate(self.dims) if d == -1]
        return dict(zip(positions, self.axes or ("length",) * len(positions), strict=True))

    def shape(self, lengths: Mapping[str, int]) -> tuple[int, ...]:
        """The dims with ``lengths`` of the free axes in place, without the batch axis."""
        return tuple(lengths[self.free[i + 1]] if d == -1 else d for i, d in enumerate(self.dims))

    def example(self, batch: int, length: int, rng: np.random.Generator) -> npt.NDArray[np.generic]:
        """Random values of this tensor, ``length`` standing in for -1."""
        shape = (batch, *self.shape(dict.fromkeys(self.free.values(), length)))
        if self.data_type == "TYPE_UINT8":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.random(shape, dtype=np.float32)


ADAPTER_INPUTS = (Tensor(IDS, (SLOTS,), "TYPE_INT64"), Tensor(SCALES, (SLOTS,)))


@dataclass(frozen=True)
class Contract:
    """One engine. ``queue_delay_us`` is how long the batcher waits for company; 0 batches only what is waiting.

    Without ``preferred_batch_sizes`` a batch is all that waits. ``threads`` is per engine; 0 takes every core that the
    server was given. ``warmup`` has lengths of the free axes that the engine can run, for its warm-up at load.
    ``adapters``: the engine's part of adapters' files; its config then has the optional inputs ADAPTER_INPUTS, which
    the embedded backends resolve.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int
    preferred_batch_sizes: tuple[int, ...]
    queue_delay_us: int = 0
    threads: int = 1
    warmup: Mapping[str, int] = field(default_factory=dict)
    adapters: str = ""

    @property
    def config_inputs(self) -> tuple[Tensor, ...]:
        return (*self.inputs, *ADAPTER_INPUTS) if self.adapters else self.inputs

    def example(self, batch: int, length: int = 16, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
        rng = np.random.default_rng(seed)
        return {t.name: t.example(batch, length, rng) for t in self.inputs}


_PICTURE = (SIDE_PX, SIDE_PX, 4)
_EMBEDDING = Tensor("embedding", (EMBEDDING,))
_STATISTICS = Tensor("statistics", (STATISTICS,))

CONTRACTS = {
    c.name: c
    for c in (
        Contract(
            "image_features",
            (
                Tensor("pixels", _PICTURE, "TYPE_UINT8"),
                Tensor("detail", _PICTURE, "TYPE_UINT8"),
                _STATISTICS,
            ),
            (_EMBEDDING,),
            max_batch_size=16,
            preferred_batch_sizes=(4, 8, 16),
        ),
        Contract(
            "logo_type",
            (_EMBEDDING, _STATISTICS, Tensor("structure", (STRUCTURE,))),
            (Tensor("probabilities", (4,)),),
            max_batch_size=64,
            preferred_batch_sizes=(8, 32),
        ),
        Contract(
            "quality",
            (_EMBEDDING, Tensor("parameters", (-1, CANDIDATE_WIDTH))),
            tuple(Tensor(n, (-1,)) for n in ("ssim", "fidelity", "log2_bytes", "log2_ms", "log2_paths")),
            max_batch_size=16,
            preferred_batch_sizes=(4, 8),
        ),
        Contract("tier1", (_EMBEDDING,), (Tensor("parameters", (CANDIDATE_WIDTH,)),), 64, (8, 32)),
        Contract("policy", (_EMBEDDING,), (Tensor("action", (LEARNED,)), Tensor("log_std", (LEARNED,))), 64, (8, 32)),
    )
}
