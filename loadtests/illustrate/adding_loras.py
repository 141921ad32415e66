"""LoRAs added to a running stack: how long until the first picture with one, and what others notice of it.

Two callers draw all the time. In turns, a third adds a LoRA and draws with it, or draws the same without: the others'
times in both kinds of turns are compared.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import load, save

from loadtests.load.stack import running
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown
from serve.errors import EngineUnavailable

LORA = ROOT / "build_engines" / "mini" / "weights" / "loras" / "blueprint.safetensors"
OTHERS, PAUSE_S = 2, 0.5
DRAW = "/api/diffusion/generate"


def lora(number: int) -> bytes:
    """The starter's LoRA, each a little weaker: another file, which nobody has read yet."""
    tensors = load(LORA.read_bytes())
    return bytes(save({name: value * (1 - 0.01 * number) for name, value in tensors.items()}))


async def draw(client: httpx.AsyncClient, seed: int, **more: Any) -> float:
    began = time.perf_counter()
    answer = await client.post(DRAW, json={"prompt": "umbrella, flat", "model": "mini", "seed": seed, **more})
    answer.raise_for_status()
    return time.perf_counter() - began


async def measure(url: str, add: list[str], turns: int, folder: Path) -> str:
    """``add``: the command line, without file and name."""
    seeds, waits = count(), dict[bool, list[float]]({True: [], False: []})
    added: list[float] = []
    phase: list[bool | None] = [None]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:

        async def another() -> None:
            while True:
                turn = phase[0]
                seconds = await draw(client, next(seeds))
                if turn is not None and turn == phase[0]:
                    waits[turn].append(seconds)

        await draw(client, next(seeds))
        others = [asyncio.create_task(another()) for _ in range(OTHERS)]
        await asyncio.sleep(5)
        file = folder / "first.safetensors"
        file.write_bytes(lora(0))
        began = time.perf_counter()
        await asyncio.to_thread(subprocess.run, [*add, str(file)], check=True, cwd=ROOT, capture_output=True)
        command = time.perf_counter() - began
        await draw(client, next(seeds), loras="first")
        first = time.perf_counter() - began
        for turn in range(2 * turns):
            adds = bool(turn % 2)
            phase[0] = adds
            for number in range(3):
                began, name = time.perf_counter(), f"lora{turn}x{number}"
                if adds:
                    data = await asyncio.to_thread(lora, 1 + 3 * turn + number)
                    began = time.perf_counter()
                    (await client.post("/v1/loras", files={"file": (f"{name}.safetensors", data)})).raise_for_status()
                await draw(client, next(seeds), **({"loras": name} if adds else {"loras": "first"}))
                if adds:
                    added.append(time.perf_counter() - began)
                await asyncio.sleep(PAUSE_S)
            phase[0] = None
            if adds:
                for number in range(3):
                    await client.delete(f"/v1/loras/lora{turn}x{number}")
        for other in others:
            other.cancel()
        done = await asyncio.gather(*others, return_exceptions=True)
        failed = [one for one in done if isinstance(one, Exception)]
        if failed:
            raise failed[0]
    return _table(command, first, added, waits)


def _table(command: float, first: float, added: list[float], waits: dict[bool, list[float]]) -> str:
    quantiles = {adds: np.quantile(values, (0.5, 0.95)) for adds, values in waits.items()}
    before, while_ = quantiles[False], quantiles[True]
    rows = [
        ["`atelier loras add` to the first picture of the family with any LoRA", f"{first:.1f} s", "10 s"],
        ["of these, the command", f"{command:.1f} s", ""],
        [f"`POST /v1/loras` to its first picture, median of {len(added)}", f"{np.median(added):.2f} s", "10 s"],
        ["the longest of these", f"{max(added):.2f} s", "10 s"],
        [f"others: p50 while LoRAs are added, against not, of {len(waits[True])} and {len(waits[False])} pictures",
         f"{1000 * while_[0]:.0f} ms, {1000 * before[0]:.0f} ms: {while_[0] / before[0]:.2f}", ""],
        ["others: p95", f"{1000 * while_[1]:.0f} ms, {1000 * before[1]:.0f} ms: {while_[1] / before[1]:.2f}", "1.05"],
    ]  # fmt: skip
    return markdown([f"LoRAs added while {OTHERS} draw (load average {os.getloadavg()[0]:.0f})", "", "goal"], rows)


def adding_loras(turns: int) -> str:
    with running({"loras": {"max_count": 256}}) as stack:
        folder = stack.targets
        while not (folder / "settings.yaml").is_file():
            if folder == folder.parent:
                raise EngineUnavailable("the stack's settings are not found")
            folder = folder.parent
        config = folder / "settings.yaml"
        add = [sys.executable, "-m", "serve.cli.main", "loras", "add", "--config", str(config)]
        return asyncio.run(measure(stack.url, add, turns, folder))
