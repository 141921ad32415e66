"""The styles of this site: the built-in ones and its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import Request

from serve.ensembles.restyler.style_files import StyleFile, read_style_files
from serve.errors import InvalidRequest
from serve.security.sanitising.svg import sanitise
from serve.settings import Settings
from serve.settings.section import project_path
from serve.vector.palette_style import svg_in_style

BUILT_IN = project_path(Path("deployments/style_transfer"))


def site_styles(settings: Settings) -> Mapping[str, StyleFile]:
    """The built-in styles and the site's own, by name. Raises InvalidRequest: a site does not start with a bad file."""
    own = settings.pictures.style_pictures
    try:
        return read_style_files([BUILT_IN, *([own] if own is not None else [])])
    except InvalidRequest as error:
        raise InvalidRequest(error.message, "pictures.style_pictures") from None


def styles_of(request: Request) -> Mapping[str, StyleFile]:
    found: Mapping[str, StyleFile] = request.app.state.style_pictures
    return found


def style_named(styles: Mapping[str, StyleFile], name: str, field: str) -> StyleFile:
    """By its name or one of its other names. Raises InvalidRequest naming ``field``."""
    wanted = name.strip().lower()
    for style in styles.values():
        if wanted == style.entry.name or wanted in style.entry.aliases:
            return style
    raise InvalidRequest(f"there is no style {name[:64]!a}; GET /api/style-transfer/styles lists them", field)


def restyled_svg(data: bytes, style: StyleFile, strength: float) -> tuple[str, dict[str, str]]:
    """The SVG, sanitised, in the colours of ``style``, and what each of its colours became.

    Raises UnsupportedMedia, TooLarge and BadImage naming ``svg``.
    """
    return svg_in_style(sanitise(data, field="svg").svg.decode(), style.entry.colors, strength)
