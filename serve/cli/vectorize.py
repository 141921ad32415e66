"""`atelier vectorize`: pictures or folders of them, through a running stack or in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serve.cli.database import err, fail
from serve.cluster.http_client import StackClient
from serve.cluster.stack import StackRecord
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, EngineUnavailable
from serve.settings import Settings, load

T = TypeVar("T")


class EventLoopThread:
    """Runs coroutines for a thread without an event loop. Close it: its thread keeps the process alive."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._loop = asyncio.new_event_loop()
        self._thread.submit(self._loop.run_forever)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """Iterate over ``items``; closing the iterator closes it."""
        ready: queue.SimpleQueue[T | None] = queue.SimpleQueue()

        async def pump() -> None:
            async with contextlib.aclosing(items):
                async for item in items:
                    ready.put(item)

        pumping = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        pumping.add_done_callback(lambda _: ready.put(None))
        try:
            while (item := ready.get()) is not None:
                yield item
            pumping.result()  # raises its error
        finally:
            pumping.cancel()

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor())  # otherwise its threads end on their own
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.shutdown()
        self._loop.close()


PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

_WIDE = 1000
"""Table width for files and pipes: no line is wrapped."""


class Converter(Protocol):
    def vectorize(self, image: bytes, options: dict[str, Any]) -> dict[str, Any]: ...


class InProcess:
    """The Vectorizer without Ray; same results as over HTTP."""

    def __init__(self, settings: Settings) -> None:
        with contextlib.ExitStack() as undo:
            self._loop = undo.enter_context(contextlib.closing(EventLoopThread("vectorizer")))
            self._vectorizer = undo.enter_context(own_vectorizer(self._loop, settings))
            self._undo = undo.pop_all()

    def vectorize(self, image: bytes, options: dict[str, Any]) -> dict[str, Any]:
        from serve.api.native.conversion import to_answer  # FastAPI takes a second to load
        from serve.api.native.conversion_models import vectorize_options

        return to_answer(self._loop.run(self._vectorizer.vectorize(image, vectorize_options(options))))

    def close(self) -> None:
        self._undo.close()


@contextlib.contextmanager
def own_vectorizer(loop: EventLoopThread, settings: Settings) -> Iterator[VectorizerService]:
    """A Vectorizer in this process, on ``loop``. Raises EngineUnavailable if it does not start."""
    from serve.cli.machine.preparation import check_vectorizer, compile_tracer  # heavy: only when no stack runs
    from serve.ensembles.vectorizer.vectorizer import Vectorizer

    check_vectorizer(settings)
    compile_tracer(settings, err)
    try:
        vectorizer = Vectorizer(settings.vectorizer)
    except (OSError, ValueError, LookupError, TypeError) as error:  # what reading a broken manifest raises
        where = settings.vectorizer.model_repository
        raise EngineUnavailable(f"the models in {where} cannot be read: {error!r}") from error
    try:
        loop.run(vectorizer.start())
        yield vectorizer
    finally:
        loop.run(vectorizer.close())


@contextlib.contextmanager
def converter(url: str | None, settings: Settings) -> Iterator[Converter]:
    """The stack at ``url``; otherwise the local one if it answers; otherwise this process."""
    client = StackClient(url or StackRecord.of(settings).url, key=settings.access.key)
    if url or client.reachable():
        yield client
        return
    with err.status("No stack is running: starting the engines in this process"):
        own = InProcess(settings)
    try:
        yield own
    finally:
        own.close()


def vectorize(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", exists=True)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The SVG (- for standard output), or a folder for several.")
    ] = None,
    tier: Annotated[str, typer.Option(help="auto, basic, 1, 2 or 3.")] = "auto",
    target_quality: Annotated[float, typer.Option(help="SSIM that auto should reach, 0 to 1.")] = 0.9,
    time_budget: Annotated[float | None, typer.Option(help="Seconds a conversion may take.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Largest SVG.")] = None,
    max_paths: Annotated[int | None, typer.Option(help="Most paths.")] = None,
    validate: Annotated[bool, typer.Option(help="Render the result and report its true quality.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON, one line per picture.")] = False,
    url: Annotated[str | None, typer.Option(help="A running stack; else a local one, else this process.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Pictures at a time.")] = 2,
) -> None:
    """Turn pictures into SVG. Exit code 0 when all went well, 1 when one failed, 2 when the question was wrong."""
    options: dict[str, Any] = {"tier": tier, "target_quality": target_quality, "validate": str(validate).lower()}
    limits = {"time_budget": time_budget, "max_bytes": max_bytes, "max_paths": max_paths}
    options |= {name: value for name, value in limits.items() if value is not None}
    try:
        from serve.api.native.conversion_models import vectorize_options  # FastAPI takes a second to load

        vectorize_options(options)
        pairs = plan(pictures, output)
        with converter(url, load()) as backend:
            results = _convert_all(backend, pairs, options, jobs)
    except AtelierError as error:
        fail(error, 2)
    if as_json:
        for source, result in results.items():
            details = {key: value for key, value in result.items() if key != "svg_content"}
            print(json.dumps({"image": str(source), **details}))
    else:
        _summary(results)
    raise typer.Exit(0 if all(result["success"] for result in results.values()) else 1)


def plan(pictures: list[Path], output: str | None) -> list[tuple[Path, Path | None]]:
    """(source, target) pairs; ``None``: standard output."""
    sources = list(dict.fromkeys(source for picture in pictures for source in _sources(picture)))
    if not sources:
        raise AtelierError(f"there are no pictures ({', '.join(sorted(PICTURES))}) in {pictures[0]}")
    if len(pictures) == 1 and pictures[0].is_file() and output:
        if output == "-":
            return [(sources[0], None)]
        target = Path(output)
        return [(sources[0], target / f"{sources[0].stem}.svg" if target.is_dir() else target)]
    if output and not _may_be_folder(Path(output)):
        raise AtelierError(f"--output {output} is no folder, which a folder or several pictures need")
    return list(_in_folder(sources, Path(output) if output else None).items())


def _may_be_folder(output: Path) -> bool:
    return output.is_dir() or not (output.exists() or str(output) == "-" or output.suffix.lower() == ".svg")


def _in_folder(sources: list[Path], folder: Path | None) -> dict[Path, Path | None]:
    """Target by source, in ``folder`` or beside it; the source's suffix is kept where names would collide."""

    def beside(source: Path, name: str) -> Path:
        return (folder or source.parent) / f"{name}.svg"

    shared = Counter(beside(source, source.stem) for source in sources)
    found: dict[Path, Path] = {}  # by target
    for source in sources:
        plain = beside(source, source.stem)
        target = plain if shared[plain] == 1 else beside(source, source.name)
        if target in found:
            raise AtelierError(f"{found[target]} and {source} would both become {target}; convert them apart")
        found[target] = source
    return {source: target for target, source in found.items()}


def _sources(picture: Path) -> list[Path]:
    if picture.is_file():
        return [picture]
    try:
        return sorted(path for path in picture.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise AtelierError(f"the folder {picture} cannot be read: {error.strerror}") from None


def _convert_all(
    backend: Converter, pairs: list[tuple[Path, Path | None]], options: dict[str, Any], jobs: int
) -> dict[Path, dict[str, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=len(pairs) == 1) as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task("Converting", total=len(pairs))

        def convert(pair: tuple[Path, Path | None]) -> dict[str, Any]:
            result = _convert(backend, *pair, options)
            bar.advance(task)
            return result

        return {source: result for (source, _), result in zip(pairs, pool.map(convert, pairs), strict=True)}


def _convert(backend: Converter, source: Path, target: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    try:
        result = backend.vectorize(source.read_bytes(), options)
        if target is None:
            sys.stdout.write(result["svg_content"])
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(result["svg_content"], encoding="utf-8")
    except (AtelierError, OSError) as error:  # fails this picture only
        return {"success": False, "error": str(error)}
    return {**result, "svg": str(target) if target else "-"}


def _summary(results: dict[Path, dict[str, Any]]) -> None:
    table = Table()
    for name in ("picture", "SVG"):
        table.add_column(name, overflow="fold")
    for name in ("kind", "tier", "SSIM", "bytes", "paths", "ms"):
        table.add_column(name, no_wrap=True)
    for source, result in results.items():
        if not result["success"]:
            table.add_row(escape(source.name), f"[red]{escape(result['error'])}[/]")
            continue
        metadata = result["ai_metadata"]
        actual, predicted = metadata["actual_quality"], metadata["predicted_quality"]
        quality = f"{actual:.4f}" if actual is not None else f"~{predicted:.3f}" if predicted is not None else ""
        cells = [
            metadata["logo_type"],
            f"{metadata['selected_tier']} {metadata['tracer']}",
            quality,
            metadata["bytes"],
            metadata["paths"],
        ]
        table.add_row(
            escape(source.name), escape(result["svg"]), *map(str, cells), f"{result['processing_time'] * 1000:.0f}"
        )
    (err if err.is_terminal else Console(stderr=True, highlight=False, width=_WIDE)).print(table)
    failed = sum(not result["success"] for result in results.values())
    err.print(f"{len(results) - failed} converted" + (f", [red]{failed} failed[/]" if failed else ""))
