"""SVG as svgz, PDF, EPS and DXF (C-140), opened again by other programs and compared with the SVG's rendering."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import ezdxf.recover
import numpy as np
import numpy.typing as npt
import pypdfium2
import pytest
from ezdxf.addons.drawing import Frontend, RenderContext
from ezdxf.addons.drawing.config import BackgroundPolicy, Configuration
from ezdxf.addons.drawing.matplotlib import MatplotlibBackend
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from serve.errors import InvalidRequest
from serve.vector.compare import render
from serve.vector.drawing import Gradient
from serve.vector.exports.formats import MAX_SVG_BYTES, check_size, export
from serve.vector.svg_reader import read

SIDE = 128
ZOOM = 2
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">'
FLAT = (
    HEAD + '<title>A (fox)</title><path fill="#fff" d="M0 0h128v128H0z"/>'
    '<g fill="#d93a3a"><circle cx="30" cy="30" r="20"/><ellipse cx="90" cy="30" rx="30" ry="12" '
    'transform="rotate(20 90 30)"/></g><rect x="10" y="60" width="40" height="30" rx="6" fill="#2a6fdb"/>'
    '<path fill-rule="evenodd" d="M64 60h50v50h-50zM74 70v30h30v-30z"/>'
    '<path stroke="#2e9e5b" stroke-width="6" stroke-linecap="round" fill="none" d="M10 115l40 5"/>'
    '<path fill="#f2b632" d="M70 115c10-10 20-10 30 0a8 8 0 0 1 16 0q-10 14-46 0z"/>'
    '<circle fill="none" stroke="#6b3fa0" stroke-width="4" cx="89" cy="85" r="9"/></svg>'
)
SHADED = (
    HEAD + '<linearGradient id="a" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="128" y2="60">'
    '<stop stop-color="#f00"/><stop offset=".3" stop-color="#0f0"/>'
    '<stop offset="1" stop-color="#00f"/></linearGradient>'
    '<radialGradient id="b" gradientUnits="userSpaceOnUse" cx="64" cy="64" r="40"><stop stop-color="#ff0"/>'
    '<stop offset="1" stop-color="#a0f"/></radialGradient><path fill="url(#a)" d="M0 0h128v128H0z"/>'
    '<g transform="translate(64 0) scale(.5 1)"><circle cx="64" cy="64" r="50" fill="url(#b)"/></g></svg>'
)
SOFT = (
    HEAD + '<radialGradient id="b" gradientUnits="userSpaceOnUse" cx="64" cy="64" r="60"><stop/>'
    '<stop offset="1" stop-opacity="0"/></radialGradient><path fill="#fff" d="M0 0h128v128H0z"/>'
    '<circle cx="64" cy="64" r="60" fill="url(#b)"/><path fill="#00f" fill-opacity=".5" d="M0 0h64v30H0z"/></svg>'
)

Rgb = npt.NDArray[np.float64]


def drawn(svg: str) -> Rgb:
    return on_white(Image.fromarray(render(svg, SIDE * ZOOM, SIDE * ZOOM)))


def on_white(image: Image.Image) -> Rgb:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), np.float64)


def difference(one: Rgb, other: Rgb) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).mean())


def test_svgz_is_the_text_compressed() -> None:
    assert gzip.decompress(export(FLAT, "svgz")).decode() == FLAT
    assert export(FLAT, "svgz") == export(FLAT, "svgz")


@pytest.mark.parametrize("svg", [FLAT, SHADED, SOFT], ids=["flat", "gradients", "soft"])
def test_pdf_looks_like_the_svg(svg: str) -> None:
    page = pypdfium2.PdfDocument(export(svg, "pdf"))[0]
    assert page.get_size() == pytest.approx((96, 96), abs=0.01)
    assert difference(on_white(page.render(scale=ZOOM * 96 / 72).to_pil()), drawn(svg)) < 2  # PDFium shades in steps


def test_gradients_stay_gradients() -> None:
    """No picture is embedded, and an axial and a radial shading are there."""
    for name in ("pdf", "eps"):
        data = export(SHADED, name)
        assert b"/ShadingType 2" in data, name
        assert b"/ShadingType 3" in data, name
        assert b"/Subtype/Image" not in data.replace(b" ", b""), name


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="Poppler (poppler-utils) is not installed")
def test_poppler_opens_the_pdf(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(export(SOFT, "pdf"))
    command = ["pdftoppm", "-r", str(96 * ZOOM), "-png", "-singlefile", "a.pdf", "a"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert difference(on_white(Image.open(tmp_path / "a.png")), drawn(SOFT)) < 1


@pytest.mark.skipif(shutil.which("gs") is None, reason="Ghostscript is not installed")
@pytest.mark.parametrize("svg", [FLAT, SHADED, SOFT], ids=["flat", "gradients", "soft"])
def test_ghostscript_opens_the_eps(svg: str, tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(export(svg, "eps"))
    command = ["gs", "-q", "-dSAFER", "-dEPSCrop", "-dGraphicsAlphaBits=4", f"-r{96 * ZOOM}", "-sDEVICE=png16m"]
    subprocess.run([*command, "-o", "a.png", "a.eps"], cwd=tmp_path, check=True, timeout=60)
    assert difference(on_white(Image.open(tmp_path / "a.png")), drawn(svg)) < 1.5


def test_eps_names_its_box_and_title() -> None:
    text = export(FLAT, "eps", 2.0).decode("ascii")
    assert "%%BoundingBox: 0 0 192 192\n" in text
    assert "%%Title: (A _fox_)\n" in text


@pytest.mark.parametrize(("svg", "most"), [(FLAT, 2.5), (SOFT.replace("url(#b)", "#888"), 1)], ids=["flat", "clear"])
def test_dxf_looks_like_the_svg(svg: str, most: float) -> None:
    document, audit = ezdxf.recover.read(io.BytesIO(export(svg, "dxf")))
    assert not audit.has_errors
    figure = Figure(figsize=(SIDE / 96, SIDE / 96), dpi=96 * ZOOM)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    how = Configuration(background_policy=BackgroundPolicy.WHITE, lineweight_scaling=0)
    backend = MatplotlibBackend(axes, adjust_figure=False)
    Frontend(RenderContext(document), backend, config=how).draw_layout(document.modelspace())
    side_mm = SIDE * 25.4 / 96
    axes.set_xlim(0, side_mm)
    axes.set_ylim(0, side_mm)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    assert difference(on_white(pixels), drawn(svg)) < most


def test_dxf_has_entities_and_layers_that_a_machine_can_follow() -> None:
    document, _ = ezdxf.recover.read(io.BytesIO(export(FLAT, "dxf", 2.0)))
    space = document.modelspace()
    (circle,) = space.query("CIRCLE")
    assert circle.dxf.radius == pytest.approx(40 * 25.4 / 96)
    assert len(space.query("ELLIPSE")) == 1
    assert len(space.query("SPLINE")) > 0
    assert {"fill-d93a3a", "outline-d93a3a", "stroke-2e9e5b"} <= {layer.dxf.name for layer in document.layers}
    assert document.units == ezdxf.units.MM
    assert export(FLAT, "dxf") == export(FLAT, "dxf")


@pytest.mark.parametrize("name", ["pdf", "eps", "dxf"])
def test_mark_of_generated_drawings_stays(name: str) -> None:
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    marked = FLAT.replace(HEAD, f'{HEAD}<metadata><a about="{source}"/></metadata>')
    assert source.encode() in export(marked, name)
    assert source.encode() not in export(FLAT, name)


@pytest.mark.parametrize("name", ["pdf", "eps", "dxf"])
@pytest.mark.parametrize(
    "svg",
    [
        "no svg",
        '<svg viewBox="0 0 8 8"><path d="M0 0',
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><image href="file:///etc/passwd"/></svg>',
        '<!DOCTYPE svg [<!ENTITY a SYSTEM "/etc/passwd">]><svg viewBox="0 0 8 8">&a;</svg>',
    ],
)
def test_other_text_is_refused(name: str, svg: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        export(svg, name)


def test_endless_references_and_unknown_commands_are_refused() -> None:
    for body in (
        '<g id="a"><use href="#a"/></g>',
        '<path d="M0 0 banana"/>',
        '<path transform="warp(3)" d="M0 0h1"/>',
        '<path fill="url(#b)" d="M0 0h1"/>',
        '<path fill="red" d="M0 0h1"/>',
    ):
        with pytest.raises(ValueError, match=r"."):
            read(f"{HEAD}{body}</svg>")


def test_use_is_drawn_where_it_is_placed() -> None:
    body = '<g fill="#f00"><path id="a" d="M0 0h8v8H0z"/><use href="#a" x="20" y="4"/></g>'
    first, second = read(f"{HEAD}{body}</svg>").shapes
    assert first.contours[0].start == (0, 0)
    assert second.contours[0].start == (20, 4)
    assert first.fill == second.fill


def test_gradient_of_a_transformed_group_is_transformed() -> None:
    paint = read(SHADED).shapes[1].fill
    assert isinstance(paint, Gradient)
    assert tuple(paint.transform) == (0.5, 0, 0, 1, 64, 0)


def test_size_is_capped() -> None:
    check_size(MAX_SVG_BYTES)
    with pytest.raises(InvalidRequest, match="fewer colours"):
        check_size(MAX_SVG_BYTES + 1)


@pytest.mark.parametrize("name", ["eps", "dxf"])
def test_what_is_used_many_times_over_is_refused(name: str) -> None:
    uses = "".join(f'<g id="a{i}">{f"""<use href="#a{i - 1}"/>""" * 20}</g>' for i in range(1, 9))
    with pytest.raises(ValueError, match="use adds more than"):
        export(f'{HEAD}<defs><g id="a0"/>{uses}</defs><use href="#a8"/></svg>', name)


@pytest.mark.parametrize("name", ["eps", "dxf"])
def test_numbers_that_are_infinite_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        export(f'{HEAD}<path d="M0 0L1 1e999L1 1Z"/></svg>', name)


@pytest.mark.parametrize(
    "drawing",
    [
        '<path stroke="#000" stroke-width="1e999" d="M0 0L9 9"/>',
        '<circle cx="1e999" cy="9" r="4"/>',
        '<linearGradient id="a" x1="1e999"><stop/></linearGradient><path fill="url(#a)" d="M0 0h9v9z"/>',
        '<linearGradient id="a"><stop offset="nan"/></linearGradient><path fill="url(#a)" d="M0 0h9v9z"/>',
    ],
)
def test_sizes_that_are_no_numbers_are_refused(drawing: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|too large|cannot be read"):
        export(f"{HEAD}{drawing}</svg>", "eps")


def test_stops_outside_a_gradient_are_at_its_ends() -> None:
    stops = '<stop offset="-3"/><stop offset="7" stop-color="#fff" stop-opacity="2"/>'
    paint = read(
        f'{HEAD}<linearGradient id="a" x2="9">{stops}</linearGradient><path fill="url(#a)" d="M0 0h9v9z"/></svg>'
    )
    fill = paint.shapes[0].fill
    assert isinstance(fill, Gradient)
    assert [(stop.offset, stop.opacity) for stop in fill.stops] == [(0.0, 1.0), (1.0, 1.0)]
