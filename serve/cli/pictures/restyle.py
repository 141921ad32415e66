"""`atelier restyle`: a picture painted in the style of others, or an SVG in a style's colours; in this process, as the
stacks' gRPC door takes no styles."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from serve.api.http.input_pictures import input_picture, limits_of
from serve.api.restyling.styles import restyled_svg, site_styles, style_named
from serve.cli.database import err, fail
from serve.cli.illustrate import OPTIONS, InProcess, write
from serve.cli.pictures.one_picture import draw_into, form_of
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.restyler.restyle import Restyle, StyleUse
from serve.errors import AtelierError, InvalidRequest, NotFound, rename_fields
from serve.settings import Settings, load

STYLE = "--style"


def restyle(
    picture: Annotated[Path, typer.Argument(help="A PNG, JPEG, WebP, GIF, BMP or TIFF file, or an SVG.")],
    style: Annotated[
        list[str],
        typer.Option(STYLE, "-s", help="A style's name or a picture, and a weight: `mosaic`, `dabs:0.5`. Repeatable."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png, .jpg or .webp file; .svg for an SVG.")],
    strength: Annotated[float, typer.Option(help="From 0, which leaves the picture as it is, to 1.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Only light and dark change.")] = False,
    mask: Annotated[Path | None, typer.Option(help="A grey picture: what is white is painted.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Where the strokes fall.")] = 0,
    quality: Annotated[int, typer.Option(min=0, max=100, help="Of JPEG and WebP.")] = DEFAULT_QUALITY,
    timeout: Annotated[float | None, typer.Option(help="Seconds that it may take.")] = None,
) -> None:
    """Paint a picture in the style of others, in this process.

    `GET /api/style-transfer/styles` lists the site's styles.
    """
    try:
        settings = load()
        if picture.suffix.lower() == ".svg":
            return _restyle_svg(settings, picture, style, output, strength)
        form = form_of(output)
        names = {"strength": "--strength", "mask": "--mask", "styles": STYLE}
        names |= {f"styles[{i}].{part}": STYLE for i in range(len(style)) for part in ("image", "weight")}
        with rename_fields({**OPTIONS, **names, "image": "PICTURE"}):
            uses = tuple(_use(settings, one, i) for i, one in enumerate(style))
            limits = limits_of(settings)
            image = asyncio.run(input_picture(picture.read_bytes(), "image", limits))
            grey = None if mask is None else asyncio.run(input_picture(mask.read_bytes(), "mask", limits))
            options = IllustrateOptions(
                "",
                seed=seed,
                source=PictureSource(image),
                restyle=Restyle(uses, strength, keep_colors, grey),
                draws=False,
                timeout_s=timeout,
            )
            with err.status("Starting the engines"):
                own = InProcess(settings, svg=False)
            with contextlib.closing(own) as backend:
                drawn, about = draw_into(output, form, quality, backend, options)
    except (AtelierError, OSError) as error:
        fail(error, 2 if isinstance(error, InvalidRequest | NotFound) else 1)
    err.print(f"{about}, {drawn.processing_time_s:.1f} s", markup=False, soft_wrap=True)


def _use(settings: Settings, text: str, index: int) -> StyleUse:
    """Raises InvalidRequest."""
    name, weight = _parts(text)
    if (path := Path(name)).is_file():
        data, label = path.read_bytes(), ""
    else:
        found = style_named(site_styles(settings), name, STYLE)
        data, label = found.data, found.entry.name
    field = f"styles[{index}].image"
    return StyleUse(asyncio.run(input_picture(data, field, limits_of(settings))), weight, label)


def _parts(text: str) -> tuple[str, float]:
    """``name``, ``file``, or either with ``:weight``."""
    name, colon, last = text.rpartition(":")
    try:
        return (name, float(last)) if colon else (text, 1.0)
    except ValueError:  # a colon of a path
        return text, 1.0


def _restyle_svg(settings: Settings, picture: Path, styles: list[str], output: Path, strength: float) -> None:
    if output.suffix.lower() != ".svg":
        raise InvalidRequest("must end in .svg: an SVG stays one", "--output")
    if len(styles) != 1:
        raise InvalidRequest("takes one style for an SVG", STYLE)
    if not 0 <= strength <= 1:
        raise InvalidRequest("must be from 0 to 1", "--strength")
    style = style_named(site_styles(settings), _parts(styles[0])[0], STYLE)
    with rename_fields({"svg": "PICTURE"}):
        svg, changed = restyled_svg(picture.read_bytes(), style, strength)
    write([output], [svg.encode()])
    err.print(f"{output}  {len(changed)} colours, {len(svg):,} characters", markup=False, soft_wrap=True)
