"""Embeddings of texts and pictures in one space, by two small engines that run in the calling process.

Those of the starter take a few milliseconds on one core, so a call to the engine server would cost more than the work;
and a process that only keeps the gallery needs no engine server then. Networks and tokenizer: `build_engines.search`;
those of a CLIP-class checkpoint: `build_engines.embed`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

from serve.ensembles.illustrator.illustration import MAX_SIDE_PX
from serve.errors import BadImage, EngineUnavailable, Unsupported
from serve.vector.image import FIELD, MEBIBYTE, ImageLimits, read
from serve.vector.svg import size_of, to_png

Embedding = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

STARTER = "search"
"""The pair of engines is named by this: ``search_picture`` and ``search_text``."""
HOW_TO_BUILD = "python -m build_engines train search"
MAX_DRAWING_BYTES = 4 * MEBIBYTE
SVG = "image/svg+xml"
_LIMITS = ImageLimits(max_bytes=256 * MEBIBYTE, max_pixels=MAX_SIDE_PX**2, max_side_px=MAX_SIDE_PX, min_side_px=1)
_UNKNOWN = "<unk>"
_FITS = ("pad", "crop", "stretch")
_RESAMPLINGS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_CHUNK = 1 << 20
MAX_ASPECT = 8
"""Of a longer picture the middle is scaled: the rest is cut off in any case."""


@dataclass(frozen=True)
class Preprocessing:
    """What the engines' manifest states under ``search``; the picture engine normalises colours itself.

    ``fit``: pad (into a white square), crop (the middle) or stretch. ``pad_id`` fills texts up to ``tokens``.
    ``logit_scale`` times a cosine is the logit of a picture among others for the same text.
    """

    side_px: int
    tokens: int
    fit: str = "pad"
    resample: str = "bilinear"
    shortest_px: int = 0
    pad_id: int = 0
    lowercase: bool = False
    strips_punctuation: bool = False
    logit_scale: float = 20.0

    @staticmethod
    def of(stated: dict[str, Any]) -> Preprocessing:
        """Raises EngineUnavailable for values that this version does not know."""
        known = {name: stated[name] for name in Preprocessing.__dataclass_fields__ if name in stated}
        made = Preprocessing(**known)
        if made.fit not in _FITS or made.resample not in _RESAMPLINGS:
            raise EngineUnavailable(f"the engines' manifest states a preprocessing that is not known: {made.fit}")
        return made

    def prepared(self, text: str) -> str:
        text = text.lower() if self.lowercase else text
        return " ".join(re.sub(r"[^\w\s]", "", text).split()) if self.strips_punctuation else text


class Embedder:
    """Safe to use from several threads. ``engine`` is the fingerprint of both files: vectors of other ones differ.

    ``name`` is the pair: NAME_picture and NAME_text.
    """

    def __init__(self, repository: Path, name: str = STARTER) -> None:
        self.name = name
        picture, text = _names(name)
        self._like = Preprocessing.of(json.loads((repository / picture / "manifest.json").read_text())["search"])
        self._tokenizer = Tokenizer.from_str((repository / text / "tokenizer.json").read_text(encoding="utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._files = [repository / engine / "1" / "model.onnx" for engine in (picture, text)]
        self.engine = _fingerprint(self._files)
        self.logit_scale = self._like.logit_scale

    @cached_property
    def _picture(self) -> onnxruntime.InferenceSession:
        """Opened when the first picture comes: workers of an idle site have none."""
        return _session(self._files[0])

    @cached_property
    def _text(self) -> onnxruntime.InferenceSession:
        return _session(self._files[1])

    def knows(self, text: str) -> bool:
        """Whether any part of ``text`` is in the vocabulary."""
        unknown = self._tokenizer.token_to_id(_UNKNOWN)
        ids = self._tokenizer.encode(self._like.prepared(text), add_special_tokens=False).ids
        return any(one != unknown for one in ids)

    def text(self, text: str) -> Embedding:
        """Unit vector; of a long text the beginning counts."""
        like = self._like
        found = self._tokenizer.encode(like.prepared(text)).ids
        if len(found) > like.tokens:
            found = [*found[: like.tokens - 1], found[-1]]
        ids = np.full((1, like.tokens), like.pad_id, np.int64)
        ids[0, : len(found)] = found
        return np.asarray(self._text.run(None, {"ids": ids})[0][0], np.float32)

    def picture(self, data: bytes, media_type: str) -> Embedding:
        """Unit vector of an encoded picture or an SVG, on white. Raises BadImage and its kind for what cannot be
        read."""
        return self.pixels(pixels_of(data, media_type, self._like.side_px))

    def pixels(self, rgb: Rgb) -> Embedding:
        """Unit vector of a picture (H, W, 3)."""
        image = prepared_pixels(rgb, self._like)
        return np.asarray(self._picture.run(None, {"image": image[None]})[0][0], np.float32)


def has_embedder(repository: Path, name: str = STARTER) -> bool:
    """Whether ``repository`` has both engines."""
    picture, text = _names(name)
    files = [f"{picture}/manifest.json", f"{text}/tokenizer.json", *(f"{n}/1/model.onnx" for n in (picture, text))]
    return all((repository / file).is_file() for file in files)


@cache
def embedder_in(repository: Path, name: str = STARTER) -> Embedder | None:
    """None where ``repository`` lacks one of the engines. Raises EngineUnavailable for a manifest of another kind."""
    return Embedder(repository, name) if has_embedder(repository, name) else None


def required_embedder(repository: Path, name: str = STARTER) -> Embedder:
    """Raises Unsupported with the command that builds the engines."""
    found = embedder_in(repository, name)
    if found is None:
        how = HOW_TO_BUILD if name == STARTER else f"python -m build_engines embed --source FOLDER --name {name}"
        raise Unsupported(f"there are no engines for search by likeness; {how} makes them")
    return found


def relative_fits(scores: Sequence[float], logit_scale: float) -> list[float]:
    """Cosines of several pictures with one text as likelihoods relative to the best of them, which has 1."""
    best = max(scores, default=0.0)
    return [float(np.exp(logit_scale * (score - best))) for score in scores]


def _names(name: str) -> tuple[str, str]:
    return f"{name}_picture", f"{name}_text"


def _fingerprint(paths: Sequence[Path]) -> str:
    """Of the files, and of the weights that lie beside a large one."""
    found = hashlib.sha256()
    beside = [path.with_name(f"{path.name}.data") for path in paths]
    for path in [*paths, *(path for path in beside if path.is_file())]:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                found.update(piece)
    return found.hexdigest()[:16]


def prepared_pixels(rgb: Rgb, like: Preprocessing) -> Rgb:
    """``rgb`` (H, W, 3) as the picture engine takes it, (side, side, 3)."""
    return fitted(rgb, like.side_px) if like.fit == "pad" else _resized(rgb, like)


def _resized(rgb: Rgb, like: Preprocessing) -> Rgb:
    """``rgb`` stretched to the square, or scaled by its shorter side and cut to the middle."""
    picture, side_px, way = Image.fromarray(rgb), like.side_px, _RESAMPLINGS[like.resample]
    if like.fit == "stretch":
        return np.asarray(picture.resize((side_px, side_px), way))
    width, height = picture.size
    shortest_px = like.shortest_px or side_px
    scale = shortest_px / min(width, height)
    longest = min(max(width, height), MAX_ASPECT * min(width, height))
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    box = (left, top, width - left, height - top)
    size = max(shortest_px, int((box[2] - box[0]) * scale)), max(shortest_px, int((box[3] - box[1]) * scale))
    scaled = np.asarray(picture.resize(size, way, box))
    top, left = (scaled.shape[0] - side_px) // 2, (scaled.shape[1] - side_px) // 2
    return np.ascontiguousarray(scaled[top : top + side_px, left : left + side_px])


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


def pixels_of(data: bytes, media_type: str, side_px: int) -> Rgb:
    """An encoded picture, or an SVG at twice ``side_px``, on white, (H, W, 3). Raises BadImage and its kind."""
    if media_type != SVG:
        return on_white(data)
    if len(data) > MAX_DRAWING_BYTES:
        raise BadImage("this drawing is too large to be indexed", FIELD)
    try:
        svg = data.decode()
        width, height = size_of(svg[:65_536])
        scale = 2 * side_px / max(width, height)
        return on_white(to_png(svg, max(1, round(width * scale)), max(1, round(height * scale))))
    except ValueError as error:
        raise BadImage(f"this drawing cannot be rendered: {error}", FIELD) from None


def on_white(data: bytes) -> Rgb:
    """An encoded picture on white, (H, W, 3). Raises BadImage and its kind."""
    rgba = read(data, _LIMITS).rgba
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5, np.uint8)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
