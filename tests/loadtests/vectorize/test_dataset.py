"""The benchmark's pictures: which icons, at what size, under which conditions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from build_engines.data import Icon
from loadtests.vectorize.dataset import CONDITIONS, SIZES_PX, drawn_conditions, key, prepare, size_px

ICONS = [Icon("drawn", f"dot-{k}", '<circle cx="4" cy="4" r="3" fill="#0277bd"/>', (0, 0, 8, 8)) for k in range(400)]


def test_every_icon_is_clean_and_under_two_other_conditions() -> None:
    drawn = [drawn_conditions(icon) for icon in ICONS]
    assert all(len(set(conditions)) == 3 and conditions[0] == "clean" for conditions in drawn)
    counts = Counter(condition for conditions in drawn for condition in conditions[1:])
    assert set(counts) == set(CONDITIONS[1:])
    assert min(counts.values()) > 0.6 * 2 * len(ICONS) / len(CONDITIONS[1:])


def test_pictures_are_the_same_in_every_run() -> None:
    assert key(ICONS[0], "jpeg70") == key(Icon(*vars(ICONS[0]).values()), "jpeg70")
    first, second = prepare(ICONS[3], "jpeg60-95"), prepare(ICONS[3], "jpeg60-95")
    assert (first.rgba == second.rgba).all()


def test_sizes_follow_the_name_and_128px_does_not() -> None:
    assert {size_px(icon, "clean") for icon in ICONS} == set(SIZES_PX)
    assert {size_px(icon, "128px") for icon in ICONS} == {128}
    assert prepare(ICONS[0], "128px").rgba.shape == (128, 128, 4)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition_degrades_the_input_and_not_the_target(condition: str) -> None:
    picture = prepare(ICONS[1], condition, 64)
    assert picture.rgba.shape == picture.clean.shape == (64, 64, 4)
    changed = not np.array_equal(picture.rgba, picture.clean)
    assert changed == (condition not in ("clean", "128px", "transparent"))
    assert (picture.rgba[..., 3].min() < 255) == (condition == "transparent")
    assert picture.goal.fidelity(picture.svg).ssim > 0.9999


def test_unknown_condition_is_named() -> None:
    with pytest.raises(ValueError, match="no condition 'jpeg71'"):
        prepare(ICONS[0], "jpeg71")
