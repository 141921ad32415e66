"""Measurements of the vectorising benchmark: stored on disk, tied to the code version, resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from build_engines.data import Icon
from loadtests.vectorize.dataset import Picture
from loadtests.vectorize.measure import Measurement, Store, fingerprint, measure
from loadtests.vectorize.methods import Function, vtracer_method
from loadtests.vectorize.peers import palette_layers
from serve.errors import BadImage
from serve.vector.compare import render
from serve.vector.parameters import VTracerParameters

SOURCE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">'
    '<rect width="8" height="8" fill="#fff"/><circle cx="4" cy="4" r="3" fill="#c2185b"/></svg>'
)


@pytest.fixture(scope="module")
def picture() -> Picture:
    icon = Icon("drawn", "disc", '<circle cx="4" cy="4" r="3" fill="#c2185b"/>', (0, 0, 8, 8))
    pixels = render(SOURCE, 64, 64)
    return Picture(icon, "clean", pixels, pixels, SOURCE)


def test_source_itself_has_no_error(picture: Picture) -> None:
    row = measure(Function("original", "", lambda p: p.svg, ()), picture)
    assert (row.ssim, row.ssim4, row.mse) == pytest.approx((1.0, 1.0, 0.0), abs=1e-6)
    assert row.bytes == len(SOURCE)
    assert row.paths == 2


def test_tracer_is_measured_at_both_scales(picture: Picture) -> None:
    row = measure(vtracer_method("vtracer", "", VTracerParameters()), picture)
    assert 0.8 < row.ssim < 1.0
    assert 0.8 < row.ssim4 < 1.0
    assert row.ms > 0
    assert np.isnan(measure(vtracer_method("vtracer", "", VTracerParameters()), picture, at_4x=False).ssim4)


def test_refused_conversion_is_a_measurement_without_similarity(picture: Picture) -> None:
    def refuse(_: Picture) -> str:
        raise BadImage("no pixels")

    row = measure(Function("broken", "", refuse), picture)
    assert (row.ssim, row.bytes) == (0, 0)
    assert row.failure == "BadImage: no pixels"


def test_store_ignores_a_half_written_line(tmp_path: Path, picture: Picture) -> None:
    method = Function("original", "", lambda p: p.svg, ())
    row = measure(method, picture)
    store = Store(tmp_path, method)
    assert store.get(picture.key) is None
    store.add(row)
    with store.path.open("a") as file:
        file.write('{"method": "orig')
    again: Measurement | None = Store(tmp_path, method).get(picture.key)
    assert again == row


def test_fingerprint_follows_the_sources(tmp_path: Path) -> None:
    (tmp_path / "tracer").mkdir()
    (tmp_path / "tracer" / "a.py").write_text("x = 1")
    (tmp_path / "tracer" / "notes.txt").write_text("one")
    first = fingerprint(["tracer"], tmp_path)
    (tmp_path / "tracer" / "notes.txt").write_text("two")
    (tmp_path / "tracer" / "a.py").write_text("x  =  1  # one")
    assert fingerprint(["tracer"], tmp_path) == first
    (tmp_path / "tracer" / "a.py").write_text("x = 2")
    assert fingerprint(["tracer"], tmp_path) != first


def test_palette_layers_cover_every_pixel_once(picture: Picture) -> None:
    layers = palette_layers(picture.target, 3)
    assert np.sum([mask for _, mask in layers], axis=0).max() == 1
    assert sum(int(mask.sum()) for _, mask in layers) == 64 * 64
    assert layers[0][1].sum() >= layers[1][1].sum()
    assert all(len(color) == 7 and color.startswith("#") for color, _ in layers)
