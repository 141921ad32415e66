"""`atelier vectorize`: pictures or folders of them, through a running stack or in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sys
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serve.cli.database import err, fail
from serve.cli.pictures.files import SVG, plan
from serve.cluster.http_client import StackClient
from serve.cluster.stack import StackRecord
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, EngineUnavailable, InvalidRequest
from serve.settings import Settings, load

if TYPE_CHECKING:
    from serve.api.native.outputs import OutputQuery

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
        str | None, typer.Option("--output", "-o", help="The file (- for standard output), or a folder for several.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--format", "-f", help="svg, svgz, pdf, eps, dxf or png; by default as --output ends, or svg."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Of pdf, eps, dxf and png: the size over that of the SVG.")
    ] = None,
    tier: Annotated[str, typer.Option(help="auto, basic, 1, 2 or 3.")] = "auto",
    target_quality: Annotated[float, typer.Option(help="SSIM that auto should reach, 0 to 1.")] = 0.9,
    time_budget: Annotated[float | None, typer.Option(help="Seconds a conversion may take.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Largest SVG.")] = None,
    max_paths: Annotated[int | None, typer.Option(help="Most paths.")] = None,
    validate: Annotated[bool, typer.Option(help="Render the result and report its true quality.")] = False,
    max_colors: Annotated[int | None, typer.Option(help="Most flat colours, 2 to 48.")] = None,
    min_area_px: Annotated[float | None, typer.Option(help="Smallest area kept, in square pixels.")] = None,
    precision: Annotated[int | None, typer.Option(help="Decimal places of coordinates, 0 to 3.")] = None,
    shapes: Annotated[bool, typer.Option(help="Circles, ellipses, rectangles and strokes as such, or paths.")] = True,
    reuse: Annotated[bool, typer.Option(help="The same shape again as `use` of the first, where shorter.")] = True,
    palette: Annotated[str | None, typer.Option(help="Colours like #1b4332 with commas between them.")] = None,
    background: Annotated[str, typer.Option(help="keep or remove an area that fills the canvas.")] = "keep",
    classes: Annotated[bool, typer.Option(help="A class for each colour, for style sheets.")] = False,
    title: Annotated[str | None, typer.Option(help="The SVG's title.")] = None,
    id_prefix: Annotated[str | None, typer.Option(help="What the SVG's ids begin with, instead of a hash.")] = None,
    curves: Annotated[str, typer.Option(help="lines, arcs, quadratic or cubic.")] = "cubic",
    stacking: Annotated[str, typer.Option(help="stacked, or cut_out: nothing lies below an opaque shape.")] = "stacked",
    group_by: Annotated[str, typer.Option(help="none, color, parent or layer.")] = "none",
    draw: Annotated[str, typer.Option(help="fills, or strokes: outlines of the areas.")] = "fills",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON, one line per picture.")] = False,
    url: Annotated[str | None, typer.Option(help="A running stack; else a local one, else this process.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Pictures at a time.")] = 2,
) -> None:
    """Turn pictures into SVG, PDF, EPS or DXF.

    Exit code 0 when all went well, 1 when one failed, 2 when the question was wrong.
    """
    options: dict[str, Any] = {"tier": tier, "target_quality": target_quality, "validate": str(validate).lower()}
    limits = {
        "time_budget": time_budget, "max_bytes": max_bytes, "max_paths": max_paths, "max_colors": max_colors,
        "min_area_px": min_area_px, "precision": precision, "palette": palette, "title": title, "id_prefix": id_prefix,
        "shapes": None if shapes else "false", "reuse": None if reuse else "false",
        "classes": "true" if classes else None,
        "background": background if background != "keep" else None,
        "curves": curves if curves != "cubic" else None, "stacking": stacking if stacking != "stacked" else None,
        "group_by": group_by if group_by != "none" else None, "draw": draw if draw != "fills" else None,
    }  # fmt: skip
    options |= {name: value for name, value in limits.items() if value is not None}
    try:
        from serve.api.native.conversion_models import vectorize_options  # FastAPI takes a second to load

        vectorize_options(options)
        target = _target(kind, output, scale)
        pairs = plan(pictures, output, target.format)
        with converter(url, load()) as backend:
            results = _convert_all(backend, pairs, options, target, jobs)
    except AtelierError as error:
        fail(error, 2)
    if as_json:
        for source, result in results.items():
            details = {key: value for key, value in result.items() if key != "svg_content"}
            print(json.dumps({"image": str(source), **details}))
    else:
        _summary(results)
    raise typer.Exit(0 if all(result["success"] for result in results.values()) else 1)


def _target(kind: str | None, output: str | None, scale: float | None) -> OutputQuery:
    """The format: as named, else that of the output's suffix, else SVG. Raises InvalidRequest."""
    from serve.api.http.models import validate
    from serve.api.native.outputs import OUTPUTS, OutputQuery, check_scaled

    suffix = Path(output or "").suffix.lower().removeprefix(".")
    target = validate(OutputQuery, {"format": kind or (suffix if suffix in OUTPUTS else SVG), "scale": scale})
    if target.format == "json":
        raise InvalidRequest("is an option of its own, --json", "format")
    if scale is not None:
        check_scaled(str(target.format))
    return target


def _convert_all(
    backend: Converter, pairs: list[tuple[Path, Path | None]], options: dict[str, Any], output: OutputQuery, jobs: int
) -> dict[Path, dict[str, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=len(pairs) == 1) as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task("Converting", total=len(pairs))

        def convert(pair: tuple[Path, Path | None]) -> dict[str, Any]:
            result = _convert(backend, *pair, options, output)
            bar.advance(task)
            return result

        return {source: result for (source, _), result in zip(pairs, pool.map(convert, pairs), strict=True)}


def _convert(
    backend: Converter, source: Path, target: Path | None, options: dict[str, Any], output: OutputQuery
) -> dict[str, Any]:
    from serve.api.native.outputs import exported

    try:
        result = backend.vectorize(source.read_bytes(), options)
        data = result["svg_content"].encode()
        if output.format != SVG:
            data = asyncio.run(exported(data, str(output.format), output.scale or 1.0))
        if target is None:
            sys.stdout.buffer.write(data)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
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
