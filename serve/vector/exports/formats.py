"""The formats, their media types, and the one function that writes them."""

from __future__ import annotations

import gzip

from serve.errors import InvalidRequest

EXPORTS = {
    "svgz": "application/gzip",
    "pdf": "application/pdf",
    "eps": "application/postscript",
    "dxf": "image/vnd.dxf",
}
"""Media types by format."""
SCALED = ("pdf", "eps", "dxf")
MIN_SCALE, MAX_SCALE = 0.05, 64.0
MAX_SVG_BYTES = 8 * 1024 * 1024
"""Larger SVG is not exported: it would take minutes."""


def export(svg: str, name: str, scale: float = 1.0) -> bytes:
    """``svg`` as the format ``name`` of EXPORTS; a pixel is ``scale`` / 96 inch, and ``scale`` has no effect on svgz.

    Raises ValueError for text that is not SVG as our tracers write it.
    """
    if name == "svgz":
        return gzip.compress(svg.encode(), 9, mtime=0)
    # They are imported where they are used: a process needs one of them.
    if name == "pdf":
        from serve.vector.exports.pdf import to_pdf

        return to_pdf(svg, scale)
    from serve.vector.svg_reader import read

    drawing = read(svg)
    if name == "eps":
        from serve.vector.exports.eps import to_eps

        return to_eps(drawing, scale)
    from serve.vector.exports.dxf import to_dxf

    return to_dxf(drawing, scale)


def check_size(svg_bytes: int) -> None:
    """Raises InvalidRequest for a drawing that is too large to export."""
    if svg_bytes > MAX_SVG_BYTES:
        raise InvalidRequest(
            f"the SVG has {svg_bytes} bytes, and up to {MAX_SVG_BYTES} are exported; ask for fewer colours or paths",
            "format",
        )
