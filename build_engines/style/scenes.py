"""Pictures to paint: scenes made of shapes, and icons on coloured grounds. RGB as float32 from 0 to 1."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from build_engines.data.icons import Icon
from build_engines.data.render import size_of
from serve.vector import compare

Floats = npt.NDArray[np.float32]
Rng = np.random.Generator
Colour = npt.NDArray[np.float32]


def palette(rng: Rng, count: int = 5) -> Floats:
    """(count, 3) colours from dark to light, of one or two hues that fit."""
    hue, step = rng.random(), float(rng.choice([0.03, 0.08, 0.33, 0.5]))
    values = np.linspace(rng.uniform(0.02, 0.3), rng.uniform(0.8, 1.0), count)
    saturation = rng.uniform(0.1, 0.95)
    colours = [
        colorsys.hsv_to_rgb((hue + step * int(rng.integers(0, 3))) % 1, saturation * rng.uniform(0.4, 1.0), float(v))
        for v in values
    ]
    return np.asarray(colours, np.float32)


def smooth_noise(rng: Rng, height: int, width: int, cell_px: float) -> Floats:
    """(height, width) from -1 to 1, with bumps of about ``cell_px``."""
    coarse = rng.uniform(-1, 1, (int(height / cell_px) + 3, int(width / cell_px) + 3)).astype(np.float32)
    grown = cv2.resize(coarse, None, fx=cell_px, fy=cell_px, interpolation=cv2.INTER_CUBIC)
    left, top = (int(rng.integers(0, grown.shape[i] - side + 1)) for i, side in ((1, width), (0, height)))
    return np.asarray(grown[top : top + height, left : left + width], np.float32)


def gradient(rng: Rng, height: int, width: int, ends: Floats) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    along = np.cos(angle) * xs / width + np.sin(angle) * ys / height
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    return np.asarray(ends[0] + along[..., None] * (ends[1] - ends[0]), np.float32)


def landscape(rng: Rng, height: int, width: int) -> Floats:
    """Sky, a sun or a moon, clouds, three rows of hills, trees, sometimes water."""
    colours = palette(rng, 6)
    sky = colours[rng.permutation([3, 4, 5])[:2]]
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to(sky[0] + ramp * (sky[1] - sky[0]), (height, width, 3)).copy()
    centre = (int(width * rng.uniform(0.15, 0.85)), int(height * rng.uniform(0.12, 0.4)))
    _disc(picture, centre, height * rng.uniform(0.06, 0.14), np.asarray([1, rng.uniform(0.75, 1), 0.6], np.float32))
    clouds = np.clip(smooth_noise(rng, height, width, width / 4) * 1.5 - 0.5, 0, 0.7)[..., None]
    picture = picture + clouds * (1 - picture) * rng.uniform(0, 1)
    for i, base in enumerate((0.5, 0.65, 0.8)):
        line = height * base + smooth_noise(rng, 1, width, width / (2 + i))[0] * height * 0.12
        hill = (np.arange(height)[:, None] > line[None]).astype(np.float32)[..., None]
        shade = colours[2 - i] * (1 + 0.15 * smooth_noise(rng, height, width, width / 10)[..., None])
        picture = picture * (1 - hill) + shade * hill
        for _ in range(int(rng.integers(0, 5))):
            x = int(rng.integers(0, width))
            foot, tall = float(line[x]), height * rng.uniform(0.06, 0.16)
            _tree(picture, x, foot, tall, colours[0], round_crown=rng.random() < 0.5)
    if rng.random() < 0.4:
        top = int(height * rng.uniform(0.75, 0.88))
        mirrored = picture[top - (height - top) : top][::-1]
        picture[top:] = 0.75 * mirrored + 0.25 * colours[3]
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def still_life(rng: Rng, height: int, width: int) -> Floats:
    """Balls, boxes and bottles with light from one side, on a table."""
    colours = palette(rng, 7)
    picture = gradient(rng, height, width, colours[rng.permutation(7)[:2]])
    table = int(height * rng.uniform(0.55, 0.75))
    picture[table:] = colours[int(rng.integers(0, 7))]
    for _ in range(int(rng.integers(3, 8))):
        x, size = int(rng.integers(0, width)), height * rng.uniform(0.1, 0.28)
        y, colour = int(table - size * 0.5 + rng.uniform(0, 0.25) * height), colours[int(rng.integers(0, 7))]
        kind = int(rng.integers(0, 3))
        if kind == 0:
            _ball(picture, x, y, size * 0.7, colour)
        elif kind == 1:
            box = np.asarray([[x - size / 2, y - size / 2], [x + size / 2, y - size / 2 + rng.uniform(-9, 9)],
                              [x + size / 2, y + size / 2], [x - size / 2, y + size / 2]], np.int32)  # fmt: skip
            cv2.fillPoly(picture, [box], colour.tolist(), cv2.LINE_AA)
            side = box[[1, 2]].tolist()
            back = [[side[1][0] + int(size / 4), side[1][1] - 6], [side[0][0] + int(size / 4), side[0][1] - 6]]
            cv2.fillPoly(picture, [np.asarray([*side, *back], np.int32)], (0.6 * colour).tolist(), cv2.LINE_AA)
        else:
            _ball(picture, x, y, size * 0.45, colour)
            neck = (int(x - size * 0.13), int(y - size)), (int(x + size * 0.13), y)
            cv2.rectangle(picture, *neck, (0.9 * colour).tolist(), -1)
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def icon_scene(rng: Rng, height: int, width: int, icons: Sequence[Icon]) -> Floats:
    """One to three icons on a plain, graded or cloudy ground."""
    ground = palette(rng, 5)[rng.permutation(5)[:2]]
    kind = int(rng.integers(0, 3))
    if kind == 0:
        picture = np.ones((height, width, 3), np.float32) if rng.random() < 0.5 else _plain(ground[0], height, width)
    else:
        picture = gradient(rng, height, width, ground)
        if kind == 2:
            picture = picture + 0.15 * smooth_noise(rng, height, width, width / 5)[..., None]
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        icon = icons[int(rng.integers(0, len(icons)))]
        wide, high = size_of(icon, int(min(height, width) * rng.uniform(0.4, 0.95)))
        wide, high = min(wide, width), min(high, height)
        drawn = compare.render(icon.svg(), wide, high).astype(np.float32) / 255
        left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - high + 1))
        under, alpha = picture[top : top + high, left : left + wide], drawn[..., 3:]
        picture[top : top + high, left : left + wide] = under * (1 - alpha) + drawn[..., :3] * alpha
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def scene(rng: Rng, height: int, width: int, icons: Sequence[Icon]) -> Floats:
    """Any of the three; icons in half of the pictures."""
    if icons and rng.random() < 0.5:
        return icon_scene(rng, height, width, icons)
    return (landscape if rng.random() < 0.6 else still_life)(rng, height, width)


def _plain(colour: Colour, height: int, width: int) -> Floats:
    return np.broadcast_to(colour, (height, width, 3)).astype(np.float32).copy()


def _disc(picture: Floats, centre: tuple[int, int], radius: float, colour: Colour) -> None:
    cv2.circle(picture, centre, max(1, int(radius)), colour.tolist(), -1, cv2.LINE_AA)


def _tree(picture: Floats, x: int, foot: float, tall: float, colour: Colour, round_crown: bool) -> None:
    cv2.line(picture, (x, int(foot)), (x, int(foot - tall)), (0.7 * colour).tolist(), max(1, int(tall / 8)))
    if round_crown:
        _disc(picture, (x, int(foot - tall)), tall * 0.4, colour)
        return
    crown = np.asarray(
        [[x, foot - 1.4 * tall], [x - tall * 0.35, foot - 0.3 * tall], [x + tall * 0.35, foot - 0.3 * tall]]
    )
    cv2.fillPoly(picture, [crown.astype(np.int32)], colour.tolist(), cv2.LINE_AA)


def _ball(picture: Floats, x: int, y: int, radius: float, colour: Colour) -> None:
    for i in range(8):
        share = 1 - i / 8
        light = colour + (1 - colour) * (i / 8) * 0.7
        place = (int(x - radius * 0.35 * (1 - share)), int(y - radius * 0.35 * (1 - share)))
        _disc(picture, place, radius * share, light)
