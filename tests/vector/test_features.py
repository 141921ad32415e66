"""The statistics of D-010 do what their names say, in any size, and feed the network the same arrays every time."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from serve.vector.features import LOGO_TYPES, STATISTICS, Features, classify, degradation, extract, network_input

Rgba = npt.NDArray[np.uint8]


def opaque(rgb: npt.NDArray[np.uint8]) -> Rgba:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def disc(side: int = 256) -> Rgba:
    rgb = np.full((side, side, 3), 255, np.uint8)
    cv2.circle(rgb, (side // 2, side // 2), side // 3, (220, 30, 40), -1, cv2.LINE_AA)
    return opaque(rgb)


def jpeg(rgba: Rgba, quality: int) -> Rgba:
    _, data = cv2.imencode(".jpg", rgba[..., :3], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return opaque(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8))


def test_a_flat_picture_has_nothing_but_its_colour() -> None:
    found = extract(opaque(np.full((64, 64, 3), 90, np.uint8)))
    assert found == Features(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 6)


def test_entropy_of_two_equal_halves_is_one_bit() -> None:
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:, 32:] = 255
    found = extract(opaque(rgb))
    assert found.entropy == pytest.approx(1.0)
    assert found.unique_colors == 2
    assert found.edge_density == pytest.approx(1 / 64, rel=0.1)


def test_colours_of_anti_aliased_edges_are_not_counted() -> None:
    assert len(np.unique(disc()[..., :3].reshape(-1, 3), axis=0)) > 20
    assert extract(disc()).unique_colors == 2


def test_more_shapes_have_more_edges_and_corners() -> None:
    rgb = np.full((256, 256, 3), 255, np.uint8)
    for y in range(16, 240, 32):
        for x in range(16, 240, 32):
            rgb[y : y + 14, x : x + 14] = (20, 30, 90)
    tiles = extract(opaque(rgb))
    assert tiles.edge_density > 3 * extract(disc()).edge_density
    assert tiles.corner_density > 10 * extract(disc()).corner_density
    assert tiles.gradient_strength > extract(disc()).gradient_strength


def test_degradation_shows() -> None:
    clean = extract(disc())
    noise = np.random.default_rng(0).normal(0, 5, (256, 256, 3))
    noisy = extract(opaque(np.clip(disc()[..., :3] + noise, 0, 255).astype(np.uint8)))
    blurred = extract(opaque(cv2.GaussianBlur(disc()[..., :3], (0, 0), 2)))
    assert noisy.noise > 20 * clean.noise
    assert blurred.edge_width > 2 * clean.edge_width
    assert extract(jpeg(disc(), 40)).blockiness > clean.blockiness + 0.05
    assert extract(jpeg(disc(), 70)).smooth_share > 5 * clean.smooth_share


def test_noise_is_in_eight_bit_steps() -> None:
    noise = np.random.default_rng(0).normal(128, 3, (256, 256, 1)).repeat(3, axis=2)
    assert extract(opaque(np.clip(noise, 0, 255).astype(np.uint8))).noise == pytest.approx(3, rel=0.1)


def test_alpha_has_shares_and_edges_of_its_own() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., :3] = 255  # white on nothing: invisible on white, but for its alpha
    rgba[16:48, 16:48, 3] = 255
    rgba[20:24, 20:24, 3] = 128
    found = extract(rgba)
    assert found.alpha_share == pytest.approx(0.75 + 16 / 4096)
    assert found.soft_alpha_share == pytest.approx(16 / 4096)
    assert found.edge_density > 0.02


def test_what_lies_under_alpha_zero_does_not_matter() -> None:
    clean, dirty = disc(), disc()
    for rgba, hidden in ((clean, 0), (dirty, 200)):
        rgba[:60, :60] = (hidden, 255 - hidden, hidden, 0)
    a, b = network_input(clean), network_input(dirty)
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 500), (7, 7), (63, 65), (128, 128), (600, 40), (1500, 1400)])
def test_every_size_gives_the_network_its_shapes(shape: tuple[int, int]) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (*shape, 4)).astype(np.uint8)
    found = network_input(rgba)
    assert {name: (array.shape, array.dtype.name) for name, array in found.items()} == {
        "pixels": ((128, 128, 4), "uint8"),
        "detail": ((128, 128, 4), "uint8"),
        "statistics": ((STATISTICS,), "float32"),
    }
    assert np.isfinite(found["statistics"]).all()
    again = network_input(rgba.copy())
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_the_vector_lies_in_about_the_unit_box() -> None:
    for rgba in (disc(16), disc(), jpeg(disc(), 30), disc(3000)):
        vector = extract(rgba).to_vector()
        assert vector.min() >= 0
        assert vector.max() <= 1.2


def test_the_thumbnail_is_letterboxed_and_never_enlarged() -> None:
    wide = opaque(np.zeros((64, 256, 3), np.uint8))
    pixels = network_input(wide)["pixels"]
    assert (pixels[:48, :, 3] == 0).all()
    assert (pixels[48:80] == (0, 0, 0, 255)).all()
    assert (network_input(disc(32))["pixels"][..., 3] > 0).sum() == 32 * 32


def test_the_detail_shows_the_busiest_patches_first() -> None:
    rgb = np.full((512, 512, 3), 255, np.uint8)
    rgb[448:, 448:] = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    detail = network_input(opaque(rgb))["detail"]
    assert np.array_equal(detail[:64, :64, :3], rgb[448:, 448:])


def test_features_given_are_not_extracted_again() -> None:
    marked = replace(extract(disc()), entropy=8.0)
    assert network_input(disc(), marked)["statistics"][2] == 1.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"edge_density": 0.01, "unique_colors": 3}, ("simple", 0.9)),
        ({"edge_density": 0.2, "unique_colors": 3, "corner_density": 0.02}, ("text", 0.8)),
        ({"edge_density": 0.2, "smooth_share": 0.5}, ("gradient", 0.7)),
        ({"edge_density": 0.2, "unique_colors": 60}, ("complex", 0.6)),
    ],
)
def test_rules_of_d_012(changes: dict[str, float], expected: tuple[str, float]) -> None:
    flat = extract(opaque(np.full((64, 64, 3), 90, np.uint8)))
    assert classify(replace(flat, **changes)) == expected
    assert expected[0] in LOGO_TYPES


def test_degradation_is_told_apart() -> None:
    assert degradation(extract(disc())) == "none"
    assert degradation(extract(jpeg(disc(), 70))) == "noisy"
    assert degradation(extract(opaque(cv2.GaussianBlur(disc()[..., :3], (0, 0), 1.5)))) == "blurred"
