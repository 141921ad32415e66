"""One trace, measured: how true, how large, how slow."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build_engines.data.samples import Sample
from serve.vector import compare, svg
from serve.vector.parameters import Parameters
from serve.vector.trace import trace

MEASURES = ("ssim", "fidelity", "bytes", "paths", "ms")

_SCALE = 4
_LARGEST_PX = 640
"""The comparison with the source is at 4x, or at what makes the longer side this long, if that is less."""
_LEAST_SCALE = 1.25


@dataclass(frozen=True)
class Measured:
    """``ssim``: render against the picture that was traced, which is what serving can verify. ``fidelity``: against
    the clean picture at 1x, averaged with the render at up to 4x against the source. ``ms`` is CPU time of the
    tracing process on one core."""

    ssim: float
    fidelity: float
    bytes: int
    paths: int
    ms: float

    def to_row(self) -> npt.NDArray[np.float32]:
        """Shape (5,), in the order of MEASURES."""
        return np.array([self.ssim, self.fidelity, self.bytes, self.paths, self.ms], np.float32)


class Judge:
    """Prepares one sample's comparisons once, to measure many traces of it."""

    def __init__(self, sample: Sample) -> None:
        self._rgba = sample.rgba
        self._seen = compare.Reference(sample.rgba)
        same = sample.rgba is sample.clean
        self._clean = self._seen if same else compare.Reference(sample.clean)
        height, width = sample.clean.shape[:2]
        scale = min(_SCALE, _LARGEST_PX / max(width, height))
        self._scaled: compare.Reference | None = None
        if scale >= _LEAST_SCALE:
            self._scaled = compare.Reference(compare.render(sample.svg, round(width * scale), round(height * scale)))

    def measure(self, parameters: Parameters) -> Measured:
        """Traces the sample's picture with ``parameters`` and compares the result with picture, clean and source."""
        start = time.process_time()
        traced = trace(self._rgba, parameters)
        ms = 1000 * (time.process_time() - start)
        seen = self._seen.fidelity(traced).ssim
        fidelity = seen if self._clean is self._seen else self._clean.fidelity(traced).ssim
        if self._scaled is not None:
            fidelity = (fidelity + self._scaled.fidelity(traced).ssim) / 2
        counted = svg.statistics(traced)
        return Measured(seen, fidelity, counted.bytes, counted.paths, ms)
