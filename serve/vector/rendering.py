"""SVG to PNG with resvg.

It holds the interpreter's lock until it is done, and a large drawing takes seconds: `python -m serve.vector.rendering
WIDTH HEIGHT` does it in a process of its own, from standard input to standard output.
"""

from __future__ import annotations

import re
import resource
import sys

from resvg import render, usvg

from serve.vector.svg import with_size

GIBIBYTE = 1024**3
REFUSED = 3
"""Exit code for text that cannot be rendered; the reason is on standard error."""
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # rows of the matrix, as `affine` orders them
# Rejects text that could make the renderer read files or expand entities; internal references are allowed.
_REFUSED = re.compile(r"<!(?:DOCTYPE|ENTITY)|<(?:image|feImage|style)\b|href\s*=\s*(?:\"[^#\"]|'[^#'])", re.IGNORECASE)


def to_png(svg: str, width: int, height: int) -> bytes:
    """``svg`` filling exactly ``width`` x ``height``.

    For SVG text of our own tracers, and other text only as long as it refers to nothing outside itself. Raises
    ValueError for text that does, or that is not SVG.
    """
    if _REFUSED.search(svg):
        raise ValueError("the SVG refers to something outside itself")
    tree = usvg.Tree.from_str(with_size(svg, width, height), usvg.Options.default())
    return render(tree, _IDENTITY)


def main(width: int, height: int, seconds: int = 60) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (4 * GIBIBYTE, 4 * GIBIBYTE))
    try:
        png = to_png(sys.stdin.buffer.read().decode(), width, height)
    except ValueError as error:
        print(error, file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(png)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
