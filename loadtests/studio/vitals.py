"""Web Vitals of a page that is opened for the first time, over a line of 10 Mbit/s: LCP, INP, CLS, bytes of script.

LCP is that of the first load. CLS is the sum of all shifts without a recent input, which is no less than what the
metric counts. INP is the slowest of some interactions, as the browser's own event timing has it, in steps of 8 ms; 0 if
none took 16 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Browser, Page

from loadtests.studio.browser import WINDOW, opened

LINE_BITS_S = 10_000_000
LATENCY_MS = 20
GOALS = {"lcp_ms": 1500, "inp_ms": 100, "cls": 0.05, "script_kb": 200}
SETTLE_MS = 1000
_OBSERVE = """
window.measured = { lcp: 0, cls: 0, inp: 0 };
const observe = (type, each, more) =>
  new PerformanceObserver(list => list.getEntries().forEach(each)).observe({ type, buffered: true, ...more });
observe('largest-contentful-paint', one => { measured.lcp = one.startTime; });
observe('layout-shift', one => { if (!one.hadRecentInput) measured.cls += one.value; });
observe('event', one => { if (one.interactionId) measured.inp = Math.max(measured.inp, one.duration); },
  { durationThreshold: 16 });
"""
_SCRIPT = """
performance.getEntriesByType('resource').filter(one => one.name.endsWith('.js'))
  .reduce((sum, one) => sum + one.encodedBodySize, 0)
"""


@dataclass(frozen=True)
class Vitals:
    lcp_ms: float
    inp_ms: float
    cls: float
    script_kb: float

    def missed(self) -> list[str]:
        """The goals that it does not meet."""
        return [name for name, goal in GOALS.items() if getattr(self, name) > goal]


def measure(browser: Browser, url: str, path: str) -> Vitals:
    """In a context of its own: nothing is cached."""
    context = browser.new_context(base_url=url, viewport=WINDOW, service_workers="block")
    try:
        page = context.new_page()
        line = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": LINE_BITS_S / 8}
        context.new_cdp_session(page).send(
            "Network.emulateNetworkConditions", {**line, "uploadThroughput": LINE_BITS_S / 8}
        )
        page.add_init_script(_OBSERVE)
        opened(page, path)
        page.wait_for_timeout(SETTLE_MS)
        script = page.evaluate(_SCRIPT)
        interact(page)
        page.wait_for_timeout(SETTLE_MS)
        found = page.evaluate("measured")
        return Vitals(found["lcp"], found["inp"], found["cls"], script / 1000)
    finally:
        context.close()


def interact(page: Page) -> None:
    """What a person does on any page: the other theme and back, a text, the list of shortcuts, some steps with Tab."""
    for _ in range(2):
        page.get_by_role("button", name="Use the ").click()
    text = page.locator("main").get_by_role("textbox")
    if text.count():
        text.first.press_sequentially("red apple", delay=20)
    for _ in range(6):
        page.keyboard.press("Tab")
    page.locator("h1").click()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
