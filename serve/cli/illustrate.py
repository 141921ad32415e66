"""`atelier illustrate`: pictures from a prompt, through a running stack or in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from serve.api.http.composition import GuidedFields
from serve.api.http.guides import SentPictures
from serve.api.http.input_pictures import PictureUseFields, input_picture, limits_of, mask_picture
from serve.api.http.models import validate
from serve.cli.database import err, fail
from serve.cli.vectorize import EventLoopThread, own_vectorizer
from serve.cluster.grpc_client import GrpcClient
from serve.cluster.stack import StackRecord
from serve.ensembles.illustrator.encoding import AUTO, DEFAULT_QUALITY, Encoding, encode_all
from serve.ensembles.illustrator.finishing.finish import Finish
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.picture_source import SIDES, PictureSource
from serve.ensembles.illustrator.service import StreamItem
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions, VectorizerService
from serve.errors import AtelierError, EngineUnavailable, InvalidRequest, NotFound, rename_fields
from serve.security.fetching.fetcher import is_data_url
from serve.security.moderation.policy import moderated, required_engines
from serve.settings import Settings, load

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".svg": "svg"}
_MARKS = 10
"""Interval of progress updates; each decodes a small preview."""
_UNKNOWN_STEPS = 30

OPTIONS = {"num_inference_steps": "--steps", "guidance_scale": "--guidance", "negative_prompt": "--negative"}
OPTIONS |= {name: f"--{name}" for name in ("seed", "n", "width", "height", "sampler", "model", "background")}
OPTIONS |= {"timeout_s": "--timeout", "url": "--url"}
OPTIONS |= {name: f"--{name.replace('_', '-')}" for name in ("image", "mask", "strength", "mask_crop", "mask_blur")}
OPTIONS |= {name: "--outpaint" for name in ("outpaint", *(f"outpaint.{side}" for side in SIDES))}


class Studio(Protocol):
    """Draws pictures and encodes them."""

    def draw(self, options: IllustrateOptions) -> Iterator[StreamItem]: ...
    def encode(self, drawn: Illustration, encoding: Encoding) -> list[bytes]: ...


class RunningStack:
    """A running stack, through gRPC."""

    def __init__(self, client: GrpcClient) -> None:
        self._client = client
        self.draw = client.draw

    def encode(self, drawn: Illustration, encoding: Encoding) -> list[bytes]:
        return asyncio.run(encode_all(drawn, encoding, cast(VectorizerService, self)))

    async def vectorize(self, data: bytes, _: VectorizeOptions) -> Vectorization:
        """The method that encoding needs of a VectorizerService."""
        return await asyncio.to_thread(self._client.vectorize, data)


class InProcess:
    """The Illustrator without Ray; for SVG also the Vectorizer."""

    def __init__(self, settings: Settings, svg: bool) -> None:
        from serve.cli.machine.preparation import check_illustrator  # heavy: only when no stack runs
        from serve.ensembles.illustrator.illustrator import Illustrator

        check_illustrator(settings)
        with contextlib.ExitStack() as undo:
            self._loop = undo.enter_context(contextlib.closing(EventLoopThread("illustrator")))
            self._vectorizer = undo.enter_context(own_vectorizer(self._loop, settings)) if svg else None
            try:
                own = Illustrator(settings.illustrator, others=required_engines(settings.moderation))
            except (OSError, ValueError, LookupError, TypeError) as error:  # what reading a broken manifest raises
                where = settings.illustrator.model_repository
                raise EngineUnavailable(f"the models in {where} cannot be read: {error!r}") from error
            self._illustrator = moderated(own, settings.moderation)
            self._loop.run(self._illustrator.start())
            undo.callback(lambda: self._loop.run(self._illustrator.close()))
            self._undo = undo.pop_all()

    def draw(self, options: IllustrateOptions) -> Iterator[StreamItem]:
        if options.all_loras:
            raise InvalidRequest("are those of a running stack, and none answers", "--lora")
        return self._loop.iterate(self._illustrator.stream(options))

    def encode(self, drawn: Illustration, encoding: Encoding) -> list[bytes]:
        return self._loop.run(encode_all(drawn, encoding, cast(VectorizerService, self._vectorizer)))

    def close(self) -> None:
        self._undo.close()


@contextlib.contextmanager
def studio(url: str | None, settings: Settings, svg: bool) -> Iterator[Studio]:
    """The stack at ``url``; otherwise the local one if it answers; otherwise this process."""
    with contextlib.closing(GrpcClient(url or StackRecord.of(settings).grpc, key=settings.access.key)) as client:
        if url or client.reachable():
            yield RunningStack(client)
            return
    with err.status("No stack is running: starting the engines in this process"):
        own = InProcess(settings, svg)
    with contextlib.closing(own):
        yield own


def illustrate(
    prompt: Annotated[str, typer.Argument(help="What to draw. (word:1.3) weighs more, \\[word] less.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="A .png, .jpg, .webp or .svg file (several: NAME-1.png, ...), a folder, or -."
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", "-n", help="How many pictures, 1 to 10; their seeds follow one another.")
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same picture; else one is chosen.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 1000; else the model's own.")] = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt, 0 to 50.")] = None,
    sampler: Annotated[str | None, typer.Option(help="euler, ddim, dpmpp_2m, ...; a wrong one lists all.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; else the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; else the model's own.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Which model draws; else the first that offers what is asked for.")
    ] = None,
    quality: Annotated[int, typer.Option(min=0, max=100, help="Of JPEG and WebP.")] = DEFAULT_QUALITY,
    metadata: Annotated[bool | None, typer.Option(help="Whether pictures tell how they were made.")] = None,
    background: Annotated[
        str,
        typer.Option(
            help="Of a model with a transparent ground: transparent, opaque (white), a colour as #rrggbb, or auto: "
            "transparent in SVG, white otherwise."
        ),
    ] = AUTO,
    timeout: Annotated[float | None, typer.Option(help="Seconds the drawing may take.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to draw from.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the same size: what is white is drawn anew, grey in part.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Share of the steps that are done, above 0 to 1; 0.75, with a mask 1.")
    ] = None,
    outpaint: Annotated[str | None, typer.Option(help="Pixels to add on each side, such as left=64,right=64.")] = None,
    mask_crop: Annotated[
        bool, typer.Option("--mask-crop", help="Draw the masked part alone, and paste it back.")
    ] = False,
    mask_blur: Annotated[int | None, typer.Option(help="Radius of the soft seam in pixels; 4.")] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file: a list of regions, or an object with regions, subjects, controls and references."
        ),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="A LoRA of the stack's site, such as ink:0.8; several times for several.")
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(help="A picture of what is drawn again; several times for several.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="A control picture, such as canny=edges.png, for a ControlNet of the model."),
    ] = None,
    upscale: Annotated[int, typer.Option(help="Enlarge the drawing 2 or 4 times.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON, one line per picture.")] = False,
    url: Annotated[
        str | None, typer.Option(help="host:port of a stack's gRPC door; else a local stack's, else this process.")
    ] = None,
) -> None:
    """Draw a prompt. Exit code 0 when all went well, 1 when drawing failed, 2 when the question was wrong.

    `atelier illustrate "red apple, flat" -o apple.svg --seed 7`
    """
    try:
        settings = load()
        with rename_fields(OPTIONS):
            source = read_source(
                settings,
                image,
                mask,
                strength=strength,
                outpaint=outpaint,
                mask_crop=mask_crop or None,
                mask_blur=mask_blur,
            )
            options = IllustrateOptions(
                prompt, negative, model, width, height, steps, guidance, 0.0, sampler, seed, n, timeout_s=timeout,
                source=source, finish=Finish(float(upscale)),
                **read_guides(settings, regions, lora, reference, control),
            )  # fmt: skip
            targets, form = plan(prompt, output, n)
            wanted = settings.pictures.embed_metadata if metadata is None else metadata
            encoding = Encoding(form, quality, wanted, mark=settings.provenance.mark, background=background)
            with studio(url, settings, form == "svg") as backend:
                drawn = draw(backend, options)
                files = backend.encode(drawn, encoding)
        write(targets, files)
    except (AtelierError, OSError) as error:
        fail(error, 2 if isinstance(error, InvalidRequest | NotFound) else 1)
    report(drawn, targets, files, as_json)


def read_source(settings: Settings, image: Path | None, mask: Path | None, **uses: Any) -> PictureSource | None:
    """The picture that is drawn from. Raises InvalidRequest naming the option, and OSError."""
    uses = {name: value for name, value in uses.items() if value is not None}
    if image is None:
        name = next(iter([*(["mask"] if mask is not None else []), *uses]), None)
        if name is not None:
            raise InvalidRequest("needs a picture: name one with --image", name)
        return None
    fields, limits = validate(PictureUseFields, uses), limits_of(settings)

    picture = asyncio.run(input_picture(image.read_bytes(), "image", limits))
    if mask is None:
        return fields.source(picture, None)
    return fields.source(picture, asyncio.run(mask_picture(mask.read_bytes(), "mask", limits, picture)))


def read_guides(
    settings: Settings,
    file: Path | None,
    loras: list[str] | None,
    references: list[Path] | None,
    controls: list[str] | None,
) -> dict[str, Any]:
    """Arguments of `IllustrateOptions`: those of a file, as in a request, whose pictures are data: URLs or files beside
    it, and those of options. Raises InvalidRequest naming the option or the field of the file, OSError."""
    document: Any = {}
    if file is not None:
        try:
            document = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            raise InvalidRequest("is not valid JSON", "--regions") from None
    document = {"regions": document} if isinstance(document, list) else document
    fields = validate(GuidedFields, document)
    own: dict[str, Any] = {"loras": loras, "references": [{"image": str(path)} for path in references or ()]}
    own["controls"] = []
    for choice in controls or ():
        kind, _, path = choice.partition("=")
        if not kind or not path:
            raise InvalidRequest("must be a ControlNet and a file, such as canny=edges.png", "--control")
        own["controls"].append({"type": kind, "image": path})
    read = asyncio.run(validate(GuidedFields, own).guides(FilePictures(settings, Path())))
    of_file = asyncio.run(fields.guides(FilePictures(settings, file.parent if file is not None else Path())))
    return {name: (*of_file[name], *read[name]) for name in read}


class FilePictures(SentPictures):
    """Pictures that are data: URLs, or files of ``folder``."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(limits_of(settings))
        self._folder = folder

    async def content(self, url: str, field: str) -> bytes:
        if is_data_url(url):
            return await super().content(url, field)
        return (self._folder / url).read_bytes()


def plan(prompt: str, output: str | None, n: int) -> tuple[list[Path | None], str]:
    """Target of each picture (``None``: standard output), and the format."""
    if output == "-":
        if n > 1:
            raise InvalidRequest("standard output takes one picture; name a file or a folder", "--output")
        return [None], "png"
    target = Path(output or ".")
    if target.is_dir():
        target /= f"{re.sub('[^a-z0-9]+', '-', prompt.lower())[:40].strip('-') or 'illustration'}.png"
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise InvalidRequest(f"must end in {', '.join(FORMATS)}, or be a folder that there is", "--output")
    if n == 1:
        return [target], form
    return [target.with_name(f"{target.stem}-{i + 1}{target.suffix}") for i in range(n)], form


def draw(backend: Studio, options: IllustrateOptions) -> Illustration:
    """Draw; on a terminal with a progress bar over all steps."""
    if err.is_terminal:
        every = max(1, (options.num_inference_steps or _UNKNOWN_STEPS) // _MARKS)
        options = dataclasses.replace(options, preview_every=every)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = dict.fromkeys(range(options.n), 0)
    with (
        Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar,
        contextlib.closing(cast(Any, backend.draw(options))) as items,
    ):
        task = bar.add_task("Drawing", total=None)
        for item in items:
            if isinstance(item, Illustration):
                return item
            done[item.index] = item.step
            bar.update(task, total=item.steps * options.n, completed=sum(done.values()))
    raise AtelierError("the stream ended without a picture")


def write(targets: list[Path | None], files: list[bytes]) -> None:
    for target, data in zip(targets, files, strict=True):
        if target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def report(drawn: Illustration, targets: list[Path | None], files: list[bytes], as_json: bool) -> None:
    made = drawn.parameters
    for picture, target, data in zip(drawn.pictures, targets, files, strict=True):
        if as_json:
            fields = {**made.to_json(), "seed": picture.seed, "bytes": len(data)}
            fields |= {"tokens": drawn.tokens, "model_versions": dict(drawn.model_versions)}
            fields |= {} if drawn.moderation is None else {"moderation": dict(drawn.moderation)}
            line = json.dumps({"image": str(target or "-"), **fields, "processing_time_s": drawn.processing_time_s})
            print(line, file=sys.stderr if target is None else sys.stdout)
        elif target is not None:
            size = f"{picture.pixels.shape[1]} x {picture.pixels.shape[0]}"
            err.print(f"{target}  {size}, seed {picture.seed}, {len(data):,} bytes", markup=False, soft_wrap=True)
    if not as_json and drawn.moderation is not None and drawn.moderation["flagged"]:
        found = drawn.moderation
        err.print(f"{found['action']}: {found['reason']} is {found['category']} ({found['score']:.2f})", markup=False)
    if not as_json:
        how = f"{made.sampler}, {made.num_inference_steps} steps, guidance {made.guidance_scale:g}"
        what = f"{drawn.tokens} tokens, {drawn.processing_time_s:.1f} s"
        err.print(f"{made.model}: {how}, {what}", markup=False, soft_wrap=True)
