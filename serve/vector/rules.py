"""Properties of a picture without a trained model: its type by the rules of D-012, and its degradation.

The first two rules of the type and their confidences are D-012's. The others recognise gradients by the share of slowly
changing pixels and leave the rest as complex; their confidences are lower, since they are not calibrated.
"""

from __future__ import annotations

from typing import Literal

from serve.vector.features import Features

LogoType = Literal["simple", "text", "gradient", "complex"]
LOGO_TYPES: tuple[LogoType, ...] = ("simple", "text", "gradient", "complex")
"""The order of the `logo_type` engine's probabilities."""

_SIMPLE_EDGE_DENSITY = 0.05
_SIMPLE_COLORS = 8
_TEXT_CORNER_DENSITY = 0.01
_GRADIENT_SMOOTH_SHARE = 0.15
_NOISE = 1.0  # above it slow changes are noise, not a gradient

# Found on 120 icons of the `val` split, clean, resized, blurred and as JPEG of quality 90 and 70: the first tells 96 %
# of the pictures right, the second all of those that are not JPEGs.
_NOISE_PER_EDGE = 4.7
_BLURRED_EDGE_PX = 2.4


Degradation = Literal["none", "noisy", "blurred"]


def degradation(features: Features) -> Degradation:
    """``noisy``: more noise (mostly JPEG's) than the edges explain; ``blurred``: wide edges."""
    if features.noise > _NOISE_PER_EDGE * (features.edge_density + 1e-3):
        return "noisy"
    return "blurred" if features.edge_width > _BLURRED_EDGE_PX else "none"


def classify(features: Features) -> tuple[LogoType, float]:
    """(logo type, confidence in [0, 1]) of a picture with these ``features``."""
    gradient = features.smooth_share > _GRADIENT_SMOOTH_SHARE and features.noise < _NOISE
    few = features.edge_density < _SIMPLE_EDGE_DENSITY and features.unique_colors < _SIMPLE_COLORS
    if few and not gradient:
        return "simple", 0.9
    if features.corner_density > _TEXT_CORNER_DENSITY and not gradient:
        return "text", 0.8
    if gradient:
        return "gradient", 0.7
    return "complex", 0.6
