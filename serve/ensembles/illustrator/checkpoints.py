"""A picture half drawn, as bytes: NPZ of plain float32 arrays, with a mark of what the picture is to be.

What is read may come from anywhere: nothing in it is believed but what is checked, and no part of it is larger than
what was asked for. zipfile compares every part with its CRC.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from serve.diffusion.samplers import Array, State
from serve.ensembles.illustrator.illustration import Checkpoint, Parameters

FORMAT = 1
"""To be raised when a sampler keeps another state under the same name, or steps otherwise."""
MAX_STATES = 8
"""Arrays that a sampler may remember; UniPC has three."""

_FLOATS, _BYTES = "<f4", "|u1"
_MARK, _SAMPLE, _STATE, _END = "mark.npy", "sample.npy", "state.", ".npy"
_AROUND_BYTES = 1024
"""At most what ZIP and NPY write around one array."""
_DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError, OverflowError, struct.error)
"""What zipfile raises for bytes that are no archive, or a broken one."""


@dataclass(frozen=True, eq=False)
class Stage:
    """How far a picture is: ``sample`` and ``state`` are those of evaluation ``step``, the next to be made."""

    step: int
    sample: Array
    state: State = field(default_factory=dict)


def fingerprint(parameters: Parameters, model_versions: Mapping[str, str]) -> str:
    """Of all that decides one picture: ``parameters`` have its own seed."""
    told = {"format": FORMAT, "parameters": asdict(parameters), "model_versions": dict(model_versions)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def pack(index: int, stage: Stage, fingerprint: str) -> Checkpoint:
    """Of picture ``index``. Takes a few milliseconds where the latents are megabytes."""
    state = {_STATE + name: _plain(array) for name, array in stage.state.items()}
    file = io.BytesIO()
    np.savez(file, mark=_mark(fingerprint, stage.step, stage.state), sample=_plain(stage.sample), **state)
    return Checkpoint(index, stage.step, file.getvalue())


def unpack(checkpoint: Checkpoint, fingerprint: str, shape: tuple[int, ...], evaluations: int) -> Stage | None:
    """What was packed, if it is whole and of this very picture, whose latents have ``shape``; else None."""
    most = (2 + MAX_STATES) * (4 * math.prod(shape) + _AROUND_BYTES)
    if not 1 <= checkpoint.step <= evaluations or len(checkpoint.data) > most:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(checkpoint.data)) as archive:
            names = [name[len(_STATE) : -len(_END)] for name in archive.namelist() if name not in (_MARK, _SAMPLE)]
            mark = _mark(fingerprint, checkpoint.step, names)
            if not np.array_equal(_read(archive, _MARK, _BYTES, mark.shape), mark):
                return None
            sample = _read(archive, _SAMPLE, _FLOATS, shape)
            state = {name: _read(archive, _STATE + name + _END, _FLOATS, shape) for name in names}
    except _DAMAGE:
        return None
    if not all(np.isfinite(array).all() for array in (sample, *state.values())):
        return None
    return Stage(checkpoint.step, sample, state)


def _plain(array: Array) -> Array:
    return np.ascontiguousarray(array, _FLOATS)


def _mark(fingerprint: str, step: int, states: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Also of the names in the state, since damage to an archive's directory can hide one."""
    told = json.dumps([fingerprint, step, sorted(states)])
    return np.frombuffer(hashlib.sha256(told.encode()).digest(), np.uint8)


def _read(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The array ``name``. Its header has to be the one that such an array gets: no other is parsed."""
    head = io.BytesIO()
    form = {"descr": dtype, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, form)  # type: ignore[no-untyped-call]
    size = len(head.getvalue()) + np.dtype(dtype).itemsize * math.prod(shape)
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError("packed smaller than it was written")
    with archive.open(name) as file:
        content = file.read(size + 1)
    if len(content) != size or not content.startswith(head.getvalue()):
        raise ValueError("another array")
    array: npt.NDArray[np.float32] = np.frombuffer(content, dtype, offset=len(head.getvalue())).reshape(shape)
    return array
