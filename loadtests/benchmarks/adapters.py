"""``python -m loadtests.benchmarks.adapters``: what adapters cost, through a real Triton on the CPU, and a whole stack.

A UNet of Stable Diffusion 1.5's classes with random weights, narrower by ``--width``, is exported twice: plain, and
with LoRAs and a ControlNet. ``--what steps``: steps whose rows are one request, in turns; the median of the turns'
ratios counts. ``--what peer``: eight callers at once, and the same requests one by one in diffusers' networks with the
same weights, in turns. ``--what adding``: a stack with the starter family, to which LoRAs are added while others draw
(`loadtests.illustrate.adding_loras`). Nothing is downloaded. Needs ``pip install .[build]``.
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
from loadtests.illustrate.adapter_peers import Factors, Networks, OneByOne, as_file, compared, random_factors
from loadtests.illustrate.adding_loras import adding_loras
from loadtests.vectorize.table import markdown
from serve.diffusion.adapters import EngineAdapters
from serve.diffusion.lora import parse_lora
from serve.engines.adapter_files import IDS, SCALES, SLOTS, adapter_path, save_adapter
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

TOKENS, TEXT, ROWS, RANK, CONTROL = 77, 768, 8, 8, 100
WHAT = ["steps", "peer", "adding"]
PLAIN, ADAPTED = "plain_unet", "adapted_unet"
Arrays = dict[str, npt.NDArray[Any]]


def export(folder: Path, width: int, side: int) -> tuple[EngineAdapters, Networks]:
    """Both engines below ``folder``; what the second takes, and the networks."""
    torch.manual_seed(0)
    channels = (width, 2 * width, 4 * width, 4 * width)
    unet: Any = diffusers.UNet2DConditionModel(
        sample_size=side, block_out_channels=channels, cross_attention_dim=TEXT, attention_head_dim=8
    ).eval()
    control: Any = diffusers.ControlNetModel.from_unet(unet).eval()
    for module in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(module.weight, std=0.02)  # diffusers begins with zeros
    controlnet = ControlledBy(control, 4, False).eval()
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
    return adapters, Networks(unet, control)


def examples(rows: int, side: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, 4, side, side), np.float32),
        "timestep": rng.uniform(0, 999, (rows, 1)).astype(np.float32),
        "encoder_hidden_states": rng.standard_normal((rows, TOKENS, TEXT), np.float32),
    }


def write_files(bank: Path, adapters: EngineAdapters, side: int) -> list[Factors]:
    """Numbers 1 to ROWS: LoRAs on the attention, whose factors are returned; CONTROL: a control picture."""
    loras = [random_factors(adapters, RANK, seed) for seed in range(ROWS)]
    for number, factors in enumerate(loras, 1):
        save_adapter(bank, number, parse_lora(as_file(factors), {"unet": adapters}, "bench").arrays())
    picture = np.random.default_rng(1).integers(0, 256, (8 * side, 8 * side, 3), dtype=np.uint8)
    save_adapter(bank, CONTROL, {"control": np.array("canny"), "picture": picture})
    return loras


def used(rows: int, *numbers: int) -> Arrays:
    """Adapter ``numbers``, one a row."""
    ids, scales = np.zeros((rows, SLOTS), np.int64), np.zeros((rows, SLOTS), np.float32)
    ids[: len(numbers), 0], scales[: len(numbers), 0] = numbers, 1.0
    return {IDS: ids, SCALES: scales}


async def seconds_of(run: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await run()
    return time.perf_counter() - began


async def measure(client: EngineClient, alone: Callable[[], Awaitable[None]], side: int, turns: int) -> list[list[str]]:
    """Each of ``turns`` runs every case once: others use the machine too, and what is divided has to be of one moment.
    ``alone``: the ControlNet of two rows, by itself."""

    def step(engine: str, rows: int, more: Arrays) -> Callable[[], Awaitable[Any]]:
        return lambda: client.infer(engine, {**examples(rows, side), **more})

    cases: dict[str, Callable[[], Awaitable[Any]]] = {
        "plain": step(PLAIN, ROWS, {}),
        "unused": step(ADAPTED, ROWS, used(ROWS)),
        "loras": step(ADAPTED, ROWS, used(ROWS, *range(1, ROWS + 1))),
        "two": step(PLAIN, 2, {}),
        "control": step(ADAPTED, 2, used(2, CONTROL, CONTROL)),
        "alone": alone,
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns + 2):  # the first two do not count
        for name, run in cases.items():
            seconds = await seconds_of(run)
            if turn >= 2:
                taken[name].append(seconds)
    times = {name: np.asarray(values) for name, values in taken.items()}
    compared = [
        ("adapters unused, 8 rows", times["unused"], times["plain"], "plain", "1.03"),
        ("8 LoRAs, 8 rows", times["loras"], times["plain"], "plain", "1.25"),
        ("ControlNet, 2 rows", times["control"], times["two"] + times["alone"], "UNet and ControlNet alone", "1.1"),
    ]
    return [
        [name, f"{1000 * np.median(own):.0f}", f"{1000 * np.median(other):.0f} {what}",
         f"{np.median(own / other):.3f}", goal]
        for name, own, other, what, goal in compared
    ]  # fmt: skip


_SESSIONS: dict[Path, Any] = {}


async def controlnet_alone(folder: Path, side: int, threads: int) -> None:
    path = folder / ADAPTED / "1" / "control_canny.onnx"
    if path not in _SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        _SESSIONS[path] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    picture = np.zeros((2, 8 * side, 8 * side, 3), np.uint8)
    _SESSIONS[path].run(None, {**examples(2, side), "control": picture})


async def through_triton(
    folder: Path, adapters: EngineAdapters, networks: Networks, arguments: argparse.Namespace
) -> None:
    side, threads = arguments.side, arguments.threads
    server = TritonServer(folder, [PLAIN, ADAPTED], threads=threads, start_timeout_s=600)
    await asyncio.to_thread(server.start)
    client = EngineClient(server.url, timeout_s=600)
    try:
        loras = write_files(server.adapters, adapters, side)
        if "steps" in arguments.what:
            alone = partial(controlnet_alone, folder, side, threads)
            rows = await measure(client, alone, side, arguments.turns)
            print(markdown(["a step", "ms", "against, ms", "ratio", "goal"], rows), flush=True)
        if "peer" in arguments.what:
            torch.set_num_threads(threads)
            peer = OneByOne(networks, loras, np.load(adapter_path(server.adapters, CONTROL))["picture"])
            print(await compared(client, ADAPTED, peer, partial(examples, 2, side), arguments.turns), flush=True)
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--width", type=int, default=96, help="channels of the first block; 320 in SD 1.5")
    parser.add_argument("--side", type=int, default=32, help="latents along a side")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if set(arguments.what) - {"adding"}:
        with tempfile.TemporaryDirectory() as scratch:
            adapters, networks = export(Path(scratch), arguments.width, arguments.side)
            print(
                json.dumps({"width": arguments.width, "side": arguments.side, "rank": RANK, "turns": arguments.turns})
            )
            asyncio.run(through_triton(Path(scratch), adapters, networks, arguments))
    if "adding" in arguments.what:
        print(adding_loras(arguments.turns))


if __name__ == "__main__":
    main()
