"""How drawing processes and engines' processes exchange adapters (LoRAs, control pictures, image prompts).

An adapter's arrays lie in a file of a folder that both read. A row of a batch names up to SLOTS of them by number, with
a scale each; number 0 is none. The stubs of engines import this module too: NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOTS = 12
"""Adapters of one row: 4 LoRAs, 4 control pictures, 4 references."""
IDS, SCALES = "adapter_ids", "adapter_scales"
"""The inputs of engines that take adapters, each (rows, SLOTS)."""


def adapter_path(folder: Path, number: int) -> Path:
    """The file of the adapter ``number``: an NPZ of its arrays, uncompressed."""
    return folder / f"{number:016x}.npz"


def number_of(content: str) -> int:
    """A number above 0 for the adapter whose content has this SHA-256 in hex."""
    return int(content[:15], 16) + 1


def save_adapter(folder: Path, number: int, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Writes the file of an adapter; readers see all of it or nothing. Raises OSError; nothing is left then."""
    path = adapter_path(folder, number)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path
