"""Where curves come from: the folder ``curves``, a profile of an engine (`atelier profile`), and what
``loadtests.benchmarks.unet --out`` wrote.

The last two count rows of a batch, and a curve counts pictures: with classifier-free guidance one has two rows. They
tell of the denoiser alone, so nothing is spent between two steps, on text encoder and VAE, or to start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.simulate.curve import Curve

FOLDER = Path(__file__).with_name("curves")
GUIDED = 2
"""Rows of a picture's step with classifier-free guidance."""
_CURVE, _MORE = ("name", "source", "milliseconds"), ("between_ms", "fixed_ms", "start_s")
_PROFILE = ("engine", "device", "measured", "milliseconds")
_UNET = ("shape", "side_px", "device", "dtype", "milliseconds")
_ALONE = "the denoiser alone: sampler, text encoder, VAE and start take no time"


def known() -> list[str]:
    """Names of the curves that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read(name_or_path: str, rows: int = GUIDED) -> list[Curve]:
    """One of the folder ``curves`` by its name, or all that a file has. ``rows``: of a picture, where a file has rows.

    Raises ``ValueError`` with what the file lacks, ``OSError`` when there is none.
    """
    path = FOLDER / f"{name_or_path}.json" if name_or_path in known() else Path(name_or_path)
    try:
        document = json.loads(path.read_text())
        return [_curve(one, path, rows) for one in (document if isinstance(document, list) else [document])]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _curve(document: Any, path: Path, rows: int) -> Curve:
    if not isinstance(document, dict):
        raise ValueError("a curve is an object")
    if "engine" in document:
        _check(document, _PROFILE)
        source = f"{path}, measured {document['measured']}"
        return _halved(f"{document['engine']}, {document['device']}", source, document["milliseconds"], rows)
    if "shape" in document:
        _check(document, _UNET)
        shape, side, device, dtype = (document[key] for key in ("shape", "side_px", "device", "dtype"))
        name = f"{shape}, {side} x {side}, {device}, {dtype}"
        return _halved(name, f"{path}, by loadtests.benchmarks.unet", document["milliseconds"], rows)
    _check(document, _CURVE)
    if unknown := document.keys() - {*_CURVE, *_MORE}:
        raise ValueError(f"a curve has no {', '.join(sorted(unknown))}")
    return Curve(**{**document, "milliseconds": _by_size(document["milliseconds"])})


def _halved(name: str, source: str, milliseconds: Any, rows: int) -> Curve:
    """Batches that hold no whole number of pictures are left out."""
    pictures = {size // rows: ms for size, ms in _by_size(milliseconds).items() if size % rows == 0}
    if 1 not in pictures:
        raise ValueError(f"it lacks the milliseconds of a batch of {rows}, which is one picture")
    return Curve(name, f"{source}; {rows} rows a picture; {_ALONE}", pictures)


def _by_size(milliseconds: Any) -> dict[int, float]:
    if not isinstance(milliseconds, dict):
        raise ValueError("milliseconds are told by the size of a batch")
    return {int(size): float(ms) for size, ms in milliseconds.items()}


def _check(document: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    if lacking := [name for name in wanted if name not in document]:
        raise ValueError(f"it lacks {', '.join(lacking)}")
