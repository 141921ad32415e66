"""LitServe with its batching on, and its fast queue. Run by ``loadtests.benchmarks.peers``.

It reads JSON and forms alone, so tensors come as base64 in JSON, as its own examples send pictures. ``decode_request``
is given what was read, though its annotation has to be the class itself, and no text: LitServe asks FastAPI by it.
"""

import argparse
import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from loadtests.peers.wire import Arrays

BATCH_WAIT_S = 0.002


def told_as(arrays: Arrays) -> dict[str, Any]:
    """What JSON can carry."""
    return {
        name: {"shape": array.shape, "dtype": str(array.dtype), "data": base64.b64encode(array.tobytes()).decode()}
        for name, array in arrays.items()
    }


def read_from(options: dict[str, Any]) -> Arrays:
    return {
        name: np.frombuffer(base64.b64decode(one["data"]), one["dtype"]).reshape(one["shape"])
        for name, one in options.items()
    }


class Onnx(litserve.LitAPI):  # type: ignore[misc]
    """An ONNX file in ONNX Runtime. Requests of one batch are of one size."""

    def __init__(self, path: Path, threads: int, max_batch_size: int) -> None:
        super().__init__(max_batch_size=max_batch_size, batch_timeout=BATCH_WAIT_S if max_batch_size > 1 else 0.0)
        self._path, self._threads = path, threads

    def setup(self, device: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        self._session = onnxruntime.InferenceSession(self._path, options)
        self._names = [output.name for output in self._session.get_outputs()]

    def decode_request(self, request: Request) -> Arrays:
        return read_from(dict(request))

    def batch(self, inputs: Sequence[Arrays]) -> Arrays:
        self._rows = len(next(iter(inputs[0].values())))
        return {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}

    def predict(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))

    def unbatch(self, output: Arrays) -> list[Arrays]:
        starts = range(0, len(next(iter(output.values()))), self._rows)
        return [{name: array[i : i + self._rows] for name, array in output.items()} for i in starts]

    def encode_response(self, output: Arrays) -> dict[str, Any]:
        return told_as(output)


class Diffusers(litserve.LitAPI):  # type: ignore[misc]
    """diffusers' eager loop, one picture at a time: its pipelines cannot draw different seeds and prompts as one."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__()
        self._folder, self._steps = folder, steps

    def setup(self, device: str) -> None:
        from loadtests.peers.drawing import painter

        self._draw = painter(self._folder, self._steps)

    def decode_request(self, request: Request) -> tuple[str, int]:
        return request["prompt"], request["seed"]

    def predict(self, samples: tuple[str, int]) -> bytes:
        return self._draw(*samples)

    def encode_response(self, png: bytes) -> dict[str, str]:
        return {"png": base64.b64encode(png).decode()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("onnx", "diffusers"))
    parser.add_argument("--path", type=Path, required=True, help="an ONNX file, or the folder of a checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--max-batch-size", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if options.kind == "onnx":
        api: litserve.LitAPI = Onnx(options.path, options.threads, options.max_batch_size)
    else:
        api = Diffusers(options.path, options.steps)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=options.kind == "onnx", timeout=120)
    server.run(host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False, pretty_logs=False)


if __name__ == "__main__":
    main()
