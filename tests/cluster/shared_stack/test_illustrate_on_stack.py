"""Drawing through the whole stack: the toy family in a real Triton, behind Ray Serve and HAProxy, by stock clients."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from whole_stack import ANEW, Stack

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import engines

pytestmark = pytest.mark.cluster

PROMPT = "red apple"


@pytest.fixture
def client(stack: Stack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(stack.grpc) as client:
        yield client


def prompt() -> Any:
    tensor = triton.InferInput("prompt", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([PROMPT.encode()], object))
    return tensor


def inferences(client: triton.InferenceServerClient) -> int:
    (entry,) = client.get_inference_statistics("toy_unet").model_stats
    return int(entry.inference_count)


def test_the_stack_draws_what_the_family_draws(stack: Stack, client: triton.InferenceServerClient) -> None:
    """The same picture as from functions in one process, over gRPC and HTTP."""
    repository = Path(stack.environment["ATELIER_ILLUSTRATOR__MODEL_REPOSITORY"])
    own = Illustrator(IllustratorSettings(model_repository=repository), engines=engines())  # type: ignore[arg-type]
    expected = asyncio.run(own.draw(IllustrateOptions(PROMPT, seed=7, num_inference_steps=5))).pictures[0].pixels
    options = {"seed": 7, "num_inference_steps": 5}
    drawn = client.infer("illustrate", [prompt()], parameters=options).as_numpy("image")[0]
    assert np.abs(drawn.astype(int) - expected).max() <= 1
    body = {"prompt": PROMPT, **options}
    told = httpx.post(f"http://{stack.http}/v2/models/illustrate/generate", json=body, timeout=60).json()
    assert told["image"] == drawn.ravel().tolist()


def test_regions_and_finishing_pass_through_the_stack(stack: Stack) -> None:
    """Of the half that is a region and the half that is not, enlarged; then an enlarged picture that exists."""
    regions = [{"prompt": "green pear", "box": {"left": 0, "top": 0, "width": 0.5, "height": 1}, "feather": 0}]
    body = {"prompt": PROMPT, "seed": 7, "num_inference_steps": 2, "upscale": 2, "upscaler": "nearest"}
    drawn = []
    for more in ({}, {"regions": json.dumps(regions)}):
        answer = httpx.post(f"http://{stack.http}/v2/models/illustrate/generate", json={**body, **more}, timeout=60)
        assert answer.status_code == 200, answer.text
        drawn.append(np.array(answer.json()["image"], np.uint8).reshape(128, 128, 3))
    assert np.array_equal(drawn[0][:, 64:], drawn[1][:, 64:])
    assert not np.array_equal(drawn[0][:, :64], drawn[1][:, :64])


def test_the_engines_of_both_ensembles_are_served(stack: Stack, client: triton.InferenceServerClient) -> None:
    listed = {model.name: model.state for model in client.get_model_repository_index().models}
    assert {"illustrate", "vectorize", "toy_text_encoder", "toy_unet", "toy_vae_decoder", "quality"} <= set(listed)
    assert set(listed.values()) == {"READY"}
    assert client.get_model_metadata("toy_unet").inputs[0].shape == [-1, 3, -1, -1]
    wide = triton.InferInput("latents", [1, 3, 8, 65], "FP32")
    wide.set_data_from_numpy(np.zeros((1, 3, 8, 65), np.float32))
    with pytest.raises(triton.InferenceServerException, match="latents: has 65 on axis 3"):
        client.infer("toy_vae_decoder", [wide])
    engines = httpx.get(f"http://{stack.http}/health/ready", timeout=60).json()["engines"]
    assert {"toy_unet", "quality"} <= set(engines)


def test_previews_come_while_it_draws_and_a_cancel_ends_it(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    before = inferences(client)
    client.start_stream(lambda result, error: answers.put(result or error))
    options = {"num_inference_steps": 1000, "preview_every": 1}
    for _ in range(2):
        client.async_stream_infer("illustrate", [prompt()], parameters=options)
    for _ in range(4):
        preview = answers.get(timeout=60).get_response()
        assert preview.parameters["steps"].int64_param == 1000
        assert not preview.parameters["triton_final_response"].bool_param
    client.stop_stream(cancel_requests=True)
    time.sleep(0.5)
    begun = inferences(client)
    time.sleep(0.5)
    assert inferences(client) <= begun + 2  # the supervisor's own probe may run in between
    assert begun - before < 2 * 2 * 900


def cpu_s(pids: list[int]) -> float:
    """Seconds of processor time that ``pids`` have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


async def test_a_full_illustrator_is_well_and_ends_with_its_clients(
    stack: Stack, client: triton.InferenceServerClient
) -> None:
    """More drawings than slots: health and metadata respond at once, and all drawings can be abandoned together
    (with ``option splice-request`` HAProxy 2.8 then spins, and notifies no gateway)."""
    body = {"prompt": PROMPT, "steps": 1000, "n": 4}
    async with httpx.AsyncClient(base_url=f"http://{stack.http}", timeout=60) as http:
        drawings = [
            asyncio.create_task(http.post("/v1/images/generations", json=body, headers=ANEW)) for _ in range(40)
        ]
        await asyncio.sleep(1)
        began = time.monotonic()
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.post("/v1/images/generations", json={**body, "steps": 0})).status_code == 400
        assert time.monotonic() - began < 30, "the drawings take longer"
        assert not any(drawing.done() for drawing in drawings)
        for drawing in drawings:
            drawing.cancel()
        await asyncio.gather(*drawings, return_exceptions=True)
    async with asyncio.timeout(60):
        while True:  # until the abandoned drawings have ended
            proxies, begun = stack.pids("haproxy.cfg"), inferences(client)
            used_s = cpu_s(proxies)
            await asyncio.sleep(1)
            if inferences(client) <= begun + 2:
                break
    assert cpu_s(proxies) - used_s < 0.3


def test_the_command_draws_with_the_stack(stack: Stack, tmp_path: Path) -> None:
    done = stack.atelier("illustrate", PROMPT, "-o", str(tmp_path / "apple.png"), "-n", "2", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["seed"] for line in done.stdout.splitlines()] == [7, 8]
    assert Image.open(tmp_path / "apple-2.png").size == (64, 64)
    done = stack.atelier("illustrate", PROMPT, "-o", str(tmp_path / "apple.svg"), "--sampler", "euler")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "apple.svg").read_text().startswith("<svg")
    done = stack.atelier("illustrate", PROMPT, "--model", "sdxl")
    assert done.returncode == 2
    assert "there are: toy" in done.stderr


def test_the_command_draws_alone(stack: Stack, tmp_path: Path) -> None:
    """No stack at its port: the Illustrator, with its Triton, runs in the command's own process."""
    alone = Stack(stack.http, stack.grpc, stack.dashboard, {**stack.environment, "ATELIER_GRPC__PORT": "9"})
    done = alone.atelier("illustrate", PROMPT, "-o", str(tmp_path / "apple.webp"), "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "apple.webp").format == "WEBP"
