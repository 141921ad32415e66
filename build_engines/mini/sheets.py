"""Sheets of the sixty prompts, drawn by the engines of `pictogram` and made into SVGs, for the documents."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from build_engines.mini import drawing, engines
from build_engines.mini.corpus.pictures import Rgba
from build_engines.mini.corpus.prompts import PROMPTS
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings, project_path
from serve.vector.compare import composite, render

FAMILY = "pictogram"
_COLUMNS = 10
_RENDERED_PX, _SHOWN_PX = 512, 192


def draw_sheets(repository: Path) -> None:
    """Draws the sheets with the engines of ``repository`` into docs/media; what `mini` makes of the same prompts beside
    them, ``mini_prompts.webp``."""
    folder = project_path("docs/media")
    beside = folder / "mini_prompts.webp"
    _write(list(engines.draw_all(repository, PROMPTS, range(len(PROMPTS)))), PROMPTS, beside)
    for path in (*write_sheets(repository, folder), beside):
        typer.echo(f"wrote {path}")


def write_sheets(repository: Path, folder: Path, prompts: Sequence[str] = PROMPTS, family: str = FAMILY) -> list[Path]:
    """Draws ``prompts``, seeds from 0, into ``pictogram.webp`` (the family's name); the SVGs of the drawings, rendered
    with 512 pixels a side, into ``pictogram_svg.webp``. The files."""
    drawn = engines.draw_all(repository, prompts, range(len(prompts)), family)
    vectorized = [np.asarray(Image.fromarray(one).resize((_SHOWN_PX, _SHOWN_PX))) for one in _rendered(drawn)]
    made = []
    for name, pictures in ((family, list(drawn)), (f"{family}_svg", vectorized)):
        made.append(folder / f"{name}.webp")
        _write([composite(one) for one in pictures], prompts, made[-1])
    return made


def _write(pictures: Sequence[Rgba], prompts: Sequence[str], path: Path) -> None:
    Image.fromarray(drawing.sheet(pictures, prompts, _COLUMNS, scale=1)).save(path, quality=82, method=6)


def _rendered(drawn: Rgba) -> list[Rgba]:
    async def all_of_them() -> list[str]:
        vectorizer = Vectorizer(VectorizerSettings())
        await vectorizer.start()
        try:
            return [(await vectorizer.vectorize(_png(one), VectorizeOptions())).svg for one in drawn]
        finally:
            await vectorizer.close()

    return [render(svg, _RENDERED_PX, _RENDERED_PX) for svg in asyncio.run(all_of_them())]


def _png(rgba: Rgba) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return file.getvalue()
