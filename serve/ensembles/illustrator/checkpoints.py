"""Serialised state of an unfinished picture: NPZ of float32 arrays with a fingerprint of the request.

Input is untrusted: headers, names and sizes are checked, and no array is larger than requested. zipfile verifies CRCs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from serve.diffusion.samplers import Array, State
from serve.ensembles.illustrator.illustration import Parameters
from serve.ensembles.illustrator.service import Checkpoint

FORMAT = 1
"""Increment when a sampler's state or its steps change."""
MAX_STATES = 8
"""Maximum number of arrays of a sampler's state; UniPC has three."""

_FLOATS, _BYTES = "<f4", "|u1"
_MARK, _SAMPLE, _STATE, _END = "mark.npy", "sample.npy", "state.", ".npy"
_AROUND_BYTES = 1024
"""Upper bound of the ZIP and NPY overhead per array."""
_DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError, OverflowError, struct.error)
"""Errors of zipfile for bytes that are no archive, or a damaged one."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Progress of a picture: ``sample`` and ``state`` are the inputs of evaluation ``step``, the next one."""

    step: int
    sample: Array
    state: State = field(default_factory=dict)


def fingerprint(parameters: Parameters, model_versions: Mapping[str, str]) -> str:
    """Hash of everything that determines one picture; ``parameters`` contain its own seed."""
    content = {"format": FORMAT, "parameters": parameters.to_json(), "model_versions": dict(model_versions)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def pack(index: int, stage: Stage, fingerprint: str) -> Checkpoint:
    """Checkpoint of picture ``index``. Takes a few milliseconds per megabyte of latents."""
    state = {_STATE + name: _plain(array) for name, array in stage.state.items()}
    file = io.BytesIO()
    np.savez(file, mark=_mark(fingerprint, stage.step, stage.state), sample=_plain(stage.sample), **state)
    return Checkpoint(index, stage.step, file.getvalue())


def unpack(checkpoint: Checkpoint, fingerprint: str, shape: tuple[int, ...], evaluations: int) -> Stage | None:
    """The packed stage, if it is intact and matches this picture, whose latents have ``shape``; otherwise None."""
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


def stages_to_resume(
    resume: Sequence[Checkpoint], fingerprints: Sequence[str], shape: tuple[int, ...], evaluations: int
) -> dict[int, Stage]:
    """Stages of the pictures that have a matching checkpoint; the last checkpoint of each picture is used."""
    newest = {checkpoint.index: checkpoint for checkpoint in resume}
    found = {
        index: unpack(newest[index], mark, shape, evaluations)
        for index, mark in enumerate(fingerprints)
        if index in newest
    }
    return {index: stage for index, stage in found.items() if stage is not None}


def _plain(array: Array) -> Array:
    return np.ascontiguousarray(array, _FLOATS)


def _mark(fingerprint: str, step: int, states: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Hash that includes the state names, since damage to the archive's directory can hide an array."""
    content = json.dumps([fingerprint, step, sorted(states)])
    return np.frombuffer(hashlib.sha256(content.encode()).digest(), np.uint8)


def _read(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The array ``name``. Only the exact header of this dtype and shape is accepted."""
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
