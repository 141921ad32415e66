"""Pictures of pages, from a running stack: python studio/screenshots.py URL FOLDER [--width 1440 390] [--pages ...]

A few drawings and a conversion are made first, so that the pages show something. A model with LoRAs, references or
control pictures is shown with them. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

PROMPTS = ("red apple, flat", "a blue car", "hot air balloon, flat", "cat face")
PAGES = {
    "create": "/",
    "guides": "/",
    "layout": "/",
    "painting": "/",
    "director": "/director",
    "prompts": "/prompts",
    "foryou": "/foryou",
    "vectorise": "/vectorise",
    "queue": "/queue",
    "gallery": "/gallery",
    "references": "/references",
    "models": "/models",
    "profile": "/profile",
}
LOGO = Path(__file__).parents[1] / "docs" / "media" / "sample.png"


def fill(url: str) -> None:
    """Jobs with fixed seeds: on the same stack they are drawn once. Two of them are liked."""
    user = httpx.get(f"{url}/api/session").json()["user_id"]
    for seed, prompt in enumerate(PROMPTS, 7):
        job = {"kind": "illustrate", "input": {"prompt": prompt, "seed": seed}}
        made = httpx.post(f"{url}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90).raise_for_status()
        if seed % 2:
            like = {"generationId": made.json()["id"], "userId": user}
            httpx.post(f"{url}/api/feedback/like", json=like).raise_for_status()


def prepare(page: Page, name: str) -> None:
    if name == "create":
        page.get_by_label("Prompt", exact=True).fill(PROMPTS[0])
        page.keyboard.press("Control+Enter")
        page.locator("button.frame img").nth(3).wait_for()
    elif name == "guides":
        show_guides(page)
    elif name == "layout":
        lay_out(page)
    elif name == "painting":
        paint(page)
    elif name == "director":
        page.get_by_role("textbox", name="Message").fill("A fox in the snow, calm, as a flat icon")
        page.get_by_role("button", name="Send").click()
        page.get_by_role("button", name="Use in Create").wait_for()
    elif name == "vectorise":
        page.locator("input[type=file]").set_input_files(LOGO)
        page.get_by_role("region", name="Insights").wait_for()
    page.wait_for_timeout(1500)


def opened(page: Page, title: str) -> Locator:
    """A part of the form."""
    summary = page.locator("summary", has_text=re.compile(rf"^{title}\d*$"))
    found = page.locator("details", has=summary).last
    if found.get_attribute("open") is None:
        summary.click()
    return found


def show_guides(page: Page) -> None:
    """Whatever the model takes, and the picture that is drawn from, as it grows."""
    page.get_by_label("Prompt", exact=True).fill("a garden, flat")
    opened(page, "From a picture").locator("input[type=file]").first.set_input_files(LOGO)
    opened(page, "Grow the picture").get_by_role("button", name="16 : 9").click()
    if page.locator("summary", has_text="LoRAs").count():
        opened(page, "LoRAs")
        adding = page.get_by_role("button", name="Add a LoRA")
        if adding.count():
            adding.click()
            page.get_by_role("option").first.click()
    for title in ("References", "Control pictures"):
        if page.locator("summary", has_text=title).count():
            opened(page, title).locator("input[type=file]").first.set_input_files(LOGO)
    page.locator("summary", has_text="From a picture").evaluate("one => one.scrollIntoView()")


def lay_out(page: Page) -> None:
    """Two subjects, placed by their relationship, and a region above them."""
    page.get_by_label("Prompt", exact=True).fill("a meadow, flat")
    opened(page, "Layout").get_by_role("button").first.click()
    dialog = page.get_by_role("dialog", name="Regions and subjects")
    for words in ("cat", "red apple"):
        dialog.get_by_role("button", name="Add a subject").click()
        page.keyboard.type(words)
    dialog.get_by_role("button", name="Add a relationship").click()
    dialog.get_by_role("button", name="Add a region").click()
    page.keyboard.type("blue balloon")
    box = dialog.get_by_role("button", name="blue balloon: ")
    for _ in range(5):
        box.press("Control+ArrowUp")


def paint(page: Page) -> None:
    """A region, as its shape is painted, over a subject."""
    page.get_by_label("Prompt", exact=True).fill("a meadow, flat")
    opened(page, "Layout").get_by_role("button", name=re.compile("layout|Lay it out", re.IGNORECASE)).first.click()
    dialog = page.get_by_role("dialog", name="Regions and subjects")
    dialog.get_by_role("button", name="Add a subject").click()
    page.keyboard.type("cat")
    dialog.get_by_role("button", name="Paint a region").click()
    box = dialog.locator("canvas").bounding_box()
    assert box is not None
    points = [(0.1, 0.2), (0.35, 0.12), (0.6, 0.22), (0.9, 0.12)]
    for number, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


GUIDES = ("LoRAs", "References", "Control pictures")
GAP_PX = 24


def guides(page: Page) -> Image.Image:
    """The parts of the form that guide a drawing, side by side, in place of the whole page."""
    hidden = ".form > .button.primary { visibility: hidden }"
    parts = [
        Image.open(io.BytesIO(opened(page, title).screenshot(style=hidden)))
        for title in GUIDES
        if page.locator("summary", has_text=title).count()
    ]
    width = sum(part.width + GAP_PX for part in parts) + GAP_PX
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    sheet = Image.new("RGB", (width, max(part.height for part in parts) + 2 * GAP_PX), ground)
    at = GAP_PX
    for part in parts:
        sheet.paste(part, (at, GAP_PX))
        at += part.width + GAP_PX
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, nargs="+", default=[1440, 390])
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES), metavar="PAGE")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    fill(arguments.url)
    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        flags = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", *sandbox]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for width in arguments.width:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=arguments.theme)
            page.set_default_timeout(90_000)
            for name in arguments.pages:
                page.goto(arguments.url + PAGES[name])
                page.get_by_role("heading", level=1).wait_for()
                prepare(page, name)
                takes_guides = name == "guides" and page.locator("summary", has_text="LoRAs").count()
                picture = guides(page) if takes_guides else Image.open(io.BytesIO(page.screenshot()))
                file = arguments.folder / f"{name}-{width}.webp"
                picture.save(file, quality=80, method=6)
                print(file)
        browser.close()


if __name__ == "__main__":
    main()
