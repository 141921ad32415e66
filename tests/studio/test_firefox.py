"""The studio in Debian's Firefox, with the real application: a walk over its pages with axe, and a drawing with a
painted region. Playwright needs a Firefox of its own make; puppeteer drives Debian's, by WebDriver BiDi.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from guided_site import guided_site
from PIL import Image
from programs.studio_browser import AXE, BROWSER_TESTS

from loadtests.studio.browser import PAGES

FIREFOX = shutil.which("firefox-esr")
WALK = Path(__file__).parent / "firefox"
WITH_NODE = Path(__file__).parents[2] / "studio" / "with-node"
pytestmark = [
    *BROWSER_TESTS,
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox; make test installs Debian's, as root"),
    pytest.mark.skipif(not (WALK / "node_modules").is_dir(), reason="no puppeteer: make firefox"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with guided_site(tmp_path_factory.mktemp("site")) as url:
        yield url


def test_firefox_shows_every_page_and_draws_what_is_painted(site: str, tmp_path: Path) -> None:
    assert FIREFOX is not None
    command = [str(WITH_NODE), "node", "walk.mjs", FIREFOX, site, str(AXE), *PAGES.values()]
    # As root Firefox takes no home of another user. Npm's cache and Node's own environment need none.
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=WALK, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith("firefox/")
    assert found["violations"] == {path: [] for path in PAGES.values()}
    assert found["complaints"] == []
    kept = httpx.get(f"{site}/v1/generations", params={"q": "an apple in Firefox"}, timeout=60).json()["generations"]
    region = kept[0]["parameters"]["options"]["regions"][0]
    assert region["prompt"] == "a leaf"
    stored = httpx.get(f"{site}/v1/generations/{kept[0]['id']}/inputs/{region['mask']['name']}", timeout=60)
    with Image.open(io.BytesIO(stored.content)) as mask:
        white = np.asarray(mask.convert("L")) > 127
    assert 0.05 < white.mean() < 0.2
