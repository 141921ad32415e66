"""Splits, degradations and labels by construction."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_icons import KINDS, icons, simple

from build_engines.data import CONDITIONS, draw, installed, load
from build_engines.data import icons as icon_module
from build_engines.data.construction import Construction, flatten
from build_engines.data.degrade import render_degraded
from build_engines.data.icons import is_variant, read_set, split_of, stem_of
from build_engines.data.kinds import logo_type, shares_of
from build_engines.data.samples import make
from serve.vector import compare


def test_split_follows_the_drawing_not_the_variant() -> None:
    for name, other in (("vue", "vue-icon"), ("woman-cook", "man-cook"), ("aws-2020", "aws"), ("x-icon-dark", "x")):
        assert stem_of(name) == stem_of(other)
        assert split_of(name) == split_of(other)


def test_split_shares_are_near_what_is_asked_for() -> None:
    splits = [split_of(f"name{i}") for i in range(5000)]
    shares = {s: splits.count(s) / len(splits) for s in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.80, "val": 0.08, "test": 0.12}, abs=0.02)


def test_skin_tones_and_flags_are_variants() -> None:
    names = {"hand", "hand-medium-dark", "spotlight", "traffic-light"}
    assert is_variant("hand-medium-dark", names)
    assert is_variant("wave-light-skin-tone", names)
    assert is_variant("flag-france", names)
    assert not is_variant("hand", names)
    assert not is_variant("traffic-light", names)


@pytest.mark.skipif(not installed(), reason="icons are not installed: run `python -m build_engines data`")
def test_no_name_of_the_real_sets_is_in_two_splits() -> None:
    everything = load()
    by_name: dict[str, set[str]] = {}
    for icon in everything:
        by_name.setdefault(icon.name, set()).add(icon.split)
    assert all(len(splits) == 1 for splits in by_name.values())
    test = [icon for icon in everything if icon.split == "test"]
    assert len(test) >= 300
    assert {icon.set for icon in test} == {s.name for s in icon_module.ICON_SETS}


def test_read_set_keeps_what_can_be_drawn(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("icons")
    noto = next(s for s in icon_module.ICON_SETS if s.name == "noto")
    target = folder / "node_modules" / noto.package
    target.mkdir(parents=True)
    body = '{"body": "<path d=\\"M0 0h9v9z\\"/>"'
    (target / "icons.json").write_text(
        '{"width": 128, "height": 64, "icons": {"hand": ' + body + '}, "hand-dark-skin-tone": ' + body + "}, "
        '"old": ' + body + ', "hidden": true}, "styled": {"body": "<style>a{}</style>"}, '
        '"moved": ' + body + ', "left": 3, "width": 10}}}'
    )
    read = read_set(noto, folder)
    assert [(i.name, i.view_box) for i in read] == [("hand", (0, 0, 128, 64)), ("moved", (3, 0, 10, 64))]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_degradation_is_seeded_and_keeps_the_size(condition) -> None:
    svg = simple(3).svg()
    first = render_degraded(svg, 96, 64, condition, seed=5)
    assert first.shape == (64, 96, 4)
    np.testing.assert_array_equal(first, render_degraded(svg, 96, 64, condition, seed=5))
    clean = compare.render(svg, 96, 64)
    assert np.array_equal(first, clean) == (condition == "clean")
    assert compare.ssim(compare.composite(first), compare.composite(clean)) > 0.2


def test_noise_depends_on_the_seed() -> None:
    svg = simple(3).svg()
    assert not np.array_equal(render_degraded(svg, 64, 64, "noisy", 1), render_degraded(svg, 64, 64, "noisy", 2))


def test_sample_knows_its_clean_picture_and_source() -> None:
    sample = make(simple(1), "jpeg70", 128, None, seed=0)
    assert sample.rgba.shape == sample.clean.shape == (128, 128, 4)
    assert sample.clean[..., 3].min() == 255, "JPEG has no transparency, so its clean picture has none"
    again = compare.composite(compare.render(sample.svg, 128, 128))
    np.testing.assert_array_equal(again, compare.composite(sample.clean))
    assert make(simple(1), "clean", 128, None, seed=0).clean[..., 3].min() == 0


def test_draws_repeat_and_differ() -> None:
    icon = simple(2)
    np.testing.assert_array_equal(draw(icon, 4).rgba, draw(icon, 4).rgba)
    assert len({(draw(icon, s).condition, draw(icon, s).size) for s in range(12)}) > 6


def test_white_icon_gets_a_background_that_shows_it() -> None:
    icon = icon_module.Icon("logos", "white", '<circle cx="32" cy="32" r="20" fill="#fff"/>', (0, 0, 64, 64))
    assert compare.composite(make(icon, "clean", 64, None, 0).rgba).std() > 5


@pytest.mark.parametrize("kind", KINDS)
def test_types_by_construction(kind: str) -> None:
    """D-012: the type is read from the source."""
    assert logo_type(KINDS[kind](8)) == kind


def test_shares_run_across_a_border() -> None:
    """An icon on a border is half of each type, one far from it is clear."""
    assert shares_of(Construction(1.0, 0, 0.0, 10, 3)).tolist() == [0.5, 0, 0, 0.5]
    assert shares_of(Construction(1.0, 0, 0.0, 3, 2)).tolist() == [1, 0, 0, 0]
    assert shares_of(Construction(1.0, 0, 0.9, 30, 9)).tolist() == [0, 0, 1, 0]
    assert shares_of(Construction(3.0, 7, 0.9, 30, 9)).tolist() == [0, 1, 0, 0]
    assert shares_of(Construction(1.0, 0, 0.11, 12, 3)).sum() == pytest.approx(1)


def test_flattened_gradient_is_its_mean_colour() -> None:
    icon = next(i for i in icons(4) if i.name.startswith("gradient"))
    flat = compare.render(flatten(icon.svg()), 32, 32)
    np.testing.assert_array_equal(flat[16, 16], flat[16, 4])
    np.testing.assert_allclose(flat[16, 16, :3], (128, 17, 128), atol=1)
