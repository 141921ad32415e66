"""What runs in worker processes: bytes and parameters in, small plain values out.

A worker remembers the last pictures that it decoded, so a request that tries several parameters decodes once a worker.
A large picture is remembered alone and only until the next one comes: with all that is made of it, it takes hundreds of
MiB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.vector import compare, coverage
from serve.vector.compare import LENIENT, Reference, render
from serve.vector.coverage import Drawing
from serve.vector.dither import is_dithered
from serve.vector.features import Features, extract, network_input
from serve.vector.image import ImageLimits, decode
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters
from serve.vector.restore import without_blur, without_noise
from serve.vector.rules import degradation
from serve.vector.structure import Structure, structure_of
from serve.vector.svg import count_paths
from serve.vector.trace import draw, trace

_REMEMBERED = 2
_LARGE_PIXELS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Inspection:
    """A decoded picture in numbers.

    ``inputs`` are those of the `image_features` engine, ``structure`` that of `logo_type`, without the batch axis.
    """

    sha256: str
    format: str
    width: int
    height: int
    features: Features
    inputs: dict[str, npt.NDArray[Any]]
    structure: npt.NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One tracing. ``trace_s`` and ``measure_s`` are seconds.

    ``ssim`` and ``mse`` are against the picture, None unless it was measured; ``restored_ssim`` is against the picture
    without its noise or blur, for pictures that have some. ``drawing`` is what refining it further begins with.
    """

    parameters: Parameters
    svg: str
    bytes: int
    paths: int
    trace_s: float
    ssim: float | None = None
    mse: float | None = None
    restored_ssim: float | None = None
    measure_s: float = 0.0
    drawing: Drawing | None = None


def inspect(data: bytes, limits: ImageLimits) -> Inspection:
    """Decode and describe. Raises what `serve.vector.image.decode` raises."""
    began = time.perf_counter()
    known = _known(data, limits)
    picture, features = known.picture, known.features
    height, width = picture.rgba.shape[:2]
    inputs, structure = network_input(picture.rgba, features), known.structure.to_vector()
    seconds = time.perf_counter() - began
    return Inspection(picture.sha256, picture.format, width, height, features, inputs, structure, seconds)


def attempt(
    data: bytes, limits: ImageLimits, parameters: Parameters, measure: bool, drawing: Drawing | None = None
) -> Trial:
    """Trace the picture in ``data``; with ``measure`` render the result and compare it with the picture.

    ``drawing`` is of a trial with these parameters, ``refine`` aside.
    """
    known = _known(data, limits)
    began = time.perf_counter()
    svg, drawing = draw(known.picture.rgba, parameters, drawing)
    traced = time.perf_counter()
    height, width = known.picture.rgba.shape[:2]
    drawn = render(svg, width, height) if measure else None
    found = known.reference.compare(drawn) if drawn is not None else None
    restored = known.restored.compare(drawn) if drawn is not None and known.restored else None
    return Trial(
        parameters=parameters,
        svg=svg,
        bytes=len(svg.encode()),
        paths=count_paths(svg),
        trace_s=traced - began,
        ssim=found.ssim if found else None,
        mse=found.mse if found else None,
        restored_ssim=restored.ssim if restored else None,
        measure_s=time.perf_counter() - traced if found else 0.0,
        drawing=drawing,
    )


def warm() -> None:
    """Load every kernel and library, so that no request waits for it."""
    coverage.warm()
    compare.warm()
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    network_input(rgba)
    structure_of(rgba)
    for parameters in (CoverageParameters(), VTracerParameters()):
        Reference(rgba).fidelity(trace(rgba, parameters))


def ping() -> float:
    """A real tracing of a tiny picture; returns its SSIM."""
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    return Reference(rgba).fidelity(trace(rgba, CoverageParameters())).ssim


class _Known:
    """A decoded picture and what is made of it, each thing when it is first asked for."""

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.picture = decode(data, limits)

    @property
    def large(self) -> bool:
        return self.picture.rgba[..., 0].size > _LARGE_PIXELS

    @cached_property
    def features(self) -> Features:
        return extract(self.picture.rgba)

    @cached_property
    def structure(self) -> Structure:
        return structure_of(self.picture.rgba)

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.picture.rgba)

    @cached_property
    def restored(self) -> Reference | None:
        """The picture without its noise or blur; None when it has none (dithering is none), or is transparent."""
        rgba, fault = self.picture.rgba, degradation(self.features)
        if rgba[..., 3].min() < 255 or fault == "none" or (fault == "noisy" and is_dithered(rgba)):
            return None
        return Reference(without_noise(rgba), LENIENT) if fault == "noisy" else Reference(without_blur(rgba))


_remembered: dict[tuple[bytes, ImageLimits], _Known] = {}
"""The last used one last."""


def _known(data: bytes, limits: ImageLimits) -> _Known:
    key = (data, limits)
    if (found := _remembered.pop(key, None)) is None:
        for other in [old for old, known in _remembered.items() if known.large]:
            del _remembered[other]  # before the next is decoded: not both at once
        found = _Known(data, limits)
        kept = 0 if found.large else _REMEMBERED - 1
        for other in list(_remembered)[: max(0, len(_remembered) - kept)]:
            del _remembered[other]
    _remembered[key] = found
    return found
