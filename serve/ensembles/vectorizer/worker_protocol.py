"""Messages between the owner and its worker processes: MessagePack with a closed set of types.

Decoding imports nothing and runs nothing but the constructors of our frozen dataclasses and errors: workers process
untrusted pictures in native libraries, and a compromised worker must not compromise its owner.

- None, bool, int (64 bits), float, str, bytes, list and dict are native MessagePack types.
- An array is an extension: its elements, then its shape, number of axes and dtype. The latter are at the end, so that
  the elements are aligned. A NumPy scalar is an array without axes under another code.
- A list whose first item is an extension encodes a tuple, a dataclass's fields by name, or an error's arguments.

A function is sent by name, and only accepted where one is expected: `function_name` and `function_by_name`.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from serve import errors

_ARRAY, _SCALAR, _TUPLE, _DATACLASS, _ERROR = range(5)
_DTYPES = tuple(np.dtype(kind) for kind in "?bBhHiIlLefdFD")
_DTYPE_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_MAX_AXES = 32
_TAILS = tuple(struct.Struct(f"<{axes}QBB") for axes in range(_MAX_AXES + 1))
_IS_TUPLE = msgpack.ExtType(_TUPLE, b"")


class Malformed(ValueError):
    """Bytes that `pack` did not produce."""


class _Mark(NamedTuple):
    """First item of a list that encodes another type."""

    code: int
    name: str


def pack(value: Any) -> bytes:
    """Arrays of any layout arrive in C order, bytearrays as bytes.

    Raises TypeError for unsupported types, ValueError for values that are too large or too deep.
    """
    packed: bytes = msgpack.packb(value, default=_encode, strict_types=True, unicode_errors="surrogatepass")
    return packed


def unpack(data: bytes) -> Any:
    """The packed value; arrays are aligned and writable. Raises Malformed."""
    try:
        return msgpack.unpackb(
            data, ext_hook=_read_extension, list_hook=_read_list, strict_map_key=False, unicode_errors="surrogatepass"
        )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, errors.AtelierError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def function_name(function: Callable[..., Any]) -> str:
    """``module:name`` of a module-level function. Raises TypeError for anything else, such as a method or a lambda."""
    name = f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', None)}"
    try:
        if function_by_name(name) is function:
            return name
    except Malformed:
        pass
    raise TypeError(f"{function!r} is no function of a module")


def function_by_name(name: str) -> Callable[..., Any]:
    """The function of ``name``; imports its module, so names must come from the owner. Raises Malformed."""
    module, _, function = name.partition(":")
    try:
        found = vars(importlib.import_module(module)).get(function)
    except (ImportError, ValueError, TypeError) as error:
        raise Malformed(f"no function {name}") from error
    if not callable(found) or isinstance(found, type):
        raise Malformed(f"no function {name}")
    return found  # type: ignore[no-any-return]


def _encode(value: Any) -> Any:
    """Encode a type that MessagePack lacks."""
    kind = type(value)
    if kind is np.ndarray:
        return msgpack.ExtType(_ARRAY, _elements(value))
    if kind is tuple:
        return [_IS_TUPLE, *value]
    if isinstance(value, np.generic):
        return msgpack.ExtType(_SCALAR, _elements(np.asarray(value)))
    if isinstance(value, errors.AtelierError):
        if _error(kind.__name__) is kind:
            return [msgpack.ExtType(_ERROR, kind.__name__.encode()), *value.args]
    elif dataclasses.is_dataclass(kind):
        name = f"{kind.__module__}:{kind.__qualname__}"
        if (known := _dataclass(name)) is not None and known.kind is kind:
            fields = {field: getattr(value, field) for field in known.fields}
            return [msgpack.ExtType(_DATACLASS, name.encode()), fields]
    raise TypeError(f"this {kind.__module__}.{kind.__qualname__} does not travel to or from a worker")


def _elements(array: npt.NDArray[Any]) -> bytes:
    if (code := _DTYPE_CODES.get(array.dtype)) is None:
        raise TypeError(f"an array of {array.dtype} does not travel to or from a worker")
    return array.tobytes() + _TAILS[array.ndim].pack(*array.shape, array.ndim, code)


def _read_extension(code: int, data: bytes) -> Any:
    if code == _ARRAY:
        return _read_array(data)
    if code == _SCALAR:
        return _read_array(data)[()]
    return _Mark(code, data.decode())


def _read_array(data: bytes) -> npt.NDArray[Any]:
    if len(data) < 2 or data[-1] >= len(_DTYPES) or data[-2] > _MAX_AXES:
        raise Malformed("an array without its dtype and shape")
    dtype, tail = _DTYPES[data[-1]], _TAILS[data[-2]]
    size = len(data) - tail.size
    shape = tail.unpack_from(data, size)[:-2] if size >= 0 else ()
    if math.prod(shape) * dtype.itemsize != size:
        raise Malformed("an array of another size than it says")
    return np.ndarray(shape, dtype, bytearray(data))


def _read_list(items: list[Any]) -> Any:
    if not items or type(items[0]) is not _Mark:
        return items
    mark, *values = items
    if mark.code == _TUPLE:
        return tuple(values)
    if mark.code == _ERROR and (error := _error(mark.name)) is not None:
        return error(*values)
    if mark.code == _DATACLASS and (known := _dataclass(mark.name)) is not None:
        (named,) = values
        if isinstance(named, dict) and tuple(named) == known.fields:
            return known.kind(**named)
    raise Malformed(f"a list that is no {mark.name}")


class _Dataclass(NamedTuple):
    kind: type[Any]
    fields: tuple[str, ...]


_dataclasses: dict[str, _Dataclass] = {}


def _dataclass(name: str) -> _Dataclass | None:
    """The class of ``module:name`` if it is a frozen dataclass defined by an already imported module of ours."""
    if name not in _dataclasses:
        module, _, qualname = name.partition(":")
        kind = getattr(sys.modules.get(module), qualname, None) if module.startswith("serve.") else None
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module):
            return None
        fields = dataclasses.fields(kind)
        if not kind.__dataclass_params__.frozen or not all(field.init for field in fields):  # type: ignore[attr-defined]
            return None
        _dataclasses[name] = _Dataclass(kind, tuple(field.name for field in fields))
    return _dataclasses[name]


def _error(name: str) -> type[errors.AtelierError] | None:
    found = vars(errors).get(name)
    if isinstance(found, type) and issubclass(found, errors.AtelierError):
        return found
    return None
