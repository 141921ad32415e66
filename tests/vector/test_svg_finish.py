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
