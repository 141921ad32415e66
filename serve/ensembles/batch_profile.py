"""How an engine's time grows with its batch on this machine, and the batch cap that follows from it.

Batching pays until the device is full. From there on a larger batch only makes whoever is in it wait longer: the cap
is the smallest batch that is nearly as good as the best.
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
"""Share of the best throughput that the cap's has to reach."""
FEWEST = 2
"""With classifier-free guidance one picture's step is a batch of two."""
FILE = "profile.json"
_LEAST_RUNS, _MOST_RUNS = 3, 50
_MAX_BATCH = re.compile(r"^max_batch_size:\s*(\d+)\s*$", re.MULTILINE)
_PREFERRED = re.compile(r"preferred_batch_size:\s*\[[^\]]*\]")
_PLAN = re.compile(r'^(backend|platform):\s*"tensorrt', re.MULTILINE)
_BATCHING = re.compile(r"^dynamic_batching\s*\{[^}]*\}\n?", re.MULTILINE)

Report = Callable[[int, float], None]
"""Takes a batch size and its milliseconds."""


@dataclass(frozen=True)
class Profile:
    """``milliseconds`` by batch size: the median of one inference. ``shapes`` of the inputs, without the batch."""

    engine: str
    device: str
    shapes: Mapping[str, Sequence[int]]
    milliseconds: Mapping[int, float]
    max_batch_size: int
    measured: str

    @property
    def gain(self) -> float:
        """Throughput at the cap over throughput one by one."""
        one = min(self.milliseconds)
        each = self.milliseconds[self.max_batch_size] / self.max_batch_size
        return self.milliseconds[one] / one / each


def cap(milliseconds: Mapping[int, float], fewest: int = FEWEST) -> int:
    """The smallest batch size from ``fewest`` on whose throughput is at least NEARLY the best one's."""
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
    """Measures ``engine`` alone, in a Triton of its own that batches nothing, ``seconds`` for each batch size.

    The free axes of its inputs have the lengths of its ``model_warmup``. Raises NotFound for an engine that is not
    there, InvalidRequest for one that takes no batches, and what starting it raises.
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


def store(repository: Path, found: Profile) -> None:
    """Writes ``profile.json`` beside the engine's ``config.pbtxt``, and the cap into that."""
    folder = repository / found.engine
    text = (folder / "config.pbtxt").read_text()
    text = _MAX_BATCH.sub(f"max_batch_size: {found.max_batch_size}", text)
    preferred = [size for size in found.milliseconds if 1 < size <= found.max_batch_size]
    text = _PREFERRED.sub(f"preferred_batch_size: [ {', '.join(map(str, preferred))} ]", text)
    (folder / "config.pbtxt").write_text(text)
    (folder / FILE).write_text(json.dumps(asdict(found), indent=2) + "\n")


def _config(repository: Path, engine: str) -> str:
    if not (repository / engine / "config.pbtxt").is_file():
        raise NotFound(f"there is no engine {engine!a} in {repository.name}/", "engine")
    text = (repository / engine / "config.pbtxt").read_text()
    known = _MAX_BATCH.search(text)
    if known is None or int(known[1]) == 0:
        raise InvalidRequest("takes no batches: its max_batch_size is 0", "engine")
    return text


def _possible(text: str, sizes: Sequence[int]) -> list[int]:
    """Those of ``sizes`` that the engine can take: a plan of TensorRT was built for its batches, and for no larger."""
    known = _MAX_BATCH.search(text)
    built_for = int(known[1]) if known is not None and _PLAN.search(text) else max(sizes)
    return [size for size in sizes if size <= built_for] or [built_for]


def _alone(repository: Path, engine: str, text: str, folder: Path, largest: int) -> Path:
    """A repository with ``engine`` alone, which takes batches up to ``largest`` and makes none."""
    shutil.copytree(repository / engine, folder / engine, copy_function=_link)
    text = _BATCHING.sub("", _MAX_BATCH.sub(f"max_batch_size: {largest}", text))
    (folder / engine / "config.pbtxt").unlink()
    (folder / engine / "config.pbtxt").write_text(text)
    return folder


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


async def _median_ms(client: EngineClient, engine: str, inputs: Mapping[str, NDArray[Any]], seconds: float) -> float:
    """Of as many inferences as fit in ``seconds``, after one that does not count."""
    await client.infer(engine, inputs)
    taken: list[float] = []
    while len(taken) < _LEAST_RUNS or (sum(taken) < seconds and len(taken) < _MOST_RUNS):
        began = time.perf_counter()
        await client.infer(engine, inputs)
        taken.append(time.perf_counter() - began)
    return round(float(np.median(taken)) * 1e3, 3)
