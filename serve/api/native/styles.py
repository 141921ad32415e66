"""`GET /api/styles`, and the styles of drawing requests: a named bundle, several with weights, a user's preferences."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from serve.api.http.models import Number, RequestModel, Text, weighted_names
from serve.diffusion import styles
from serve.diffusion.styles import MAX_MIXED, MAX_WEIGHT, MixedStyles, Style, StyleLora
from serve.errors import InvalidRequest
from serve.settings import Settings
from serve.settings.section import project_path

LOGGER = logging.getLogger(__name__)

router = APIRouter()

BUILT_IN = project_path(Path("deployments/styles.toml"))
REREAD_S = 5.0
"""A site's files are read again at most this often, when they have changed."""
_CHOICE = re.compile(r"\s*([a-z0-9][a-z0-9 _-]*?)\s*(?::\s*([0-9.]{1,16})\s*)?", re.ASCII)
_PREFERENCES: Mapping[str, str] = {"artisticStyle": "style", "colorPalette": "palette", "mood": "mood"}


class StyleBook:
    """The styles of a site: the built-in ones and those of its folder's ``*.toml``, in the order of their names."""

    def __init__(self, folder: Path | None) -> None:
        """Raises InvalidRequest for a file that cannot be used: a site does not start with it."""
        self._folder = folder
        self._state: object = None
        self._checked_at = 0.0
        self._styles: Mapping[tuple[str, str], Style] = {}
        self._read()

    def all(self) -> Sequence[Style]:
        return tuple(self._current().values())

    def find(self, kind: str, name: str) -> Style | None:
        return self._current().get((kind, name))

    def named(self, name: str, field: str) -> Style:
        """Of any kind, styles first. Raises InvalidRequest naming ``field``."""
        for kind in styles.KINDS:
            if (style := self.find(kind, name)) is not None:
                return style
        raise InvalidRequest(f"there is no style {name[:64]!a}; GET /api/styles lists them", field)

    def mixed(self, body: StyleFields, prompt: str, negative_prompt: str) -> MixedStyles:
        """The prompts with the styles of ``body``. Raises InvalidRequest naming ``styles``."""
        chosen = [(self.named(choice.name, "styles"), choice.weight) for choice in body.styles or ()]
        return styles.mix(prompt, negative_prompt, chosen)

    def preferred(self, preferences: Mapping[str, str]) -> dict[str, Style]:
        """The styles that a user's preferences name, by preference; other texts are words of their own."""
        found = {name: self.find(kind, preferences.get(name, "")) for name, kind in _PREFERENCES.items()}
        return {name: style for name, style in found.items() if style is not None}

    def _current(self) -> Mapping[tuple[str, str], Style]:
        if self._folder is not None and time.monotonic() - self._checked_at >= REREAD_S:
            try:
                self._read()
            except InvalidRequest as error:
                self._checked_at = time.monotonic()
                LOGGER.error("styles are those read before: %s", error)
        return self._styles

    def _read(self) -> None:
        files = sorted(self._folder.glob("*.toml")) if self._folder is not None else []
        try:
            state = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        except OSError as error:
            raise InvalidRequest(f"cannot be read ({type(error).__name__})", "pictures.styles") from None
        self._checked_at = time.monotonic()
        if state == self._state:
            return
        try:
            self._styles = styles.load_styles([BUILT_IN, *files])
        except InvalidRequest as error:
            raise InvalidRequest(error.message, "pictures.styles") from None
        self._state = state


class StyleChoice(RequestModel):
    name: Annotated[Text, Field(min_length=1, max_length=64)]
    weight: Annotated[Number, Field(gt=0, le=MAX_WEIGHT)] = 1.0


class StyleFields(RequestModel):
    styles: Annotated[
        list[StyleChoice] | None,
        weighted_names(_CHOICE, MAX_MIXED, "storybook:0.6, ink:0.4"),
        Field(max_length=MAX_MIXED, description="of GET /api/styles: names, or names with weights that are mixed"),
    ] = None


async def styles_of(request: Request) -> StyleBook:
    return book_of(request)


def book_of(request: Request) -> StyleBook:
    """The styles of this process, which `create_app` has read."""
    state = request.app.state
    if not hasattr(state, "styles"):
        settings: Settings = state.settings
        state.styles = StyleBook(settings.pictures.styles)
    book: StyleBook = state.styles
    return book


StylesOf = Annotated[StyleBook, Depends(styles_of)]


class StyleInfo(BaseModel):
    name: str
    kind: Literal["style", "palette", "mood"]
    prompt: str
    negative_prompt: str
    colors: list[str]
    loras: list[StyleLora]
    num_inference_steps: int | None
    guidance_scale: float | None
    sampler: str | None


class StylesResponse(BaseModel):
    artistic_styles: Annotated[list[StyleInfo], Field(description="of stylePreferences.artisticStyle, and of styles")]
    color_palettes: Annotated[list[StyleInfo], Field(description="of stylePreferences.colorPalette")]
    moods: Annotated[list[StyleInfo], Field(description="of stylePreferences.mood")]


@router.get("/api/styles", response_model=StylesResponse, response_description="All of them")
async def list_styles(book: StylesOf) -> Any:
    """The styles of this site, by what they are for."""
    known = [style.model_dump() for style in book.all()]
    lists = zip(("artistic_styles", "color_palettes", "moods"), styles.KINDS, strict=True)
    return {name: [style for style in known if style["kind"] == kind] for name, kind in lists}
