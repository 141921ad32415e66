"""What is done to a traced SVG at the end."""

from xml.etree import ElementTree

import numpy as np
import pytest

from serve.ensembles.requests import VectorizeRequest, from_json
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import InvalidRequest
from serve.vector.compare import render
from serve.vector.finishing import Finish
from serve.vector.parameters import CoverageParameters
from serve.vector.rewrite.rewrite import Rewrite
from serve.vector.trace import trace

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
BODY = '<path fill="#fff" d="M0 0h64v64H0z"/><circle fill="#d93a3a" cx="32" cy="32" r="20"/>'


def test_nothing_to_do_gives_the_same_text():
    assert Finish().apply(HEAD + BODY + "</svg>") == HEAD + BODY + "</svg>"


@pytest.mark.parametrize(
    "canvas", ['<path fill="#fff" d="M0 0h64v64H0z"/>', '<rect x="-1" y="-1" width="66" height="66"/>']
)
def test_background_is_removed(canvas):
    svg = Finish(remove_background=True).apply(f'{HEAD}{canvas}<circle cx="32" cy="32" r="20"/></svg>')
    drawn = render(svg, 64, 64)
    assert drawn[0, 0, 3] == 0
    assert drawn[32, 32, 3] == 255


def test_other_lowest_shape_is_no_background():
    svg = f'{HEAD}<rect x="4" width="60" height="64"/></svg>'
    assert "<rect" in Finish(remove_background=True).apply(svg)


def test_title_and_classes():
    svg = Finish(title="a <fox>", classes=True).apply(HEAD + BODY + "</svg>")
    root = ElementTree.fromstring(svg)
    assert root.get("id") == "drawing"
    assert root[0].text == "a <fox>"
    assert [child.get("class") for child in root][1:] == ["fill-fff", "fill-d93a3a"]


def gradient_and_repeats(color: str) -> str:
    """A traced picture of a gradient that ends in ``color``, and one form three times."""
    forms = "".join(f'<path fill="{color}" d="M{x} 70q14-22 28 0l-5 19q-9 6-18 0z"/>' for x in (4, 34, 64))
    stops = f'<stop stop-color="#fff"/><stop offset="1" stop-color="{color}"/>'
    paint = f'<linearGradient id="g" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="96" y2="0">{stops}'
    body = (
        f'{paint}</linearGradient><path fill="#fff" d="M0 0h96v96H0z"/><path fill="url(#g)" d="M4 8h88v32H4z"/>{forms}'
    )
    picture = render(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">{body}</svg>', 96, 96)
    return trace(picture, CoverageParameters())


@pytest.mark.parametrize(
    "finish", [Finish(), Finish(classes=True), Finish(rewrite=Rewrite(stacking="cut_out", group_by="layer"))]
)
def test_drawings_inline_in_one_page_do_not_take_each_others_paints_and_shapes(finish: Finish) -> None:
    drawings = [finish.apply(gradient_and_repeats(color)) for color in ("#1040d0", "#d03010")]
    assert all("url(#" in svg for svg in drawings)
    own = [svg.replace("<svg ", f'<svg x="{96 * i}" width="96" height="96" ', 1) for i, svg in enumerate(drawings)]
    page = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 192 96">{"".join(own)}</svg>'
    apart = np.hstack([render(svg, 96, 96) for svg in drawings])
    assert np.abs(render(page, 192, 96).astype(int) - apart).max() <= 2


def test_one_drawing_in_two_palettes_has_different_ids() -> None:
    svg = gradient_and_repeats("#1040d0")
    finished = [Finish(palette=(color, "#ffffff")).apply(svg) for color in ("#1040d0", "#d03010")]
    shapes = [{use.get("href") for use in ElementTree.fromstring(one).iter() if use.get("href")} for one in finished]
    assert all(shapes)
    assert not shapes[0] & shapes[1]


def test_ids_begin_with_the_given_prefix() -> None:
    svg = gradient_and_repeats("#1040d0")
    assert "<use" in svg
    named = Finish(classes=True, id_prefix="fox-").apply(svg)
    ids = [one.get("id") for one in ElementTree.fromstring(named).iter() if one.get("id")]
    assert sorted(ids) == ["fox-1", "fox-2", "fox-drawing"]
    assert (render(named, 96, 96) == render(svg, 96, 96)).all()
    with pytest.raises(InvalidRequest, match="id_prefix"):
        VectorizeOptions(id_prefix='x" onload="')


def test_palette_applies_to_groups_of_one_fill():
    dots = "".join(f'<circle cx="{10 + 20 * i}" cy="30" r="8"/>' for i in range(3))
    svg = Finish(palette=("#112233", "#fefae0")).apply(f'{HEAD}<g fill="#101010">{dots}</g></svg>')
    assert svg.count("#112233") == 1
    assert (render(svg, 64, 64)[30, 10, :3] == (0x11, 0x22, 0x33)).all()


def test_shapes_off_draws_paths_alone():
    rgba = render(HEAD + BODY + "</svg>", 64, 64)
    assert "<circle" in trace(rgba, CoverageParameters())
    assert "<circle" not in trace(rgba, CoverageParameters(shapes=0))
    assert np.abs(render(trace(rgba, CoverageParameters(shapes=0)), 64, 64).astype(int) - rgba).mean() < 2


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_colors": 1}, "max_colors"),
        ({"palette": "red"}, "palette"),
        ({"background": "blur"}, "background"),
        ({"title": "x" * 201}, "title"),
        ({"precision": 4}, "precision"),
        ({"min_area_px": 0.1}, "min_area_px"),
        ({"curves": "splines"}, "curves"),
        ({"stacking": "pile"}, "stacking"),
        ({"group_by": "size"}, "group_by"),
        ({"draw": "dots"}, "draw"),
    ],
)
def test_bad_options_are_refused(options, field):
    with pytest.raises(InvalidRequest) as error:
        VectorizeOptions(**options)
    assert field in str(error.value.args)


def test_options_of_the_drawing_survive_json_and_defaults_change_no_request():
    plain = VectorizeRequest("a.png", VectorizeOptions())
    assert "palette" not in plain.to_json()["options"]
    request = VectorizeRequest("a.png", VectorizeOptions(palette="#112233", shapes=False, title="fox", curves="arcs"))
    assert from_json(request.to_json()) == request
