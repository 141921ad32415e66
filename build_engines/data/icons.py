"""The icons that the engines learn from, and how they are split.

Four openly licensed icon sets, installed at build time from npm into the git-ignored folder ``var/icons`` and
never committed. ``metadata.json`` of the packages is not read: only ``icons.json`` (bodies and sizes).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from build_engines.data import packages
from serve.settings import project_path

VAR = project_path("var")
ICONS_DIR = VAR / "icons"

Split = Literal["train", "val", "test"]
SPLIT_SHARES: dict[Split, float] = {"train": 0.80, "val": 0.08, "test": 0.12}


@dataclass(frozen=True)
class IconSet:
    """One npm package of icons; ``license`` is its SPDX id as its own ``info.json`` states it."""

    name: str
    version: str
    license: str
    author: str

    @property
    def package(self) -> str:
        return f"@iconify-json/{self.name}"


ICON_SETS = (
    IconSet("logos", "1.2.19", "CC0-1.0", "Gil Barbara"),
    IconSet("noto", "1.2.9", "Apache-2.0", "Google Inc"),
    IconSet("fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation"),
    IconSet("flat-color-icons", "1.2.3", "MIT", "Icons8"),
)


@dataclass(frozen=True)
class Icon:
    """One icon: ``body`` is the SVG content inside the view box ``(left, top, width, height)``."""

    set: str
    name: str
    body: str
    view_box: tuple[float, float, float, float]

    @property
    def split(self) -> Split:
        return split_of(self.name)

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.view_box[2] / self.view_box[3]

    def svg(self, background: str | None = None) -> str:
        """The whole SVG document; ``background`` is a CSS colour laid under it, or None for transparent."""
        left, top, width, height = (f"{v:g}" for v in self.view_box)
        under = (
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{background}"/>' if background else ""
        )
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{under}{self.body}</svg>'
        )


_PEOPLE = re.compile(r"\b(man|woman|men|women|person|people|mx|mrs|boy|girl)\b")
_VARIANT = re.compile(r"-(icon|wordmark|mono|alt|dark|light|black|white|color|old|new|\d{4})$")


def stem_of(name: str) -> str:
    """The name less what makes variants of one drawing: ``vue-icon`` → ``vue``, ``woman-cook`` → ``cook``."""
    stem = re.sub(r"-+", "-", _PEOPLE.sub("", name)).strip("-")
    while (shorter := _VARIANT.sub("", stem)) != stem:
        stem = shorter
    return stem or name


def split_of(name: str) -> Split:
    """The split of an icon, from a hash of its name's stem: the same drawing in two sets falls in the same split."""
    position = int.from_bytes(hashlib.sha256(stem_of(name).encode()).digest()[:4], "big") / 2**32
    for split, share in SPLIT_SHARES.items():
        if position < share:
            return split
        position -= share
    return "test"


_SKIN = re.compile(r"-(medium-light|medium-dark|light|medium|dark)(-skin-tone)?$")


def is_variant(name: str, names: Iterable[str]) -> bool:
    """Whether ``name`` is a flag, or a skin tone of another icon among ``names``."""
    if "skin-tone" in name or name.startswith(("flag-", "flags-")):
        return True
    shorter = _SKIN.sub("", name)
    return shorter != name and shorter in names


# Bodies that a renderer without style sheets or outside files draws wrongly, or that have no colour of their own.
_UNFIT = re.compile(r"currentColor|<(?:style|image|feImage|text)\b")


def read_set(icon_set: IconSet, folder: Path) -> list[Icon]:
    """The icons of one installed package, sorted by name; hidden (renamed) ones and emoji variants left out."""
    data = packages.read_json(folder, icon_set.package, "icons.json")
    emoji = icon_set.name in {"noto", "fluent-emoji-flat"}
    return [i for i in icons_of(icon_set.name, data) if not (emoji and is_variant(i.name, data["icons"]))]


def icons_of(icon_set: str, data: dict[str, Any]) -> list[Icon]:
    """The icons of ``icons.json`` in Iconify's format, sorted by name; hidden and unfit ones left out."""
    default_width, default_height = data.get("width", 16), data.get("height", 16)
    icons = []
    for name, entry in sorted(data["icons"].items()):
        if entry.get("hidden") or _UNFIT.search(entry["body"]):
            continue
        width, height = entry.get("width", default_width), entry.get("height", default_height)
        box = (float(entry.get("left", 0)), float(entry.get("top", 0)), float(width), float(height))
        icons.append(Icon(icon_set, name, entry["body"], box))
    return icons


def _order(icon: Icon) -> str:
    return hashlib.sha256(f"{icon.set}/{icon.name}".encode()).hexdigest()


@cache
def load(folder: Path = ICONS_DIR) -> tuple[Icon, ...]:
    """All icons, in an order that mixes the sets and is the same everywhere.

    Raises FileNotFoundError with the command to run when the packages are not installed.
    """
    if not installed(folder):
        raise FileNotFoundError(f"no icons under {folder}: run `python -m build_engines data`")
    return tuple(sorted((icon for s in ICON_SETS for icon in read_set(s, folder)), key=_order))


def load_split(split: Split, folder: Path = ICONS_DIR) -> tuple[Icon, ...]:
    return tuple(icon for icon in load(folder) if icon.split == split)


def installed(folder: Path = ICONS_DIR) -> bool:
    return all((packages.path_of(folder, s.package) / "icons.json").is_file() for s in ICON_SETS)


def install(folder: Path = ICONS_DIR) -> None:
    """``npm install`` the four packages, at fixed versions and without scripts, into ``folder``."""
    packages.install(folder, [f"{s.package}@{s.version}" for s in ICON_SETS])
