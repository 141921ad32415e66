"""Runs in the environment of tests/clients/requirements.txt: kserve's own clients against a running stack.

Usage: python kserve_check.py HTTP GRPC PICTURE (addresses as host:port). Prints one line of JSON; fails loudly.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(http: str, grpc: str, picture: bytes) -> None:
    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    base = f"http://{http}"
    results = {
        "live": await rest.is_server_live(base),
        "ready": await rest.is_server_ready(base),
        "model_ready": await rest.is_model_ready(base, "vectorize"),
    }
    image = InferInput("image", [1], "BYTES", parameters={"content_type": "base64"})
    image.set_data_from_numpy(np.array([base64.b64encode(picture)], object), binary_data=False)
    request = InferRequest("vectorize", [image], parameters={"tier": "1"})
    answer = await rest.infer(base, request, model_name="vectorize")
    results["svg"] = text_of(answer)[:4]
    image = InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([picture], object), binary_data=True)
    answer = await rest.infer(base, InferRequest("vectorize", [image]), model_name="vectorize")
    results["svg_binary"] = text_of(answer)[:4]

    async with InferenceGRPCClient(grpc) as client:
        results["grpc_live"] = await client.is_server_live()
        results["grpc_ready"] = await client.is_server_ready()
        results["grpc_model_ready"] = await client.is_model_ready("vectorize")
        image = InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([picture], object), binary_data=True)
        answer = await client.infer(InferRequest("vectorize", [image]))
        results["grpc_svg"] = text_of(answer)[:4]
    print(json.dumps(results))


def text_of(answer: object) -> str:
    output = next(output for output in answer.outputs if output.name == "svg")  # type: ignore[attr-defined]
    value = output.as_numpy().ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))
