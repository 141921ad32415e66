"""Checkpoints as bytes: only a complete checkpoint of the same picture is read."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.ensembles.illustrator.checkpoints import MAX_STATES, Stage, fingerprint, pack, unpack
from serve.ensembles.illustrator.illustration import Parameters
from serve.ensembles.illustrator.service import Checkpoint

SHAPE = (4, 8, 8)
EVALUATIONS = 20
MADE = Parameters("red apple", "", "toy", 64, 64, EVALUATIONS, 3.0, 0.0, "unipc", 7)
VERSIONS = {"toy_unet": "1", "toy_vae_decoder": "2"}
MARK = fingerprint(MADE, VERSIONS)


def stage(step: int = 5, **changed: Any) -> Stage:
    arrays = {name: np.random.default_rng(step).normal(size=SHAPE).astype(np.float32) for name in ("sample", "x0")}
    return Stage(step, arrays["sample"], {"x0": arrays["x0"], **changed})


def read(checkpoint: Checkpoint, mark: str = MARK, shape: tuple[int, ...] = SHAPE) -> Stage | None:
    return unpack(checkpoint, mark, shape, EVALUATIONS)


def same(one: Stage, other: Stage) -> bool:
    def plain(stage: Stage) -> dict[str, Any]:
        arrays = {"sample": stage.sample, **{f"state.{name}": array for name, array in stage.state.items()}}
        return {"step": stage.step, **{name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}}

    return plain(one) == plain(other)


WHOLE = pack(3, stage(), MARK)


def test_round_trip_keeps_the_stage() -> None:
    back = read(WHOLE)
    assert back is not None
    assert same(back, stage())
    assert (WHOLE.index, WHOLE.step) == (3, 5)
    assert pack(3, stage(), MARK).data == WHOLE.data
    for strided in (np.asfortranarray(stage().sample), stage().sample[:, ::-1]):
        back = read(pack(0, Stage(EVALUATIONS, strided), MARK))
        assert back is not None
        assert same(back, Stage(EVALUATIONS, np.ascontiguousarray(strided)))


def test_checkpoint_is_npz_without_objects() -> None:
    with np.load(io.BytesIO(WHOLE.data), allow_pickle=False) as arrays:
        assert set(arrays) == {"mark", "sample", "state.x0"}


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 8},
        {"sampler": "dpmpp_2m"},
        {"num_inference_steps": 21},
        {"prompt": "red apple "},
        {"negative_prompt": "x"},
        {"guidance_rescale": 0.1},
        {"width": 72},
    ],
)
def test_other_parameters_change_the_fingerprint(changed: dict[str, Any]) -> None:
    other = fingerprint(replace(MADE, **changed), VERSIONS)
    assert read(WHOLE, other) is None
    assert read(pack(0, stage(), other), other) is not None


def test_other_engines_step_or_size_are_refused() -> None:
    assert read(WHOLE, fingerprint(MADE, {**VERSIONS, "toy_unet": "2"})) is None
    assert read(replace(WHOLE, step=6)) is None
    for shape in ((4, 8, 9), (4, 64), (2, 8, 8), (4, 8, 8, 1)):
        assert read(WHOLE, shape=shape) is None
    for step in (0, -1, EVALUATIONS + 1):
        assert read(pack(0, stage(step=5), MARK)) is not None
        assert read(pack(0, Stage(step, stage().sample), MARK)) is None


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(SHAPE, np.float64),
        np.zeros(SHAPE, ">f4"),
        np.zeros((4, 8, 9), np.float32),
        np.full(SHAPE, np.nan, np.float32),
        np.full(SHAPE, np.inf, np.float32),
        np.zeros(SHAPE, object),
        np.asfortranarray(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)),
    ],
    ids=["float64", "big-endian", "shape", "nan", "infinite", "objects", "order"],
)
@pytest.mark.parametrize("name", ["sample", "state.x0"])
def test_invalid_arrays_are_refused(array: Any, name: str) -> None:
    with np.load(io.BytesIO(WHOLE.data)) as found:
        arrays = dict(found)
    assert read(Checkpoint(0, 5, saved(arrays))) is not None
    assert read(Checkpoint(0, 5, saved({**arrays, name: array}))) is None


def saved(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_missing_unknown_and_too_many_arrays_are_refused() -> None:
    with np.load(io.BytesIO(WHOLE.data)) as found:
        arrays = dict(found)
    for name in ("mark", "sample"):
        assert read(Checkpoint(0, 5, saved({key: array for key, array in arrays.items() if key != name}))) is None
    assert read(Checkpoint(0, 5, saved({**arrays, "other": arrays["sample"]}))) is None
    for count, accepted in ((MAX_STATES, True), (10 * MAX_STATES, False)):
        many = Stage(5, stage().sample, {f"x{i}": stage().sample for i in range(count)})
        assert (read(pack(0, many, MARK)) is not None) == accepted


@pytest.mark.slow
def test_decompression_bombs_are_refused() -> None:
    """Compressed parts, and a header that claims more data than follows: neither costs its claimed size in memory."""
    with zipfile.ZipFile(io.BytesIO(WHOLE.data)) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert read(Checkpoint(0, 5, zipped({**parts, "state.x0.npy": bytes(10**8)}, compression))) is None
        assert read(Checkpoint(0, 5, zipped(parts, compression))) is None
    large = parts["sample.npy"].replace(b"(4, 8, 8)", b"(4, 8, 8" + b"0" * 9 + b")")
    assert read(Checkpoint(0, 5, zipped({**parts, "sample.npy": large}, zipfile.ZIP_STORED))) is None
    assert read(Checkpoint(0, 5, zipped(parts, zipfile.ZIP_STORED))) is not None


def zipped(parts: dict[str, bytes], compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_truncated_data_is_refused() -> None:
    for length in range(len(WHOLE.data)):
        assert read(replace(WHOLE, data=WHOLE.data[:length])) is None
    for length in range(1, 40):
        assert read(replace(WHOLE, data=WHOLE.data[length:-length])) is None


@given(st.lists(st.tuples(st.integers(0, len(WHOLE.data) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_random_damage_is_refused_or_harmless(changes: list[tuple[int, int]]) -> None:
    """For example, a date in the archive's directory has no effect."""
    data = bytearray(WHOLE.data)
    for place, value in changes:
        data[place] = value
    found = read(replace(WHOLE, data=bytes(data)))
    assert found is None or same(found, stage())


def test_damaged_archive_directory_is_refused_or_harmless() -> None:
    """Each byte of the archive's directory, where damage can reach any branch of its reader, in several values."""
    begin = WHOLE.data.index(b"PK\x01\x02")
    for place in range(begin, len(WHOLE.data)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            data = bytearray(WHOLE.data)
            data[place] = value
            found = read(replace(WHOLE, data=bytes(data)))
            assert found is None or same(found, stage())


@given(st.binary(max_size=2000))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert read(replace(WHOLE, data=data)) is None
    assert read(replace(WHOLE, data=b"PK\x03\x04" + data)) is None
