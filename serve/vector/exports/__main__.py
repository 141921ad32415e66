"""`python -m serve.vector.exports FORMAT SCALE` exports the SVG on standard input to standard output.

The libraries hold the interpreter's lock for as long as a drawing takes, so each export has a process of its own.
"""

from __future__ import annotations

import sys

from serve.vector.exports.formats import export
from serve.vector.svg import run_process


def main(name: str, scale: float) -> int:
    return run_process(lambda svg: export(svg, name, scale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
