"""``python -m loadtests.benchmarks.adapters``: what adapters cost a step of the UNet, through a real Triton on the CPU.

A UNet of Stable Diffusion 1.5's classes with random weights, narrower by ``--width``, is exported twice: plain, and
with LoRAs and a ControlNet. Rows of a batch are one request, sent together. Printed are medians (the
lower of two rounds), and what each is of the goal's denominator. Nothing is downloaded. Needs ``pip install .[build]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from build_engines.export.config import config_text
from build_engines.export.contracts import Contract, Tensor
from build_engines.illustrate import onnx_file
from build_engines.illustrate.adapters import AdapterBuild, ControlledBy
from build_engines.illustrate.contracts import Engine
from build_engines.illustrate.parts import UNet
from loadtests.vectorize.table import markdown
from serve.diffusion.adapters import EngineAdapters
from serve.engines.adapter_files import IDS, SCALES, SLOTS, save_adapter
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

TOKENS, TEXT, ROWS, RANK = 77, 768, 8, 8
PLAIN, ADAPTED = "plain_unet", "adapted_unet"
Arrays = dict[str, npt.NDArray[Any]]


def export(folder: Path, width: int, side: int) -> EngineAdapters:
    """Both engines below ``folder``; what the second takes."""
    torch.manual_seed(0)
    channels = (width, 2 * width, 4 * width, 4 * width)
    unet: Any = diffusers.UNet2DConditionModel(
        sample_size=side, block_out_channels=channels, cross_attention_dim=TEXT, attention_head_dim=8
    ).eval()
    controlnet = ControlledBy(diffusers.ControlNetModel.from_unet(unet).eval(), 4, False).eval()
    network = UNet(unet).eval().requires_grad_(False)
    inputs = (
        Tensor("sample", (4, -1, -1), axes=("height", "width")),
        Tensor("timestep", (1,)),
        Tensor("encoder_hidden_states", (-1, TEXT), axes=("tokens",)),
    )
    outputs = (Tensor("noise_pred", (4, -1, -1), axes=("height", "width")),)
    lengths = {"height": side, "width": side, "tokens": TOKENS}
    adapters = EngineAdapters()
    for name, part in ((PLAIN, ""), (ADAPTED, "unet")):
        contract = Contract(name, inputs, outputs, 2 * ROWS, (), threads=0, warmup=lengths, adapters=part)
        version = folder / name / "1"
        onnx_file.write_onnx(network, contract, examples(2, side), "fp32", version / "model.onnx")
        (folder / name / "config.pbtxt").write_text(config_text(contract, "onnxruntime"))
        if part:
            building = AdapterBuild(
                Engine("unet", contract, lengths, lengths, lengths, lengths), "fp32", "onnxruntime", version
            )
            nets: dict[str, tuple[torch.nn.Module, str]] = {"canny": (controlnet, "random")}
            adapters, _ = building.write(network, unet, partial(examples, 2, side), nets, None)
    return adapters


def examples(rows: int, side: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, 4, side, side), np.float32),
        "timestep": rng.uniform(0, 999, (rows, 1)).astype(np.float32),
        "encoder_hidden_states": rng.standard_normal((rows, TOKENS, TEXT), np.float32),
    }


def write_files(bank: Path, adapters: EngineAdapters, side: int) -> None:
    """Numbers 1 to ROWS: LoRAs on the attention; 100: a control picture."""
    rng = np.random.default_rng(1)
    for number in range(1, ROWS + 1):
        matrix = 0.01 * rng.standard_normal((RANK, adapters.width("attention")), np.float32)
        save_adapter(bank, number, {"unet.attention": matrix})
    picture = rng.integers(0, 256, (8 * side, 8 * side, 3), dtype=np.uint8)
    save_adapter(bank, 100, {"control": np.array("canny"), "picture": picture})


def used(rows: int, *numbers: int) -> Arrays:
    """Adapter ``numbers``, one a row."""
    ids, scales = np.zeros((rows, SLOTS), np.int64), np.zeros((rows, SLOTS), np.float32)
    ids[: len(numbers), 0], scales[: len(numbers), 0] = numbers, 1.0
    return {IDS: ids, SCALES: scales}


async def median_ms(run: Callable[[], Awaitable[Any]], seconds: float) -> float:
    await run()
    await run()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < seconds:
        began = time.perf_counter()
        await run()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000


async def measure(folder: Path, adapters: EngineAdapters, side: int, seconds: float, threads: int) -> list[list[str]]:
    server = TritonServer(folder, [PLAIN, ADAPTED], threads=threads, start_timeout_s=600)
    await asyncio.to_thread(server.start)
    client = EngineClient(server.url, timeout_s=600)
    try:
        write_files(server.adapters, adapters, side)

        def step(engine: str, rows: int, more: Arrays) -> Callable[[], Awaitable[Any]]:
            return lambda: client.infer(engine, {**examples(rows, side), **more})

        many, loras = ROWS, range(1, ROWS + 1)
        cases = {
            "plain, 8 rows": step(PLAIN, many, {}),
            "adapters unused, 8 rows": step(ADAPTED, many, used(many)),
            "8 LoRAs, 8 rows": step(ADAPTED, many, used(many, *loras)),
            "plain, 2 rows": step(PLAIN, 2, {}),
            "ControlNet, 2 rows": step(ADAPTED, 2, used(2, 100, 100)),
        }
        rounds = [{name: await median_ms(run, seconds) for name, run in cases.items()} for _ in range(2)]
        times = {name: min(one[name] for one in rounds) for name in cases}  # others use the machine too
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)
    alone = await median_ms(partial(controlnet_alone, folder, side, threads), seconds)
    base, both = times["plain, 8 rows"], times["plain, 2 rows"] + alone
    compared = [
        ("adapters unused, 8 rows", base, "plain", "1.03"),
        ("8 LoRAs, 8 rows", base, "plain", "1.25"),
        ("ControlNet, 2 rows", both, "UNet and ControlNet alone", "1.1"),
    ]
    return [
        [name, f"{times[name]:.0f}", f"{other:.0f} {what}", f"{times[name] / other:.3f}", goal]
        for name, other, what, goal in compared
    ]


_SESSIONS: dict[Path, Any] = {}


async def controlnet_alone(folder: Path, side: int, threads: int) -> None:
    path = folder / ADAPTED / "1" / "control_canny.onnx"
    if path not in _SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        _SESSIONS[path] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    picture = np.zeros((2, 8 * side, 8 * side, 3), np.uint8)
    _SESSIONS[path].run(None, {**examples(2, side), "control": picture})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=96, help="channels of the first block; 320 in SD 1.5")
    parser.add_argument("--side", type=int, default=32, help="latents along a side")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        adapters = export(Path(scratch), arguments.width, arguments.side)
        rows = asyncio.run(measure(Path(scratch), adapters, arguments.side, arguments.seconds, arguments.threads))
    print(json.dumps({"width": arguments.width, "side": arguments.side, "rank": RANK, "threads": arguments.threads}))
    print(markdown(["a step", "ms", "against, ms", "ratio", "goal"], rows))


if __name__ == "__main__":
    main()
