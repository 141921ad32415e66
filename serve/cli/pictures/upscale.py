"""`atelier upscale`: a picture enlarged, or without its background, through a running stack or in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from serve.api.http.input_pictures import input_picture, limits_of
from serve.cli.database import err, fail
from serve.cli.illustrate import OPTIONS, studio
from serve.cli.pictures.one_picture import draw_into, form_of
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY
from serve.ensembles.illustrator.finishing.finish import Finish
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.errors import AtelierError, InvalidRequest, NotFound, rename_fields
from serve.settings import load


def upscale(
    picture: Annotated[Path, typer.Argument(help="A PNG, JPEG, WebP, GIF, BMP or TIFF file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png, .jpg or .webp file.")],
    scale: Annotated[float, typer.Option(help="How much larger, above 1 to 8.")] = 2.0,
    upscaler: Annotated[str | None, typer.Option(help="An engine, or lanczos, bicubic, nearest.")] = None,
    remove_background: Annotated[bool, typer.Option("--remove-background", help="Make it transparent.")] = False,
    restore_faces: Annotated[bool, typer.Option("--restore-faces", help="By an engine, if there is one.")] = False,
    quality: Annotated[int, typer.Option(min=0, max=100, help="Of JPEG and WebP.")] = DEFAULT_QUALITY,
    timeout: Annotated[float | None, typer.Option(help="Seconds that it may take.")] = None,
    url: Annotated[
        str | None, typer.Option(help="host:port of a stack's gRPC door; else a local stack's, else this process.")
    ] = None,
) -> None:
    """Enlarge a picture, without drawing it anew. `--scale 1` with the other options leaves its size."""
    try:
        settings = load()
        form = form_of(output)
        names = {"upscale": "--scale", "upscaler": "--upscaler", "remove_background": "--remove-background"}
        with rename_fields({**OPTIONS, **names, "restore_faces": "--restore-faces", "image": "PICTURE"}):
            image = asyncio.run(input_picture(picture.read_bytes(), "image", limits_of(settings)))
            finish = Finish(scale, upscaler, remove_background, restore_faces)
            options = IllustrateOptions(
                "", seed=0, source=PictureSource(image), finish=finish, draws=False, timeout_s=timeout
            )
            with studio(url, settings, False) as backend:
                drawn, about = draw_into(output, form, quality, backend, options)
    except (AtelierError, OSError) as error:
        fail(error, 2 if isinstance(error, InvalidRequest | NotFound) else 1)
    err.print(f"{about}, {drawn.parameters.model}, {drawn.processing_time_s:.1f} s", markup=False, soft_wrap=True)
