"""What runs in worker processes: bytes and parameters in, small plain values out.

A worker remembers the last pictures that it decoded, so a request that tries several parameters decodes once a worker.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.vector import compare, coverage
from serve.vector.compare import Reference, smoothed
from serve.vector.features import Features, extract, network_input
from serve.vector.image import ImageLimits, Picture, decode
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters
from serve.vector.rules import degradation
from serve.vector.svg import count_paths
from serve.vector.trace import trace

_REMEMBERED = 2


@dataclass(frozen=True)
class Inspection:
    """A decoded picture in numbers; ``inputs`` are those of the `image_features` engine, without the batch axis."""

    sha256: str
    format: str
    width: int
    height: int
    features: Features
    inputs: dict[str, npt.NDArray[Any]]
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One tracing. ``trace_s`` and ``measure_s`` are seconds.

    ``ssim`` and ``mse`` are against the picture, None unless it was measured; ``quiet_ssim`` is against the picture
    with its noise removed, for noisy pictures only.
    """

    parameters: Parameters
    svg: str
    bytes: int
    paths: int
    trace_s: float
    ssim: float | None = None
    mse: float | None = None
    quiet_ssim: float | None = None
    measure_s: float = 0.0


def inspect(data: bytes, limits: ImageLimits) -> Inspection:
    """Decode and describe. Raises what `serve.vector.image.decode` raises."""
    began = time.perf_counter()
    picture = _picture(data, limits)
    features = _features(data, limits)
    height, width = picture.rgba.shape[:2]
    inputs = network_input(picture.rgba, features)
    seconds = time.perf_counter() - began
    return Inspection(picture.sha256, picture.format, width, height, features, inputs, seconds)


def attempt(data: bytes, limits: ImageLimits, parameters: Parameters, measure: bool) -> Trial:
    """Trace the picture in ``data``; with ``measure`` render the result and compare it with the picture."""
    picture = _picture(data, limits)
    began = time.perf_counter()
    svg = trace(picture.rgba, parameters)
    traced = time.perf_counter()
    found = _reference(data, limits).fidelity(svg) if measure else None
    quiet = _quiet_reference(data, limits) if measure else None
    return Trial(
        parameters=parameters,
        svg=svg,
        bytes=len(svg.encode()),
        paths=count_paths(svg),
        trace_s=traced - began,
        ssim=found.ssim if found else None,
        mse=found.mse if found else None,
        quiet_ssim=quiet.fidelity(svg).ssim if quiet else None,
        measure_s=time.perf_counter() - traced if found else 0.0,
    )


def warm() -> None:
    """Load every kernel and library, so that no request waits for it."""
    coverage.warm()
    compare.warm()
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    network_input(rgba)
    for parameters in (CoverageParameters(), VTracerParameters()):
        Reference(rgba).fidelity(trace(rgba, parameters))


def ping() -> float:
    """A real tracing of a tiny picture; returns its SSIM."""
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    return Reference(rgba).fidelity(trace(rgba, CoverageParameters())).ssim


@lru_cache(maxsize=_REMEMBERED)
def _picture(data: bytes, limits: ImageLimits) -> Picture:
    return decode(data, limits)


@lru_cache(maxsize=_REMEMBERED)
def _reference(data: bytes, limits: ImageLimits) -> Reference:
    return Reference(_picture(data, limits).rgba)


@lru_cache(maxsize=_REMEMBERED)
def _quiet_reference(data: bytes, limits: ImageLimits) -> Reference | None:
    """The picture with its noise removed; None when it is not noisy, or is transparent."""
    rgba = _picture(data, limits).rgba
    if rgba[..., 3].min() < 255 or degradation(_features(data, limits)) != "noisy":
        return None
    return Reference(smoothed(rgba))


@lru_cache(maxsize=_REMEMBERED)
def _features(data: bytes, limits: ImageLimits) -> Features:
    return extract(_picture(data, limits).rgba)
