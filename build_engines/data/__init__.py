"""Training data: icons from npm packages, the pictures rendered of them, and their types.

Begin with ``icons`` and ``samples``. Imports ``serve.vector``, and no torch.
"""

from build_engines.data.degrade import CONDITIONS, Condition
from build_engines.data.icons import ICON_SETS, Icon, Split, install, installed, load, load_split
from build_engines.data.samples import Sample, draw

__all__ = [
    "CONDITIONS",
    "ICON_SETS",
    "Condition",
    "Icon",
    "Sample",
    "Split",
    "draw",
    "install",
    "installed",
    "load",
    "load_split",
]
