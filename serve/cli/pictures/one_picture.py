"""What commands that make one picture of another have in common: the format of the file, and drawing into it."""

from __future__ import annotations

from pathlib import Path

from serve.cli.illustrate import FORMATS, Studio, draw, write
from serve.ensembles.illustrator.encoding import TRANSPARENT, Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.errors import InvalidRequest


def form_of(output: Path) -> str:
    """The format by the suffix. Raises InvalidRequest for others than those of pictures."""
    form = FORMATS.get(output.suffix.lower())
    if form is None or form == "svg":
        raise InvalidRequest("must end in .png, .jpg, .jpeg or .webp", "--output")
    return form


def draw_into(
    output: Path, form: str, quality: int, backend: Studio, options: IllustrateOptions
) -> tuple[Illustration, str]:
    """Writes ``output``; the drawing, and a line about the file: its size in pixels and bytes."""
    drawn = draw(backend, options)
    encoding = Encoding(form, quality, metadata=False, mark=False, background=TRANSPARENT)
    (data,) = backend.encode(drawn, encoding)
    write([output], [data])
    height, width = drawn.pictures[0].pixels.shape[:2]
    return drawn, f"{output}  {width} x {height}, {len(data):,} bytes"
