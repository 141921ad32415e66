"""The worker protocol: project values survive the round trip unchanged, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import math
import operator
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from conversions import logo, png
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import serve
from serve import errors
from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.worker_pool import TaskFault
from serve.ensembles.vectorizer.worker_protocol import Malformed, function_by_name, function_name, pack, unpack
from serve.errors import AtelierError
from serve.vector.coverage import Drawing
from serve.vector.finishing import Finish
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters
from serve.vector.rewrite.rewrite import Rewrite

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
LIMITS = ImageLimits()
PICTURE = png(logo(2, 160))
_ARRAY, _TUPLE, _DATACLASS, _ERROR = 0, 2, 3, 4


def same(left: Any, right: Any) -> bool:
    """Equal in value and type, at every depth; NaN equals NaN and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, float):
        return left.hex() == right.hex()
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if dataclasses.is_dataclass(left) and not isinstance(left, type):
        return same([*vars(left).items()], [*vars(right).items()])
    return bool(left == right)


def round_trip(value: Any) -> Any:
    return unpack(pack(value))


integers = st.integers(-(1 << 63), (1 << 64) - 1)
texts = st.text(st.characters(exclude_categories=()))  # also lone surrogates: file names have them
keys = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary()
shapes = arrays.array_shapes(min_dims=0, min_side=0, max_side=4)
anything = st.recursive(
    keys | st.floats() | arrays.arrays(st.sampled_from(DTYPES), shapes),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys | st.tuples(keys, keys), inner),
    max_leaves=12,
)


@given(anything)
def test_round_trip_keeps_values(value: Any) -> None:
    assert same(round_trip(value), value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_aligned_and_writable(dtype: str) -> None:
    """The tracer's compiled loops require it: another layout would be compiled again."""
    whole = np.arange(60).reshape(5, 12).astype(dtype)
    for array in (whole, whole.T, whole[::2, 1::3], np.asfortranarray(whole), whole[:0], np.array(7, dtype)):
        found = round_trip(["x", array])[1]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert found.flags.aligned
        assert found.flags.writeable
        assert found.flags.c_contiguous
    assert same(round_trip(whole[1, 1]), whole[1, 1])


@pytest.fixture(scope="module")
def trial() -> tasks.Trial:
    return tasks.attempt(PICTURE, LIMITS, CoverageParameters(), True)


def test_round_trip_keeps_a_trial_with_its_drawing(trial: tasks.Trial) -> None:
    """D-054: refining it in either process gives the same SVG."""
    found = round_trip(("value", trial))[1]
    assert isinstance(found.drawing, Drawing)
    assert same(found, trial)
    refined = CoverageParameters(refine=1)
    here, there = (tasks.attempt(PICTURE, LIMITS, refined, False, one.drawing) for one in (trial, found))
    assert here.svg == there.svg != trial.svg


def test_round_trip_keeps_an_inspection() -> None:
    seen = tasks.inspect(PICTURE, LIMITS)
    assert same(round_trip(seen), seen)


@pytest.mark.parametrize("parameters", [CoverageParameters(refine=2), VTracerParameters(mode="polygon")])
def test_round_trip_keeps_a_task(parameters: Parameters) -> None:
    task = function_name(tasks.attempt), (PICTURE, LIMITS, parameters, True, None)
    assert same(round_trip(task), task)
    assert function_by_name(task[0]) is tasks.attempt


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AtelierError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_round_trip_keeps_errors(kind: type[AtelierError]) -> None:
    for error in (kind("reason", "field"), kind("reason")):
        found = round_trip(("error", error))[1]
        assert type(found) is kind
        assert (found.args, str(found)) == (error.args, str(error))


@pytest.mark.parametrize("function", [tasks.inspect, operator.add, math.sqrt, time.sleep, len, os._exit])
def test_functions_are_found_by_name(function: Callable[..., Any]) -> None:
    assert function_by_name(function_name(function)) is function


@pytest.mark.parametrize(
    "unfit", [lambda: None, b"".join, bytes.__len__, bytes, functools.partial(len), CoverageParameters.to_unit]
)
def test_function_without_a_module_level_name_is_refused(unfit: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        function_name(unfit)


@pytest.mark.parametrize("name", ["", ":", "os", "os:", ":len", "os:nothing", "no_such:f", "os:sep", ".x:f", "a\0b:f"])
def test_name_without_a_function_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        function_by_name(name)


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A class of a module outside the project."""

    value: int = 1


class Subclass(CoverageParameters):
    pass


UNFIT = [
    *(object(), {1}, bytes, len, Colour.RED, Foreign(), Subclass(), TaskFault("x"), ValueError("x"), 1 << 64, 1j),
    *(np.array([None]), np.array(["text"]), np.array([1], ">i4"), np.zeros(1, [("a", "i4")]), np.longdouble(1)),
    *(np.datetime64("2026-01-01"), np.ma.masked_array([1]), np.random.default_rng(0)),
]


@pytest.mark.parametrize("unfit", UNFIT, ids=lambda unfit: type(unfit).__name__)
def test_other_types_are_not_packed(unfit: Any) -> None:
    for value in (unfit, ("value", [unfit]), {"key": unfit}):
        with pytest.raises(TypeError):
            pack(value)


def test_nesting_is_bounded() -> None:
    nested: list[Any] = []
    for _ in range(2000):
        nested = [nested]
    with pytest.raises(ValueError, match="recursion"):
        pack(nested)
    with pytest.raises(Malformed):
        unpack(b"\x91" * 2000 + b"\x90")


def forged(code: int, name: str, *values: Any) -> bytes:
    return bytes(msgpack.packb([msgpack.ExtType(code, name.encode()), *values]))


LIMIT_FIELDS = dataclasses.asdict(LIMITS)
FORGED = {
    "a function": forged(_DATACLASS, "os:system", {"command": "true"}),
    "a class": forged(_DATACLASS, "subprocess:Popen", {"args": "true"}),
    "a class of ours": forged(_DATACLASS, "serve.ensembles.vectorizer.worker_pool:Workers", {}),
    "a dataclass that is not ours": forged(_DATACLASS, f"{__name__}:Foreign", {"value": 1}),
    "ours by another module": forged(_DATACLASS, "serve.ensembles.vectorizer.tasks:ImageLimits", LIMIT_FIELDS),
    "a method": forged(_DATACLASS, "serve.vector.image:ImageLimits.__init__", LIMIT_FIELDS),
    "no name": forged(_DATACLASS, "", {}),
    "too few fields": forged(_DATACLASS, "serve.vector.image:ImageLimits", {"max_bytes": 1}),
    "too many fields": forged(_DATACLASS, "serve.vector.image:ImageLimits", LIMIT_FIELDS | {"more": 1}),
    "fields without names": forged(_DATACLASS, "serve.vector.image:ImageLimits", [1, 2, 3, 4]),
    "no fields": forged(_DATACLASS, "serve.vector.image:ImageLimits"),
    "a parameter out of its range": forged(
        *(_DATACLASS, "serve.vector.parameters:VTracerParameters"),
        dataclasses.asdict(VTracerParameters()) | {"filter_speckle": 10**6},
    ),
    "an error that is not ours": forged(_ERROR, "SystemExit", 1),
    "a function for an error": forged(_ERROR, "rename_fields", {}),
    "an error without arguments": forged(_ERROR, "BadImage"),
    "an unknown mark": forged(77, "", 1),
    "an array of nothing": bytes(msgpack.packb(msgpack.ExtType(_ARRAY, b""))),
    "an array with a shape only": bytes(msgpack.packb(msgpack.ExtType(_ARRAY, b"\x02\x00"))),
    "an array of an unknown dtype": bytes(msgpack.packb(msgpack.ExtType(_ARRAY, b"\x00\x00\xff"))),
    "an array smaller than it says": bytes(
        msgpack.packb(msgpack.ExtType(_ARRAY, (1 << 62).to_bytes(8, "little") + b"\x01\x00"))
    ),
    "an empty array that is huge": bytes(
        msgpack.packb(msgpack.ExtType(_ARRAY, bytes(8) + (1 << 63).to_bytes(8, "little") + b"\x02\x00"))
    ),
    "more than one value": pack(1) + pack(2),
    "a part of a value": pack("text")[:-1],
    "a key that is no key": b"\x81\x90\xc0",
    "nothing": b"",
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_forged_message_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(data)


LATE = """
import dataclasses
@dataclasses.dataclass(frozen=True)
class Thing:
    x: int
"""


def test_unpacking_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late.py").write_text(LATE)
    monkeypatch.setattr(serve, "__path__", [*serve.__path__, str(tmp_path)])
    message = forged(_DATACLASS, "serve.late:Thing", {"x": 1})
    with pytest.raises(Malformed):
        unpack(message)
    assert "serve.late" not in sys.modules
    try:
        late = importlib.import_module("serve.late")
        assert unpack(message) == late.Thing(1)
    finally:
        del sys.modules["serve.late"]


@given(st.binary(max_size=64))
def test_random_bytes_are_refused_or_a_value(data: bytes) -> None:
    try:
        unpack(data)
    except Malformed:
        return


@given(st.data())
def test_damaged_message_is_refused_or_a_value(trial: tasks.Trial, data: st.DataObject) -> None:
    message = bytearray(pack(("value", dataclasses.replace(trial, svg=""))))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(message))
    except Malformed:
        return


def test_what_finishes_a_drawing_travels() -> None:
    finish = Finish(palette=["#ffffff", "#000000"], title="fox", rewrite=Rewrite(curves="arcs", stacking="cut_out"))
    assert unpack(pack((finish, 1))) == (finish, 1)
