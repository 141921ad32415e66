"""Pictures of every page, from a running stack: python studio/screenshots.py URL FOLDER [--width 1440 390]

A few drawings and a conversion are made first, so that the pages show something. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROMPTS = ("red apple, flat", "a blue car", "hot air balloon, flat", "cat face")
PAGES = {
    "create": "/",
    "vectorise": "/vectorise",
    "queue": "/queue",
    "gallery": "/gallery",
    "references": "/references",
    "models": "/models",
    "profile": "/profile",
}
LOGO = Path(__file__).parents[1] / "docs" / "media" / "sample.png"


def fill(url: str) -> None:
    """Jobs with fixed seeds: on the same stack they are drawn once."""
    for seed, prompt in enumerate(PROMPTS, 7):
        job = {"kind": "illustrate", "input": {"prompt": prompt, "seed": seed}}
        httpx.post(f"{url}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90).raise_for_status()


def prepare(page: Page, name: str) -> None:
    if name == "create":
        page.get_by_label("Prompt").fill(PROMPTS[0])
        page.keyboard.press("Control+Enter")
        page.locator("button.frame img").nth(3).wait_for()
    elif name == "vectorise":
        page.locator("input[type=file]").set_input_files(LOGO)
        page.get_by_role("region", name="Insights").wait_for()
    page.wait_for_timeout(1500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, nargs="+", default=[1440, 390])
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
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
            for name, path in PAGES.items():
                page.goto(arguments.url + path)
                page.get_by_role("heading", level=1).wait_for()
                prepare(page, name)
                picture = Image.open(io.BytesIO(page.screenshot()))
                file = arguments.folder / f"{name}-{width}.webp"
                picture.save(file, quality=80, method=6)
                print(file)
        browser.close()


if __name__ == "__main__":
    main()
