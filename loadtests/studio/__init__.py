"""How fast the web application is in a real browser: Web Vitals of each page, frames while something is dragged.

Begin with ``browser``. Run by ``python -m loadtests.benchmarks.studio``. Needs Chromium, and playwright, which drives
it.
"""
