"""Icons, the pictures made of them, and their types.

The benchmark and the training share one entry: ``samples(split, conditions, sizes, limit, seed)``.
"""

from build_engines.data.degrade import CONDITIONS, Condition
from build_engines.data.icons import ICON_SETS, Icon, Split, install, installed, load, load_split
from build_engines.data.samples import SIZES, Sample, draw, samples

__all__ = [
    "CONDITIONS",
    "ICON_SETS",
    "SIZES",
    "Condition",
    "Icon",
    "Sample",
    "Split",
    "draw",
    "install",
    "installed",
    "load",
    "load_split",
    "samples",
]
