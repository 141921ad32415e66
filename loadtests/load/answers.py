"""Whether an answer is right: a picture that can be read, of the right size, the same for the same request."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from serve.ensembles.vectorizer.vectorization import is_lasting
from serve.vector.compare import composite, render

Pixels = npt.NDArray[np.uint8]
SAME = 2.0
"""Mean difference, of 255, up to which two pictures are the same: engines sum in another order in a larger batch."""
COMPARED_PX = 64
MAX_KNOWN = 10_000


class Wrong(Exception):
    """What is wrong with an answer, in words that are the same each time, so that they can be counted."""


def svg(data: bytes, width: int, height: int) -> Pixels:
    """Rendered small, (COMPARED_PX, COMPARED_PX, 3). Raises ``Wrong``."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise Wrong("an SVG that is no XML") from None
    if root.tag.rpartition("}")[2] != "svg":
        raise Wrong("no SVG")
    box = [float(number) for number in root.get("viewBox", f"0 0 {root.get('width')} {root.get('height')}").split()]
    if len(box) != 4 or not np.allclose(box[2:], (width, height), atol=0.5):
        raise Wrong("an SVG of another size")
    return composite(render(data.decode(), COMPARED_PX, COMPARED_PX))


def picture(data: bytes, size: tuple[int, int] | None, format_name: str = "PNG") -> Pixels:
    """(H, W, 3). ``size``: width and height, where they are known. Raises ``Wrong``."""
    try:
        with Image.open(io.BytesIO(data), formats=[format_name]) as opened:
            pixels: Pixels = np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError):
        raise Wrong(f"no {format_name} that can be read") from None
    if size is not None and (pixels.shape[1], pixels.shape[0]) != size:
        raise Wrong("a picture of another size")
    if pixels.min() == pixels.max():
        raise Wrong("a picture of one colour")
    return pixels


def seeded(png: bytes, seed: int) -> None:
    """Raises ``Wrong`` unless the picture tells that it was drawn from ``seed``."""
    with Image.open(io.BytesIO(png)) as opened:
        if f"Seed: {seed}," not in str(opened.info.get("parameters")):
            raise Wrong("a picture of another seed")


def check_not_degraded(degraded: Sequence[str]) -> None:
    """Of a conversion's ``degraded``. Raises ``Wrong`` when an engine was missing; what the picture does not allow is
    right, for it is so each time."""
    for note in degraded:
        if not is_lasting([note]):
            raise Wrong(f"degraded: {note}"[:160])


class ExpectedAnswers:
    """What was answered before, by request: within a run the same request has the same answer."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[object, ...], bytes] = {}
        self._pixels: dict[tuple[object, ...], Pixels] = {}
        self._lock = threading.Lock()

    def check(self, request: tuple[object, ...], pixels: Pixels) -> None:
        """Raises ``Wrong`` when ``request`` had another answer before."""
        found = hashlib.sha256(pixels.tobytes()).digest()
        with self._lock:
            if request not in self._hashes:
                if len(self._hashes) < MAX_KNOWN:
                    self._hashes[request], self._pixels[request] = found, pixels.copy()
                return
            before, known = self._hashes[request], self._pixels[request]
        if before == found:
            return
        if known.shape != pixels.shape or np.abs(known.astype(np.int16) - pixels).mean() > SAME:
            raise Wrong("another picture than before for the same request")
