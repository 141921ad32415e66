"""Times between frames while something is dragged, zoomed or scrolled at the rate of the screen."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, Locator, Page, Route

from loadtests.studio.browser import WINDOW, opened

RATE_S = 60
SECONDS = 4
LATE_MS = 1.5 * 1000 / RATE_S
"""A frame that comes later has left one out."""
PICTURES = 10_000
_SAMPLE = Path(__file__).parents[2] / "docs" / "media" / "sample.png"
_RECORD = """
window.times = [];
const record = time => { times.push(time); window.frame = requestAnimationFrame(record); };
window.frame = requestAnimationFrame(record);
"""
_STOP = "cancelAnimationFrame(frame), times"


@dataclass(frozen=True)
class Frames:
    mean_rate_s: float
    median_ms: float
    p95_ms: float
    worst_ms: float
    late: float
    """Share of frames."""


def summary(times_ms: list[float]) -> Frames:
    between = np.array([after - before for before, after in pairwise(times_ms)])
    return Frames(
        float(1000 / between.mean()),
        float(np.median(between)),
        float(np.percentile(between, 95)),
        float(between.max()),
        float((between > LATE_MS).mean()),
    )


def recorded(page: Page, act: Callable[[float], None]) -> Frames:
    """``act`` is called at each frame's time with how much of the whole has passed, from 0 to 1."""
    page.evaluate(_RECORD)
    began = time.monotonic()
    while (passed := (time.monotonic() - began) / SECONDS) < 1:
        act(passed)
        time.sleep(max(0.0, 1 / RATE_S - (time.monotonic() - began) % (1 / RATE_S)))
    return summary(page.evaluate(_STOP))


def wave(passed: float) -> float:
    """To and fro between 0 and 1, twice."""
    return 0.5 - 0.5 * math.cos(4 * math.pi * passed)


def dragged(page: Page, what: Locator, by_px: tuple[float, float], at: tuple[float, float] = (0.5, 0.5)) -> Frames:
    """From the point ``at``, in fractions of the element, to and fro."""
    box = what.bounding_box()
    assert box is not None
    x, y = box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    found = recorded(page, lambda passed: page.mouse.move(x + by_px[0] * wave(passed), y + by_px[1] * wave(passed)))
    page.mouse.up()
    return found


def measure(browser: Browser, url: str) -> Iterator[tuple[str, Frames]]:
    """A scene at a time, each on a page of its own; one that this site has not is left out."""
    for name, scene in _SCENES.items():
        context = browser.new_context(base_url=url, viewport=WINDOW, service_workers="block")
        page = context.new_page()
        try:
            found = scene(page, url)
        finally:
            context.close()
        if found is not None:
            yield name, found


def _nothing(page: Page, _: str) -> Frames:
    opened(page, "/profile")
    return recorded(page, lambda _: None)


def _layout(page: Page) -> Locator:
    opened(page, "/")
    page.get_by_label("Prompt", exact=True).fill("a garden, flat")
    page.locator("summary", has_text="Layout").click()
    page.get_by_role("button", name="Lay it out").click()
    return page.get_by_role("dialog", name="Regions and subjects")


def _box(page: Page, __: str) -> Frames:
    dialog = _layout(page)
    for _ in range(6):
        dialog.get_by_role("button", name="Add a region").click()
        page.keyboard.type("a kite")
    return dragged(page, dialog.locator("[data-part]").last, (150, 80))


def _brush(page: Page, _: str) -> Frames:
    dialog = _layout(page)
    dialog.get_by_role("button", name="Paint a region").click()
    return dragged(page, dialog.locator("canvas"), (300, 200), (0.2, 0.2))


def _edge(page: Page, _: str) -> Frames | None:
    opened(page, "/")
    part = page.locator("summary", has_text="From a picture")
    if not part.count():
        return None
    part.click()
    page.locator("input[type=file]").first.set_input_files(_SAMPLE)
    page.locator("summary", has_text="Grow the picture").click()
    edge = page.get_by_role("slider", name="Grow on the left")
    edge.scroll_into_view_if_needed()
    return dragged(page, edge, (-60, 0))


def _compared(page: Page) -> None:
    opened(page, "/vectorise")
    page.locator("input[type=file]").set_input_files(_SAMPLE)
    page.get_by_role("region", name="Insights").wait_for()


def _divider(page: Page, _: str) -> Frames:
    _compared(page)
    thumb = page.locator(".slider", has=page.get_by_role("slider", name="Source left, SVG right")).locator(".thumb")
    thumb.scroll_into_view_if_needed()
    return dragged(page, thumb, (250, 0))


def _zoom(page: Page, _: str) -> Frames:
    _compared(page)
    thumb = page.locator(".slider", has=page.get_by_role("slider", name="Loupe")).locator(".thumb")
    return dragged(page, thumb, (200, 0))


def _loupe(page: Page, _: str) -> Frames:
    _compared(page)
    page.get_by_role("slider", name="Loupe").fill("3")
    frame = page.locator(".compare")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    middle, reach = box["x"] + box["width"] / 2, min(box["width"], 500) / 2.5
    y = box["y"] + min(box["height"], 300) / 2
    return recorded(page, lambda passed: page.mouse.move(middle + reach * (2 * wave(passed) - 1), y))


def _gallery(page: Page, url: str) -> Frames:
    """The site's own pictures, as often as it takes to make `PICTURES`."""
    kept = httpx.get(f"{url}/v1/generations", params={"status": "completed", "limit": 48}).json()["generations"]
    many: list[dict[str, Any]] = [{**kept[n % len(kept)], "id": f"picture{n}"} for n in range(PICTURES)]
    body = json.dumps({"generations": many, "next_cursor": None})

    def answer(route: Route) -> None:
        route.fulfill(body=body, content_type="application/json")

    page.route("**/v1/generations?*", answer)
    opened(page, "/gallery")
    page.get_by_role("button", name="Open: ").first.wait_for()
    page.mouse.move(WINDOW["width"] / 2, WINDOW["height"] / 2)
    return recorded(page, lambda _: page.mouse.wheel(0, 60))


_SCENES: dict[str, Callable[[Page, str], Frames | None]] = {
    "nothing": _nothing,
    "layout: one of six boxes dragged": _box,
    "mask: a stroke painted": _brush,
    "growing: an edge dragged": _edge,
    "comparison: the divider dragged": _divider,
    "comparison: zoomed from 1x to 32x": _zoom,
    "comparison: moved under the loupe at 8x": _loupe,
    f"gallery: {PICTURES:,} pictures scrolled": _gallery,
}
