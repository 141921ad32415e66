"""PDF by Typst, whose SVG reader is resvg's: gradients stay gradients, and transparency stays transparency."""

from __future__ import annotations

import typst

from serve.vector.drawing import SVG_POINT
from serve.vector.svg import size_of
from serve.vector.svg_reader import about, parse

_PAGE = """#set document(date: none, title: sys.inputs.title, keywords: (sys.inputs.source,))
#set page(width: {width}pt, height: {height}pt, margin: 0pt, fill: none)
#image(bytes(sys.inputs.svg), format: "svg", width: {width}pt, height: {height}pt, fit: "stretch")"""


def to_pdf(svg: str, scale: float) -> bytes:
    """One page of the drawing's size. Raises ValueError for text that is not SVG or refers to other files."""
    notes = about(parse(svg))
    width, height = (side * SVG_POINT * scale for side in size_of(svg))
    source = _PAGE.format(width=f"{width:.4f}", height=f"{height:.4f}").encode()
    try:
        inputs = {"svg": svg, "title": notes.title, "source": notes.source_type}
        pdf = typst.compile(source, sys_inputs=inputs, ignore_system_fonts=True, format="pdf")
    except typst.TypstError as error:
        raise ValueError(f"this SVG cannot be written as PDF: {error.message}") from None
    assert isinstance(pdf, bytes)
    return pdf
