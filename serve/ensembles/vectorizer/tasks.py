"""Tasks that run in worker processes: bytes and parameters in, small plain values out.

A worker caches the last decoded pictures, so that several trials decode once per worker. A large picture is cached
alone and dropped before the next is decoded: with derived data it takes hundreds of MiB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.vector import compare, coverage, pictorial
from serve.vector.compare import LENIENT, Reference, render
from serve.vector.coverage import Drawing
from serve.vector.features import Features, degradation, extract, network_input
from serve.vector.finishing import Finish
from serve.vector.image import ImageLimits, decode
from serve.vector.parameters import CoverageParameters, Parameters, PictorialParameters, VTracerParameters
from serve.vector.pictorial import is_pictorial
from serve.vector.restore import is_dithered, without_blur, without_noise
from serve.vector.structure import Structure, structure_of
from serve.vector.svg import count_paths
from serve.vector.trace import draw, trace

_CACHE_SIZE = 2
_LARGE_PIXELS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Inspection:
    """Numbers extracted from a decoded picture.

    ``inputs``: of the engine `image_features`; ``structure``: of `logo_type`; both without the batch axis.
    ``pictorial``: whether it is a photograph, a painting or a scan.
    """

    sha256: str
    format: str
    width: int
    height: int
    features: Features
    inputs: dict[str, npt.NDArray[Any]]
    structure: npt.NDArray[np.float32]
    seconds: float
    pictorial: bool = False


@dataclass(frozen=True)
class Trial:
    """Result of one trial. ``trace_s`` and ``measure_s`` are in seconds.

    ``ssim`` and ``mse``: against the picture, None if not measured. ``restored_ssim``: against the denoised or
    deblurred picture, if it needs that. ``drawing``: starting point for further refinement.
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
    """Decode and describe. Raises errors of `serve.vector.image.decode`."""
    began = time.perf_counter()
    image = _decode_cached(data, limits)
    picture, features = image.picture, image.features
    height, width = picture.rgba.shape[:2]
    inputs, structure, _ = network_input(picture.rgba, features), image.structure.to_vector(), image.pictorial
    seconds = time.perf_counter() - began
    return Inspection(
        picture.sha256, picture.format, width, height, features, inputs, structure, seconds, image.pictorial
    )


def attempt(
    data: bytes, limits: ImageLimits, parameters: Parameters, measure: bool, drawing: Drawing | None = None
) -> Trial:
    """Trace the picture in ``data``; with ``measure`` also render the result and compare it.

    ``drawing``: of a trial with the same parameters except ``refine``.
    """
    image = _decode_cached(data, limits)
    began = time.perf_counter()
    svg, drawing = draw(image.picture.rgba, parameters, drawing)
    traced = time.perf_counter()
    height, width = image.picture.rgba.shape[:2]
    drawn = render(svg, width, height) if measure else None
    found = image.reference.compare(drawn) if drawn is not None else None
    restores = drawn is not None and not isinstance(parameters, PictorialParameters)
    restored = image.restored.compare(drawn) if drawn is not None and restores and image.restored else None
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


def finish(svg: str, what: Finish, decimals: int) -> str:
    """``svg`` finished. To cut thousands of shapes out of each other takes seconds."""
    return what.apply(svg, decimals)


def warm() -> None:
    """Load all kernels and libraries, so that no request waits for them."""
    coverage.warm()
    pictorial.warm()
    compare.warm()
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    network_input(rgba)
    structure_of(rgba)
    for parameters in (CoverageParameters(), VTracerParameters()):
        Reference(rgba).fidelity(trace(rgba, parameters))


def ping() -> float:
    """Trace a tiny picture; returns its SSIM."""
    rgba = np.full((16, 16, 4), 255, np.uint8)
    rgba[4:12, 4:12, :3] = 0
    return Reference(rgba).fidelity(trace(rgba, CoverageParameters())).ssim


class _DecodedImage:
    """A decoded picture with lazily derived data."""

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
    def pictorial(self) -> bool:
        return is_pictorial(self.picture.rgba)

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.picture.rgba)

    @cached_property
    def restored(self) -> Reference | None:
        """The denoised or deblurred picture; None if it has no such fault (dithering is none) or is transparent."""
        rgba, fault = self.picture.rgba, degradation(self.features)
        if rgba[..., 3].min() < 255 or fault == "none" or (fault == "noisy" and is_dithered(rgba)):
            return None
        return Reference(without_noise(rgba), LENIENT) if fault == "noisy" else Reference(without_blur(rgba))


_decoded: dict[tuple[bytes, ImageLimits], _DecodedImage] = {}
"""In order of use, the most recent last."""


def _decode_cached(data: bytes, limits: ImageLimits) -> _DecodedImage:
    key = (data, limits)
    if (found := _decoded.pop(key, None)) is None:
        for other in [old for old, known in _decoded.items() if known.large]:
            del _decoded[other]  # before decoding the next: both would not fit
        found = _DecodedImage(data, limits)
        kept = 0 if found.large else _CACHE_SIZE - 1
        for other in list(_decoded)[: max(0, len(_decoded) - kept)]:
            del _decoded[other]
    _decoded[key] = found
    return found
