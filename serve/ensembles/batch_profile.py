"""Measures an engine's time by batch size on this machine, and derives its batch cap.

Batching pays until the device is saturated; beyond that, larger batches only add latency. The cap is the smallest batch
size whose throughput is close to the best.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.diffusion.tokens import MAX_CHUNKS
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.engines.warmup_inputs import warmup_inputs
from serve.errors import InvalidRequest, NotFound

SIZES = (1, 2, 4, 8, 16, 32)
NEARLY = 0.95
"""Share of the best throughput that the cap must reach."""
FEWEST = 2
"""With classifier-free guidance one step of one picture is a batch of two."""
FILE = "profile.json"
_LEAST_RUNS, _MOST_RUNS = 3, 50
_MAX_BATCH = re.compile(r"^max_batch_size:\s*(\d+)\s*$", re.MULTILINE)
_PREFERRED = re.compile(r"preferred_batch_size:\s*\[[^\]]*\]")
_PLAN = re.compile(r'^(backend|platform):\s*"tensorrt', re.MULTILINE)
_BATCHING = re.compile(r"^dynamic_batching\s*\{[^}]*\}\n?", re.MULTILINE)

Report = Callable[[int, float], None]
"""Called with a batch size and its milliseconds."""


@dataclass(frozen=True)
class Profile:
    """``milliseconds``: median time of one inference by batch size. ``shapes``: input shapes without the batch axis."""

    engine: str
    device: str
    shapes: Mapping[str, Sequence[int]]
    milliseconds: Mapping[int, float]
    max_batch_size: int
    measured: str

    @property
    def gain(self) -> float:
        """Throughput at the cap relative to the smallest batch size."""
        one = min(self.milliseconds)
        each = self.milliseconds[self.max_batch_size] / self.max_batch_size
        return self.milliseconds[one] / one / each


def cap(milliseconds: Mapping[int, float], fewest: int = FEWEST) -> int:
    """The smallest batch size, at least ``fewest``, whose throughput is at least NEARLY of the best."""
    rates = {size: size / ms for size, ms in sorted(milliseconds.items()) if size >= fewest}
    if not rates:
        return fewest
    best = max(rates.values())
    return next(size for size, rate in rates.items() if rate >= NEARLY * best)


async def profile(
    repository: Path,
    engine: str,
    device: str,
    *,
    sizes: Sequence[int] = SIZES,
    seconds: float = 2.0,
    report: Report | None = None,
    tritonserver: Path | None = None,
) -> Profile:
    """Measure ``engine`` in a Triton of its own without dynamic batching, ``seconds`` per batch size.

    Dynamic input axes have the lengths of its ``model_warmup``. Raises NotFound for an unknown engine, InvalidRequest
    for one without batching, and errors of its start.
    """
    text = _config(repository, engine)
    # A text encoder gets all chunks of a prompt in one request.
    fewest = MAX_CHUNKS if "_text_encoder" in engine else FEWEST
    sizes = _possible(text, sorted({*sizes, fewest}))
    with tempfile.TemporaryDirectory(prefix="atelier-profile-") as folder:
        alone = _alone(repository, engine, text, Path(folder), max(sizes))
        server = TritonServer(alone, [engine], start_timeout_s=300, tritonserver=tritonserver)
        await asyncio.to_thread(server.start)
        client = EngineClient(server.url, timeout_s=600)
        try:
            config = await client.config(engine)
            milliseconds = {}
            for size in sizes:
                milliseconds[size] = await _median_ms(client, engine, warmup_inputs(config, size), seconds)
                if report is not None:
                    report(size, milliseconds[size])
        finally:
            await client.close()
            await asyncio.to_thread(server.stop)
    shapes = {name: array.shape[1:] for name, array in warmup_inputs(config).items()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(engine, device, shapes, milliseconds, cap(milliseconds, min(fewest, max(sizes))), now)


def store(repository: Path, result: Profile) -> None:
    """Write ``profile.json`` beside the engine's ``config.pbtxt``, and the cap into the config."""
    folder = repository / result.engine
    text = (folder / "config.pbtxt").read_text()
    text = _MAX_BATCH.sub(f"max_batch_size: {result.max_batch_size}", text)
    preferred = [size for size in result.milliseconds if 1 < size <= result.max_batch_size]
    text = _PREFERRED.sub(f"preferred_batch_size: [ {', '.join(map(str, preferred))} ]", text)
    (folder / "config.pbtxt").write_text(text)
    (folder / FILE).write_text(json.dumps(asdict(result), indent=2) + "\n")


def _config(repository: Path, engine: str) -> str:
    if not (repository / engine / "config.pbtxt").is_file():
        raise NotFound(f"there is no engine {engine!a} in {repository.name}/", "engine")
    text = (repository / engine / "config.pbtxt").read_text()
    known = _MAX_BATCH.search(text)
    if known is None or int(known[1]) == 0:
        raise InvalidRequest("takes no batches: its max_batch_size is 0", "engine")
    return text


def _possible(text: str, sizes: Sequence[int]) -> list[int]:
    """The ``sizes`` that the engine supports: a TensorRT plan was built for a maximum batch size."""
    known = _MAX_BATCH.search(text)
    built_for = int(known[1]) if known is not None and _PLAN.search(text) else max(sizes)
    return [size for size in sizes if size <= built_for] or [built_for]


def _alone(repository: Path, engine: str, text: str, folder: Path, largest: int) -> Path:
    """A repository with only ``engine``, batches up to ``largest`` and no dynamic batching."""
    shutil.copytree(repository / engine, folder / engine, copy_function=_link)
    text = _BATCHING.sub("", _MAX_BATCH.sub(f"max_batch_size: {largest}", text))
    (folder / engine / "config.pbtxt").unlink()
    (folder / engine / "config.pbtxt").write_text(text)
    return folder


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


async def _median_ms(client: EngineClient, engine: str, inputs: Mapping[str, NDArray[Any]], seconds: float) -> float:
    """Median over the inferences that fit in ``seconds``, after one warm-up."""
    await client.infer(engine, inputs)
    taken: list[float] = []
    while len(taken) < _LEAST_RUNS or (sum(taken) < seconds and len(taken) < _MOST_RUNS):
        began = time.perf_counter()
        await client.infer(engine, inputs)
        taken.append(time.perf_counter() - began)
    return round(float(np.median(taken)) * 1e3, 3)
