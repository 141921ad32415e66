"""Whether a GGUF file is whole: its header, metadata and tensors all lie within it. Reads the header alone.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1_000_000
MAX_STRING = 64 * 1024 * 1024
_SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "B", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEPT = ("general.", "tokenizer.chat_template")
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""By type of a tensor: elements of a block, and its bytes (ggml.h)."""


class BrokenGguf(ValueError):
    """The file is no GGUF file, or is cut short. The message says which."""


@dataclass(frozen=True)
class GgufFacts:
    """``metadata``: scalars and texts of ``general.*``, and the chat template, where there is one."""

    architecture: str
    tensors: int
    bytes: int
    metadata: dict[str, Any] = field(default_factory=dict)


def check_whole(path: Path) -> GgufFacts:
    """Raises BrokenGguf, and OSError for a file that cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, size)
        if reader.bytes(4) != MAGIC:
            raise BrokenGguf("it is no GGUF file")
        version = reader.number("<I")
        if version not in VERSIONS:
            raise BrokenGguf(f"it is GGUF of version {version}; versions 2 and 3 are read")
        tensors, entries = reader.count("<Q"), reader.count("<Q")
        metadata = dict(reader.entry() for _ in range(entries))
        ends = [reader.tensor() for _ in range(tensors)]
        alignment = int(metadata.get("general.alignment", 32)) or 32
        data = -(-file.tell() // alignment) * alignment
    needed = data + max(ends, default=0)
    if needed > size:
        raise BrokenGguf(f"it is cut short: its tensors need {needed:,} bytes, it has {size:,}")
    kept = {key: value for key, value in metadata.items() if key.startswith(_KEPT) and value is not None}
    return GgufFacts(str(metadata.get("general.architecture", "unknown")), tensors, size, kept)


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise BrokenGguf(f"it is cut short: it ends within its header, after {self._size:,} bytes")
        return found

    def number(self, kind: str) -> Any:
        return struct.unpack(kind, self.bytes(struct.calcsize(kind)))[0]

    def count(self, kind: str) -> int:
        found = int(self.number(kind))
        if found > MAX_ENTRIES:
            raise BrokenGguf(f"its header states {found:,} entries")
        return found

    def text(self) -> str:
        length = int(self.number("<Q"))
        if length > MAX_STRING:
            raise BrokenGguf(f"its header states a text of {length:,} bytes")
        return self.bytes(length).decode("utf-8", "replace")

    def entry(self) -> tuple[str, Any]:
        """A key and its value; arrays are skipped."""
        return self.text(), self._value(int(self.number("<I")))

    def tensor(self) -> int:
        """Where the next tensor ends, from the begin of the tensors' data."""
        name, axes = self.text(), int(self.number("<I"))
        if axes > 8:
            raise BrokenGguf(f"its tensor {name[:64]!a} has {axes} axes")
        elements = 1
        for _ in range(axes):
            elements *= int(self.number("<Q"))
        kind, offset = int(self.number("<I")), int(self.number("<Q"))
        block, size = _BLOCKS.get(kind, (1, 0))  # of a type that is not known only the begin is checked
        return offset + elements // block * size

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            raise BrokenGguf(f"its metadata has a value of the unknown type {kind}")
        inner, length = int(self.number("<I")), int(self.number("<Q"))
        if inner in _SCALARS:
            self._skip(length * struct.calcsize(_SCALARS[inner]))
            return None
        if length > 64 * MAX_ENTRIES:
            raise BrokenGguf(f"its header states an array of {length:,}")
        for _ in range(length):
            self._value(inner)
        return None

    def _skip(self, count: int) -> None:
        if self._file.tell() + count > self._size:
            raise BrokenGguf(f"it is cut short: it ends within its header, after {self._size:,} bytes")
        self._file.seek(count, 1)
