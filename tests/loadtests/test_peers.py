"""The comparison with other servers: encodings, order of the peers, and detection of wrong responses."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading

import numpy as np
import pytest
import tritonclient.http as triton_http

from loadtests.benchmarks.peers import table
from loadtests.peers import engines, litserve_server, wire
from loadtests.peers.closed_loop import Samples, post, rotated, run_closed_loop

ARRAYS: wire.Arrays = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(2, dtype=np.uint8).reshape(2, 1),
}


def same(found: wire.Arrays, wanted: wire.Arrays) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_tensors_survive_both_encodings() -> None:
    body, length = wire.request(ARRAYS)
    assert same(wire.decode(body, length, "inputs"), ARRAYS)
    assert same(litserve_server.read_from(litserve_server.told_as(ARRAYS)), ARRAYS)


def test_stock_client_reads_responses_of_the_plain_peer() -> None:
    body, length = wire.encode(ARRAYS, "outputs")
    read = triton_http.InferenceServerClient.parse_response_body(body, header_length=length)
    assert np.array_equal(read.as_numpy("a"), ARRAYS["a"])


def test_wrong_numbers_are_an_error() -> None:
    check = engines.Check(ARRAYS)
    check(ARRAYS)
    with pytest.raises(ValueError, match="other numbers in a"):
        check(ARRAYS | {"a": ARRAYS["a"] + 1})
    with pytest.raises(LookupError):
        check({"a": ARRAYS["a"]})


@pytest.mark.parametrize("engine", ["quality", "mini_unet", "image_features"])
def test_engines_get_inputs_of_the_shapes_in_their_configs(engine: str) -> None:
    inputs = engines.inputs_of(engine)
    required = [tensor for tensor in engines.config_of(engine)["input"] if not tensor.get("optional")]
    assert inputs.keys() == {tensor["name"] for tensor in required}
    for tensor in required:
        lengths = inputs[tensor["name"]].shape[1:]
        assert all(dim in (-1, length) for dim, length in zip(tensor["dims"], lengths, strict=True))
    assert {len(array) for array in inputs.values()} == {engines.ROWS.get(engine, 1)}


def test_litserve_joins_and_splits_batches() -> None:
    api = litserve_server.Onnx(engines.path_of("quality"), 1, 8)
    one = engines.inputs_of("quality")
    batch = api.batch([one, one, one])
    assert len(batch["embedding"]) == 3
    parts = api.unbatch(batch)
    assert len(parts) == 3
    assert same(parts[2], one)


def test_each_peer_is_first_once() -> None:
    names = ["a", "b", "c"]
    assert [rotated(names, turn)[0] for turn in range(3)] == names
    assert rotated(names, 0) == names
    assert rotated(names, 1) == ["b", "a", "c"]


def test_failures_are_counted_and_excluded_from_waits() -> None:
    """One caller, whose server answers right, wrong and 503 in turn."""
    bodies = [b"right", b"wrong", b""]
    answers = [b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (200 if body else 503, len(body)) for body in bodies]

    def serve(listener: socket.socket) -> None:
        turns = itertools.cycle(range(len(bodies)))
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    while connection.recv(4096):
                        turn = next(turns)
                        connection.sendall(answers[turn] + bodies[turn])

    def check(_: bytes, body: bytes) -> None:
        if body != b"right":
            raise ValueError("wrong")

    listener = socket.create_server(("127.0.0.1", 0))
    address = "{}:{}".format(*listener.getsockname())
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    samples = Samples()
    requests = itertools.repeat(post(address, "/infer", b"x"))
    with listener:
        assert run_closed_loop(address, requests, check, 1, 0.2, samples) == len(samples.waits_s) > 0
    assert samples.failures[0] == "ValueError: wrong"
    assert samples.failures[1].startswith("ValueError: 503")


def test_table_compares_with_the_first() -> None:
    ours = Samples([0.1] * 4, [10.0, 20.0], cpu_ms={"Gateway": [1.0, 3.0], "Vectorizer": [0.5]})
    rows = {8: {"Atelier": ours, "other": Samples([0.2], [30.0], ["x"])}}
    lines = table("engine", rows).splitlines()
    assert lines[2] == "| Atelier | 8 | 15.0 | 100.0 | 100.0 | 2.00 | 0.50 | 0 | 1.00 |"
    assert lines[3] == "| other | 8 | 30.0 | 200.0 | 200.0 | – | – | 1 | 2.00 |"
