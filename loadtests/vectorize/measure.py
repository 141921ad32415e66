"""Runs methods over pictures and keeps every measurement, so that an interrupted run goes on where it stopped.

One JSON line per (method, picture) in a file per method. The file's name carries a hash of the sources that the
method's result depends on: change a tracer and only its own lines are measured again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from build_engines.data import Icon
from loadtests.vectorize.dataset import Picture, icon_key, prepare, size_px
from loadtests.vectorize.methods import Method, Traced
from serve.errors import AtelierError
from serve.vector.svg import statistics

ROOT = Path(__file__).resolve().parents[2]
JUDGES = ("serve/vector/compare.py", "serve/vector/svg.py", "loadtests/vectorize/dataset.py", "build_engines/data")
"""What every measurement depends on, whatever the method."""


@dataclass(frozen=True)
class Measurement:
    """``ssim`` and ``mse`` (of values in [0, 1]) at 1x and ``ssim4`` at 4x, against the clean target, on white."""

    method: str
    picture: str
    icon: str
    set: str
    condition: str
    width: int
    height: int
    size: int
    ssim: float
    ssim4: float
    mse: float
    bytes: int
    gzip_bytes: int
    paths: int
    nodes: int
    ms: float
    failure: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def judge(method: str, picture: Picture, traced: Traced, at_4x: bool = True) -> Measurement:
    """The measures of one result. The rendering and comparison at 4x are most of the cost: ``ssim4`` is NaN without."""
    at1 = picture.goal.fidelity(traced.svg)
    numbers = statistics(traced.svg)
    return Measurement(
        **_labels(method, picture),
        ssim=at1.ssim,
        ssim4=picture.source.fidelity(traced.svg).ssim if at_4x else math.nan,
        mse=at1.mse,
        bytes=numbers.bytes,
        gzip_bytes=numbers.gzip_bytes,
        paths=numbers.paths,
        nodes=numbers.nodes,
        ms=traced.ms,
        notes=traced.notes,
    )


def _labels(method: str, picture: Picture) -> dict[str, Any]:
    return {
        "method": method,
        "picture": picture.key,
        "icon": icon_key(picture.icon),
        "set": picture.icon.set,
        "condition": picture.condition,
        "width": picture.width,
        "height": picture.height,
        "size": size_px(picture.icon, picture.condition),
    }


def _failed(method: str, picture: Picture, reason: str) -> Measurement:
    """A conversion that failed counts as a blank page's worst case: no similarity, no bytes."""
    zero: dict[str, Any] = dict.fromkeys(("ssim", "ssim4", "bytes", "gzip_bytes", "paths", "nodes", "ms"), 0)
    return Measurement(**_labels(method, picture), **zero, mse=1.0, failure=reason)


def measure(method: Method, picture: Picture, at_4x: bool = True) -> Measurement:
    """One conversion, judged; a conversion that the method refuses is a measurement too."""
    try:
        return judge(method.name, picture, method.trace(picture), at_4x)
    except (AtelierError, ValueError, ArithmeticError, LookupError, subprocess.SubprocessError) as error:
        return _failed(method.name, picture, f"{type(error).__name__}: {error}"[:300])


def fingerprint(sources: Iterable[str], root: Path = ROOT) -> str:
    """12 hex digits that change with what the files say; a folder stands for its Python, ONNX and config files.

    Of Python only the syntax tree counts: comments and formatting change no result.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = root / source
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in _COUNTED)
        for file in files:
            digest.update(str(file.relative_to(root)).encode())
            digest.update(_meaning(file))
    return digest.hexdigest()[:12]


_COUNTED = {".py", ".onnx", ".pbtxt"}


def _meaning(file: Path) -> bytes:
    return ast.dump(ast.parse(file.read_text())).encode() if file.suffix == ".py" else file.read_bytes()


class Store:
    """The measurements of one method on disk."""

    def __init__(self, folder: Path, method: Method, at_4x: bool = True) -> None:
        kind = "" if at_4x else "-1x"
        self.path = folder / f"{method.name}{kind}-{fingerprint((*JUDGES, *method.sources))}.jsonl"
        self._known: dict[str, Measurement] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                if (row := _parse(line)) is not None:
                    self._known[row.picture] = row

    def get(self, picture_key: str) -> Measurement | None:
        return self._known.get(picture_key)

    def add(self, row: Measurement) -> None:
        self._known[row.picture] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def _parse(line: str) -> Measurement | None:
    """None for a line that an interrupted run left half written."""
    try:
        return Measurement(**json.loads(line))
    except (json.JSONDecodeError, TypeError):
        return None


@dataclass(frozen=True)
class Job:
    """What is missing of one icon: by condition, the names of the methods."""

    icon: Icon
    missing: dict[str, tuple[str, ...]]
    at_4x: bool = True


def _measure_icon(job: Job, methods: Sequence[Method]) -> list[Measurement]:
    """Renderings of the icon are shared between methods."""
    rows = []
    for condition, names in job.missing.items():
        picture = prepare(job.icon, condition)
        rows += [measure(m, picture, job.at_4x) for m in methods if m.name in names]
    return rows


_opened: list[Method] = []
"""The methods of a worker process."""


def _open_all(make: Callable[[], list[Method]]) -> None:
    _opened.extend(make())
    for method in _opened:
        method.open()


def _measure_in_worker(job: Job) -> list[Measurement]:
    return _measure_icon(job, _opened)


def run(make: Callable[[], list[Method]], work: Sequence[Job], jobs: int) -> Iterator[list[Measurement]]:
    """The measurements of each job as they come. ``make`` builds the methods (picklable when ``jobs`` > 1)."""
    if jobs > 1:
        with ProcessPoolExecutor(jobs, initializer=partial(_open_all, make)) as pool:
            yield from pool.map(_measure_in_worker, work)
        return
    methods = make()
    try:
        for method in methods:
            method.open()
        for job in work:
            yield _measure_icon(job, methods)
    finally:
        for method in methods:
            method.close()
