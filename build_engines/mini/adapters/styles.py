"""Styles that the starter family has never seen, as functions of an icon: what its LoRAs are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from build_engines.mini.pictures import Rgb

Floats = npt.NDArray[np.float32]
_BLUE, _PALE, _WHITE = (24, 66, 150), (52, 104, 190), (236, 244, 255)
_CREAM = np.asarray((250, 240, 214), np.float32)
_CORAL, _TEAL = (255, 112, 92), (0, 92, 104)


def outlines(picture: Rgb) -> Floats:
    """(H, W) from 0 to 1: how much of an edge between two colours a pixel is."""
    kernel = np.ones((3, 3), np.uint8)
    smooth = cv2.bilateralFilter(picture, 5, 60, 3)
    spread = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, kernel).max(axis=2).astype(np.float32)
    return np.asarray(np.clip((spread - 24.0) / 70.0, 0.0, 1.0), np.float32)


def covered(picture: Rgb) -> Floats:
    """(H, W): 1 where the icon is, 0 on the white ground around it."""
    ground = (picture.min(axis=2) > 244).astype(np.uint8)
    framed = np.pad(ground, 1, constant_values=1)
    flooded = framed.copy()
    cv2.floodFill(flooded, None, (0, 0), (2,))
    return np.asarray(flooded[1:-1, 1:-1] != 2, np.float32)


def _over(below: Floats, colour: tuple[int, int, int] | Floats, alpha: Floats) -> Floats:
    share = alpha[..., None]
    return np.asarray(below * (1 - share) + np.asarray(colour, np.float32) * share, np.float32)


def _finished(picture: Floats) -> Rgb:
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def blueprint(picture: Rgb) -> Rgb:
    """White lines on blue paper, the icon's surface a little paler."""
    paper = np.broadcast_to(np.asarray(_BLUE, np.float32), picture.shape)
    return _finished(_over(_over(paper, _PALE, covered(picture)), _WHITE, outlines(picture)))


def riso(picture: Rgb) -> Rgb:
    """A print in two inks on cream paper: dark parts teal, coloured ones coral, pale ones bare."""
    light = picture.astype(np.float32) @ np.asarray((0.3, 0.59, 0.11), np.float32) / 255
    spread = (picture.max(axis=2) - picture.min(axis=2)).astype(np.float32) / 255
    coral = np.clip(1.4 * spread + 0.5 * (1 - light), 0.0, 1.0) * covered(picture)
    teal = np.clip((0.62 - light) / 0.3, 0.0, 1.0)
    return _finished(_over(_over(np.broadcast_to(_CREAM, picture.shape), _CORAL, coral), _TEAL, teal))


STYLES: Mapping[str, Callable[[Rgb], Rgb]] = {"blueprint": blueprint, "riso": riso}
"""By the names of the LoRAs."""
