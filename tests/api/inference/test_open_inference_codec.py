"""The open inference codec: round trips, and arbitrary bytes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serve.api.http.bodies import inflate
from serve.api.inference.codec import InferRequest, decode_request, encode_response
from serve.api.inference.tensors import (
    DTYPES,
    bytes_array,
    datatype_of,
    from_binary,
    from_numbers,
    to_binary,
)
from serve.errors import AtelierError, InvalidRequest

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=4, min_side=0)
NUMBERS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(
        DTYPES[name],
        SHAPES,
        elements={"allow_nan": False, "allow_infinity": False} if DTYPES[name].kind == "f" else None,
    )
)
STRINGS = st.lists(st.binary(max_size=20), max_size=6)


@given(NUMBERS)
def test_binary_round_trip(array: np.ndarray[Any, Any]) -> None:
    datatype = datatype_of(array)
    back = from_binary(to_binary(array), datatype, array.shape, "x")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(STRINGS)
def test_bytes_round_trip(elements: list[bytes]) -> None:
    array = bytes_array(elements, (len(elements),), "x")
    assert from_binary(to_binary(array), "BYTES", array.shape, "x").tolist() == elements


@given(NUMBERS, st.booleans())
def test_request_round_trip_in_json_and_binary(array: np.ndarray[Any, Any], binary: bool) -> None:
    """As a client encodes it: JSON numbers or a binary tail."""
    datatype = datatype_of(array)
    if datatype == "FP16" and not binary:
        return  # the protocol has it in binary only
    entry: dict[str, Any] = {"name": "x", "shape": list(array.shape), "datatype": datatype}
    tail = to_binary(array) if binary else b""
    if binary:
        entry["parameters"] = {"binary_data_size": len(tail)}
    else:
        entry["data"] = array.tolist() if array.ndim else [array.item()]
    head = json.dumps({"inputs": [entry], "id": "7", "model_name": "ignored"}).encode()
    request = decode_request(head + tail, len(head) if binary else None)
    assert request.id == "7"
    np.testing.assert_array_equal(request.inputs[0].array, array)


@given(NUMBERS, st.booleans())
def test_response_round_trip(array: np.ndarray[Any, Any], binary: bool) -> None:
    request = InferRequest((), parameters={"binary_data_output": binary})
    body, head = encode_response("m", "1", request, {"y": array})
    document = json.loads(body[:head])
    output = document["outputs"][0]
    assert output["shape"] == list(array.shape)
    if head is None:
        values = np.array(output["data"], array.dtype).reshape(array.shape)
    else:
        assert output["parameters"]["binary_data_size"] == len(body) - head
        values = from_binary(body[head:], output["datatype"], array.shape, "y")
    np.testing.assert_array_equal(values, array)


def test_bf16_is_the_upper_half_of_fp32() -> None:
    array = from_binary(b"\x80\x3f\x00\xc0", "BF16", (2,), "x")
    assert array.tolist() == [1.0, -2.0]


@given(st.binary(max_size=400), st.none() | st.integers(0, 500))
def test_random_bytes_are_client_errors(body: bytes, head: int | None) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(body, head)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": JSON | st.just("x"),
        "shape": JSON | st.lists(st.integers(-2, 4), max_size=4),
        "datatype": JSON | st.sampled_from([*DTYPES, "BYTES", "BF16"]),
        "data": JSON | st.lists(st.integers(-5, 300) | st.floats() | st.text(max_size=3), max_size=6),
        "parameters": JSON | st.fixed_dictionaries({"binary_data_size": JSON}),
    },
)


@given(st.fixed_dictionaries({"inputs": st.lists(FIELDS, max_size=3)}, optional={"id": JSON, "outputs": JSON}))
def test_nearly_valid_requests_are_answered_or_refused(document: dict[str, Any]) -> None:
    """Raises only the codec's own client error, whatever the types."""
    try:
        request = decode_request(json.dumps(document).encode())
    except InvalidRequest:
        return
    for tensor in request.inputs:
        assert tensor.array.dtype.kind != "f" or np.isfinite(tensor.array).all()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"inputs":[' + b"{}," * 1_000_000 + b"{}]}",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],"outputs":[%s]}'
        % b",".join([b'{"name":"y"}'] * 257),
        b'{"inputs":' + b"[" * 5000,
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[NaN]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1e999]}]}',
        b'{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[%s]}]}' % (b"9" * 5000),
        b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[2],"data":[1,256]}]}',
        b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[1.5]}]}',
        b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[99999999,99999999],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP16","shape":[1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":%s1%s}]}' % (b"[" * 9, b"]" * 9),
    ],
)
def test_malformed_requests_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(text)


@pytest.mark.parametrize("size", [1, 3])
def test_million_empty_elements_are_counted_without_reading(size: int) -> None:
    """The length prefixes alone are 4 MB: parsing them all would block every other request."""
    raw = memoryview(bytes(4_000_000))
    with pytest.raises(InvalidRequest, match=f"{size + 1} elements"):
        from_binary(raw, "BYTES", (size,), "x")


def test_nesting_depth_equals_the_rank_of_the_shape() -> None:
    for levels, fits in ((8, True), (9, False)):
        data = json.loads("[" * levels + "1" + "]" * levels)
        with contextlib.nullcontext() if fits else pytest.raises(InvalidRequest, match="levels"):
            assert from_numbers(data, "UINT8", (1,), "x").tolist() == [1]


def test_strings_of_mixed_length_are_not_widened() -> None:
    """numpy would widen every element to the longest string."""
    data = json.dumps(["a" * 1_000_000] + [""] * 100_000)
    with pytest.raises(InvalidRequest):
        decode_request(b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":%s}]}' % data.encode())


def test_compressed_bodies_are_bounded() -> None:
    import gzip
    import zlib

    assert inflate(gzip.compress(b"abc"), "gzip", 10) == b"abc"
    assert inflate(zlib.compress(b"abc"), "deflate", 10) == b"abc"
    for body, kind in [
        (gzip.compress(bytes(10_000_000)), "gzip"),
        (b"garbage", "gzip"),
        (gzip.compress(b"abc")[:-4], "gzip"),
        (b"", "br"),
    ]:
        with pytest.raises(AtelierError) as caught:
            inflate(body, kind, 1000)
        assert 400 <= caught.value.status < 500
