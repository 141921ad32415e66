"""Embeddings of texts and pictures in one space, by two small engines that run in the calling process.

They take a few milliseconds on one core, so a call to the engine server would cost more than the work; and a process
that only keeps the gallery needs no engine server then. Networks and tokenizer: `build_engines.search`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

from serve.ensembles.illustrator.illustration import MAX_SIDE_PX
from serve.errors import BadImage, Unsupported
from serve.vector.image import FIELD, MEBIBYTE, ImageLimits, read
from serve.vector.svg import size_of, to_png

Embedding = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

PICTURE, TEXT = "search_picture", "search_text"
HOW_TO_BUILD = "python -m build_engines train search"
MAX_DRAWING_BYTES = 4 * MEBIBYTE
SVG = "image/svg+xml"
_LIMITS = ImageLimits(max_bytes=256 * MEBIBYTE, max_pixels=MAX_SIDE_PX**2, max_side_px=MAX_SIDE_PX, min_side_px=1)
_UNKNOWN = "<unk>"


class Embedder:
    """Safe to use from several threads. ``engine`` is the fingerprint of both files: vectors of other ones differ."""

    def __init__(self, repository: Path) -> None:
        stated = json.loads((repository / PICTURE / "manifest.json").read_text())["search"]
        self._side_px, self._tokens = int(stated["side_px"]), int(stated["tokens"])
        self._tokenizer = Tokenizer.from_str((repository / TEXT / "tokenizer.json").read_text(encoding="utf-8"))
        self._files = [repository / name / "1" / "model.onnx" for name in (PICTURE, TEXT)]
        self.engine = hashlib.sha256(b"".join(path.read_bytes() for path in self._files)).hexdigest()[:16]

    @cached_property
    def _picture(self) -> onnxruntime.InferenceSession:
        """Opened when the first picture comes: workers of an idle site have none."""
        return _session(self._files[0])

    @cached_property
    def _text(self) -> onnxruntime.InferenceSession:
        return _session(self._files[1])

    def knows(self, text: str) -> bool:
        """Whether any word of ``text`` is in the vocabulary."""
        unknown = self._tokenizer.token_to_id(_UNKNOWN)
        return any(one != unknown for one in self._tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, text: str) -> Embedding:
        """Unit vector; of a long text the beginning counts."""
        found = self._tokenizer.encode(text).ids
        if len(found) > self._tokens:
            found = [*found[: self._tokens - 1], found[-1]]
        ids = np.zeros((1, self._tokens), np.int64)
        ids[0, : len(found)] = found
        return np.asarray(self._text.run(None, {"ids": ids})[0][0], np.float32)

    def picture(self, data: bytes, media_type: str) -> Embedding:
        """Unit vector of an encoded picture or an SVG, on white. Raises BadImage and its kind for what cannot be
        read."""
        image = fitted(_pixels(data, media_type, self._side_px), self._side_px)
        return np.asarray(self._picture.run(None, {"image": image[None]})[0][0], np.float32)


@cache
def embedder_in(repository: Path) -> Embedder | None:
    """None where ``repository`` lacks one of the engines."""
    names = [f"{PICTURE}/manifest.json", f"{TEXT}/tokenizer.json", *(f"{n}/1/model.onnx" for n in (PICTURE, TEXT))]
    return Embedder(repository) if all((repository / name).is_file() for name in names) else None


def required_embedder(repository: Path) -> Embedder:
    """Raises Unsupported with the command that builds the engines."""
    found = embedder_in(repository)
    if found is None:
        raise Unsupported(f"there are no engines for search by likeness; {HOW_TO_BUILD} makes them")
    return found


def fitted(rgb: Rgb, side_px: int) -> Rgb:
    """``rgb`` (H, W, 3) scaled into a white square of ``side_px``, centred."""
    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(rgb).resize(size, way))
    square = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def _pixels(data: bytes, media_type: str, side_px: int) -> Rgb:
    if media_type != SVG:
        return _on_white(data)
    if len(data) > MAX_DRAWING_BYTES:
        raise BadImage("this drawing is too large to be indexed", FIELD)
    try:
        svg = data.decode()
        width, height = size_of(svg[:65_536])
        scale = 2 * side_px / max(width, height)
        return _on_white(to_png(svg, max(1, round(width * scale)), max(1, round(height * scale))))
    except ValueError as error:
        raise BadImage(f"this drawing cannot be rendered: {error}", FIELD) from None


def _on_white(data: bytes) -> Rgb:
    rgba = read(data, _LIMITS).rgba
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5, np.uint8)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
