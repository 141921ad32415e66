"""The tracers behind one function, selected by the type of the parameters."""

from __future__ import annotations

import re
from dataclasses import asdict

import cv2
import numpy as np
import numpy.typing as npt
import vtracer

from serve.vector.coverage import Drawing, draw_coverage
from serve.vector.parameters import CoverageParameters, Parameters, PictorialParameters, VTracerParameters
from serve.vector.pictorial import trace_pictorial


def trace(rgba: npt.NDArray[np.uint8], parameters: Parameters) -> str:
    """SVG text of ``rgba`` (shape (H, W, 4), straight alpha), with a ``viewBox`` of its size."""
    return draw(rgba, parameters)[0]


def draw(
    rgba: npt.NDArray[np.uint8], parameters: Parameters, drawing: Drawing | None = None
) -> tuple[str, Drawing | None]:
    """As `trace`, returning the intermediate drawing for later refinement (`draw_coverage`); None for other
    tracers."""
    if isinstance(parameters, CoverageParameters):
        return draw_coverage(rgba, parameters, drawing)
    if isinstance(parameters, PictorialParameters):
        return trace_pictorial(rgba, parameters), None
    return trace_vtracer(rgba, parameters), None


def tracer_name(parameters: Parameters) -> str:
    names = {CoverageParameters: "coverage", VTracerParameters: "vtracer", PictorialParameters: "pictorial"}
    return names[type(parameters)]


_OPAQUE_FROM = 128  # VTracer knows no half transparency: a pixel is drawn or not
_HEAD = re.compile(r"^.*?<svg\b[^>]*>\s*", re.DOTALL)


def trace_vtracer(rgba: npt.NDArray[np.uint8], parameters: VTracerParameters) -> str:
    """SVG text of ``rgba`` (shape (H, W, 4), straight alpha), with a ``viewBox`` of its size.

    The ranges of `VTracerParameters` keep VTracer from panicking (colour precision 0, no iterations) and from taking
    unknown words for its defaults.
    """
    height, width = rgba.shape[:2]
    traced = vtracer.convert_raw_image_to_svg(_encode(rgba), img_format="png", **asdict(parameters))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return head + _HEAD.sub("", traced, count=1).strip()


def _encode(rgba: npt.NDArray[np.uint8]) -> bytes:
    """A PNG whose alpha is 0 or 255.

    VTracer leaves pixels of alpha 0 out only when five sampled rows hold enough of them, and else draws their hidden
    colour. An empty row below the picture, outside of the ``viewBox``, makes it look every time.
    """
    if rgba[..., 3].min() < 255:
        drawn = rgba[..., 3:] >= _OPAQUE_FROM
        cut = np.where(drawn, rgba, 0).astype(np.uint8)
        cut[..., 3:][drawn] = 255
        rgba = np.pad(cut, ((0, 1), (0, 0), (0, 0)))
    bgra = cv2.cvtColor(np.ascontiguousarray(rgba), cv2.COLOR_RGBA2BGRA)
    _, encoded = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return encoded.tobytes()
