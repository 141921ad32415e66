"""`atelier restyle` (C-011): a style's colours in an SVG, a picture painted, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pictures import drawn, encode
from typer.testing import CliRunner

import serve.ensembles.illustrator.illustrator
from serve.cli.main import app
from serve.ensembles.illustrator.illustrator import Illustrator
from tests.ensembles.drawn_family import write_family
from tests.ensembles.style_engines import with_style_engines, write_style_engines

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path fill="#123456" d="M0 0h9v9z"/></svg>'


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "drawing.svg"
    path.write_text(SVG)
    return path


def restyle(drawing: Path, output: str, *arguments: str) -> tuple[int, str, Path]:
    path = drawing.parent / output
    result = CliRunner().invoke(app, ["restyle", str(drawing), "-o", str(path), *arguments])
    return result.exit_code, result.output, path


@pytest.mark.parametrize("style", ["mosaic", "mosaic:0.5"])
def test_svg_takes_the_colours_of_a_style(drawing: Path, style: str) -> None:
    code, output, path = restyle(drawing, "out.svg", "-s", style)
    assert code == 0, output
    assert "#123456" not in path.read_text()
    assert 'd="M0 0h9v9z"' in path.read_text()


def test_picture_is_painted_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = write_style_engines(write_family(tmp_path / "models"))
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(repository))
    own = partial(Illustrator, engines=with_style_engines())
    monkeypatch.setattr(serve.ensembles.illustrator.illustrator, "Illustrator", own)
    picture = tmp_path / "a.png"
    picture.write_bytes(encode(drawn()))
    arguments = ["restyle", str(picture), "-s", "mosaic:2", "-s", str(picture), "-o", str(tmp_path / "out.png")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("output", "arguments", "words"),
    [
        ("out.png", ("-s", "mosaic"), "--output"),
        ("out.svg", ("-s", "mosaic", "-s", "dabs"), "one style"),
        ("out.svg", ("-s", "nowhere"), "--style"),
        ("out.svg", ("-s", "mosaic", "--strength", "2"), "--strength"),
    ],
)
def test_wrong_arguments_are_named(drawing: Path, output: str, arguments: tuple[str, ...], words: str) -> None:
    code, printed, path = restyle(drawing, output, *arguments)
    assert code == 2
    assert words in printed
    assert not path.exists()
