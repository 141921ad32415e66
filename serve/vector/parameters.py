"""Parameters of both tracers with ranges and effects, and their encoding in the unit box used by the models.

A tracer's parameters are a frozen dataclass. The eight learned ones have a range (and scale) in their field's metadata
and map to and from a vector in ``[0, 1]^8``; the others keep their values.
"""

from __future__ import annotations

import math
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from serve.errors import InvalidRequest

LEARNED = 8
"""Number of learned parameters per tracer: the action space of D-040 is ``Box(0, 1, (8,))``."""

# A candidate row of the `quality` engine: is_vtracer, the eight unit values, refine rounds / 3.
CANDIDATE_WIDTH = 1 + LEARNED + 1
MAX_REFINE = 3


def _learned(default: float, low: float, high: float, effect: str, *, log: bool = False) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "log": log, "learned": True, "effect": effect})


def _fixed(default: Any, low: float | None, high: float | None, effect: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "learned": False, "effect": effect})


class _Ranged:
    """Checks and the unit-box codec shared by both tracers' parameter classes."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            low, high, value = f.metadata.get("low"), f.metadata.get("high"), getattr(self, f.name)
            if low is None or high is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidRequest(f"must be a number from {low} to {high}", f.name)
            if not low <= value <= high:
                raise InvalidRequest(f"must be from {low} to {high}, got {value}", f.name)

    @classmethod
    def learned(cls) -> tuple[Field[Any], ...]:
        """The eight learned fields, in the order of the unit vector."""
        return tuple(f for f in fields(cls) if f.metadata["learned"])  # type: ignore[arg-type]

    def to_unit(self) -> npt.NDArray[np.float32]:
        """Shape (8,), values in [0, 1]."""
        return np.array([_to_unit(f, getattr(self, f.name)) for f in self.learned()], np.float32)

    @classmethod
    def from_unit(cls, unit: npt.ArrayLike, **fixed: Any) -> Self:
        """The parameters at ``unit`` (shape (8,), clipped to [0, 1]); ``fixed``: values of parameters that are not
        learned."""
        values = np.clip(np.asarray(unit, np.float64), 0.0, 1.0)
        if values.shape != (LEARNED,) or not np.isfinite(values).all():
            raise InvalidRequest(f"a unit vector has {LEARNED} finite values")
        return cls(**{f.name: _from_unit(f, v) for f, v in zip(cls.learned(), values, strict=True)}, **fixed)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]


def _to_unit(f: Field[Any], value: float) -> float:
    low, high = f.metadata["low"], f.metadata["high"]
    if f.metadata["log"]:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _from_unit(f: Field[Any], unit: float) -> float | int:
    low, high = f.metadata["low"], f.metadata["high"]
    value = low * (high / low) ** unit if f.metadata["log"] else low + unit * (high - low)
    value = min(high, max(low, value))
    return round(value) if isinstance(f.default, int) else float(f"{value:.6g}")


@dataclass(frozen=True)
class CoverageParameters(_Ranged):
    """Our coverage tracer. Lengths are pixels of the input, colours 8-bit RGB, angles degrees."""

    denoise: float = _learned(
        0.0, 0.0, 40.0, "range sigma of the bilateral pre-filter; below 4 none. For JPEG noise and blur"
    )
    flatness: float = _learned(
        8.0, 3.0, 24.0, "largest channel step to a neighbour in a flat or smooth area; higher accepts noise", log=True
    )
    palette_distance: float = _learned(0.04, 0.015, 0.12, "OKLab distance under which two colours are one", log=True)
    max_colors: int = _learned(24, 2, 48, "most flat colours", log=True)
    tolerance: float = _learned(
        0.25, 0.12, 1.0, "distance a fitted curve may stray from the contour; higher is smaller and smoother", log=True
    )
    corner_angle: float = _learned(42.0, 25.0, 70.0, "turning angle from which a point is a sharp corner")
    min_area: float = _learned(1.0, 0.5, 12.0, "smallest area kept, in square pixels; removes specks", log=True)
    gradient_rms: float = _learned(
        6.0, 0.0, 10.0, "largest RMS error of a fitted gradient in 8-bit steps; below 1 no gradients"
    )
    refine: int = _fixed(0, 0, MAX_REFINE, "rounds of boundary refinement against the rendered result")
    decimals: int = _fixed(1, 0, 3, "decimal places of coordinates")
    max_paths: int = _fixed(1000, 1, 5000, "most path elements; beyond it fewer colours, at last no gradients")
    shapes: int = _fixed(1, 0, 1, "1: circles, ellipses, rectangles and strokes where a contour is one; 0: paths alone")
    reuse: int = _fixed(1, 0, 1, "1: the same shape again is one `use`, where that is shorter and with shapes 1")


@dataclass(frozen=True)
class VTracerParameters(_Ranged):
    """VTracer 0.6.15: all parameters of its Python binding (``vtracer.convert_raw_image_to_svg``)."""

    filter_speckle: int = _learned(4, 0, 16, "discard patches of fewer pixels than this squared")
    color_precision: int = _learned(6, 1, 8, "significant bits of a colour channel")
    layer_difference: int = _learned(16, 0, 128, "colour difference between layers; higher is fewer layers")
    corner_threshold: int = _learned(60, 0, 180, "smallest angle in degrees that is a corner")
    length_threshold: float = _learned(4.0, 3.5, 10.0, "subdivide until segments are shorter than this, in pixels")
    max_iterations: int = _learned(10, 1, 20, "rounds of curve subdivision")
    splice_threshold: int = _learned(45, 0, 180, "smallest angle in degrees to splice a spline")
    path_precision: int = _learned(2, 0, 8, "decimal places of coordinates")
    colormode: Literal["color", "binary"] = _fixed("color", None, None, "true colour or black and white")
    hierarchical: Literal["stacked", "cutout"] = _fixed("stacked", None, None, "layers overlap or are cut out")
    mode: Literal["spline", "polygon", "none"] = _fixed("spline", None, None, "curves, straight segments, or pixels")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (
            ("colormode", ("color", "binary")),
            ("hierarchical", ("stacked", "cutout")),
            ("mode", ("spline", "polygon", "none")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidRequest(f"must be one of {', '.join(allowed)}", name)


@dataclass(frozen=True)
class PictorialParameters(_Ranged):
    """The tracer of photographs, paintings and scans, `serve.vector.pictorial`; none is learned. Lengths are pixels of
    the size that the picture is traced at."""

    regions: int = _fixed(2600, 2, 50_000, "most areas of one colour")
    price: float = _fixed(
        1.4, 0.01, 1e4, "least loss of SSIM, summed over pixels and channels, that a byte has to save"
    )
    tolerance: float = _fixed(1.1, 0.25, 4.0, "distance an outline may stray from the pixels' edges")
    color_step: int = _fixed(3, 1, 17, "steps of 255 to which colours are rounded; 17: three hex digits")
    max_colors: int = _fixed(0, 0, 48, "most colours; 0: any number")
    min_area: float = _fixed(0.0, 0.0, 12.0, "smallest area kept, in square pixels of the picture")
    max_pixels: int = _fixed(1 << 18, 1 << 12, 2_000_000, "larger pictures are averaged down to so many pixels")


Parameters = CoverageParameters | VTracerParameters | PictorialParameters


def to_candidate(parameters: Parameters) -> npt.NDArray[np.float32]:
    """Shape (10,): the row of the `quality` engine's input ``parameters`` for ``parameters``, of a tracer that is
    learned."""
    is_vtracer = isinstance(parameters, VTracerParameters)
    refine = parameters.refine if isinstance(parameters, CoverageParameters) else 0
    return np.concatenate([[is_vtracer], parameters.to_unit(), [refine / MAX_REFINE]]).astype(np.float32)


def from_candidate(row: npt.ArrayLike) -> Parameters:
    """The parameters of a candidate row (shape (10,))."""
    values = np.asarray(row, np.float64)
    if values.shape != (CANDIDATE_WIDTH,):
        raise InvalidRequest(f"a candidate has {CANDIDATE_WIDTH} values")
    if values[0] >= 0.5:
        return VTracerParameters.from_unit(values[1:-1])
    return CoverageParameters.from_unit(values[1:-1], refine=round(float(np.clip(values[-1], 0, 1)) * MAX_REFINE))


EPSILON = 1e-3
"""SSIM differences closer to 1 than this are invisible and not worth any bytes."""
WEIGHT_OVER = 0.4
"""Cost of a factor of e in bytes above the reference."""
WEIGHT_UNDER = 0.1
"""Gain of a factor of e in bytes below the reference."""
_BYTES_PER_SQRT_PIXEL = 22.0


def utility(
    fidelity: npt.ArrayLike, size_bytes: npt.ArrayLike, reference_bytes: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Fidelity (SSIM, at most 1) and size of drawings in one number; broadcasts, and gives their shape:

        utility = -ln(1 - fidelity + EPSILON) - cost(ln(bytes / reference_bytes))

    The first term counts error removed: halving what is left of the error is worth ln 2, at any level. The cost is
    piecewise linear in the logarithm of the size: steep above the reference, so that bytes need a matching reduction
    of error, and gentle below it, so that of two equal drawings the smaller wins, but detail is not lost to save bytes
    needlessly.

    ``reference_bytes`` is half of what VTracer writes with `reference_parameters`. In training and benchmarks that is
    measured. In serving it is predicted: the `quality` engine scores that candidate row in the same batch as all
    others, and a little less than half of its ``2 ** log2_bytes`` is the reference, since forecasts err. It only has
    to be the same for all candidates of one picture. Without a prediction `reference_from_area` stands in.

    With a single candidate the result has shape (): ``float()`` it.
    """
    error = 1.0 - np.minimum(np.asarray(fidelity, np.float64), 1.0) + EPSILON
    excess = np.log(np.maximum(np.asarray(size_bytes, np.float64), 1.0) / np.maximum(reference_bytes, 1.0))
    cost = np.where(excess > 0, WEIGHT_OVER, WEIGHT_UNDER) * excess
    result: npt.NDArray[np.float64] = -np.log(error) - cost
    return result


def reference_parameters(**changed: Any) -> VTracerParameters:
    """VTracer's defaults with path precision 2: the baseline that sizes are measured against."""
    return VTracerParameters(path_precision=2, **changed)


def reference_from_area(width: int, height: int) -> float:
    """An estimate of ``reference_bytes`` from the size in pixels alone: about 5.6 KB at 256 x 256."""
    return float(_BYTES_PER_SQRT_PIXEL * np.sqrt(width * height))
