"""What type of logo an icon is, read from its source (D-012): labels by construction, none by eye.

- ``text``: a logo (emoji are never text) at least twice as wide as high, with the glyphs of a word: at least four
  separate shapes of about one height beside each other.
- ``gradient``: without its gradients, at least 12 % of what is drawn looks otherwise (by more than 10 of 255).
- ``complex``: at least 10 visible areas of one colour, or at least 7 colours.
- ``simple``: the rest.

Counts have no natural border: an icon with 9 areas is hardly simpler than one with 10. So each icon has a share of
every type, which runs from 0 to 1 around a border; it is *clear* when one type has nearly all.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from build_engines.data.construction import Construction, construction
from build_engines.data.icons import VAR, Icon
from build_engines.fingerprint import fingerprint

LogoType = Literal["simple", "text", "gradient", "complex"]
LOGO_TYPES: tuple[LogoType, ...] = get_args(LogoType)

_TEXT_ASPECT = 2.0
_TEXT_GLYPHS = 4
_GRADIENT_SHARE = 0.12
_COMPLEX_AREAS = 10
_COMPLEX_COLORS = 7
_BORDER = 1.0
"""Doublings from one side of a border to the other."""
CLEAR = 0.9

SOURCES = (
    "build_engines/data/construction.py",
    "build_engines/data/render.py",
    "build_engines/data/icons.py",
    "serve/vector/structure.py",
)


def shares_of(counted: Construction) -> npt.NDArray[np.float32]:
    """Shape (4,), in the order of LOGO_TYPES; sums to 1."""
    if counted.aspect >= _TEXT_ASPECT and counted.glyphs >= _TEXT_GLYPHS:
        return np.array([0, 1, 0, 0], np.float32)
    gradient = _beyond(counted.gradient_share / _GRADIENT_SHARE)
    complex_ = _beyond(max(counted.areas / _COMPLEX_AREAS, counted.colors / _COMPLEX_COLORS))
    return np.array([(1 - gradient) * (1 - complex_), 0, gradient, (1 - gradient) * complex_], np.float32)


def _beyond(ratio: float) -> float:
    """0 well below a border (ratio 1), 1 well above, 0.5 on it; linear in the logarithm between."""
    return min(1.0, max(0.0, math.log2(max(ratio, 1e-6)) / _BORDER + 0.5))


def logo_type(icon: Icon) -> LogoType:
    return LOGO_TYPES[int(shares_of(construction(icon)).argmax())]


def type_shares(icons: Sequence[Icon], processes: int) -> npt.NDArray[np.float32]:
    """(N, 4): the shares of many icons; counts are kept under ``var/kinds``."""
    path = VAR / "kinds" / f"{fingerprint(SOURCES)}.json"
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    missing = list({key: icon for icon in icons if (key := f"{icon.set}/{icon.name}") not in known}.values())
    if missing:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            counted = pool.map(construction, missing, chunksize=32)
        known |= {f"{i.set}/{i.name}": asdict(c) for i, c in zip(missing, counted, strict=True)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known))
    return np.stack([shares_of(Construction(**known[f"{i.set}/{i.name}"])) for i in icons])  # type: ignore[arg-type]
