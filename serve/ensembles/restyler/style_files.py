"""The styles that a site has: pictures whose style is taken, with names and colours, from ``styles.toml`` files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.errors import InvalidRequest

STYLES_FILE = "styles.toml"
MAX_STYLES = 200
MAX_PICTURE_BYTES = 4_000_000

_NAME = r"^[a-z0-9][a-z0-9 _-]{0,63}$"
_Name = Annotated[str, Field(pattern=_NAME)]
_Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


class StyleEntry(BaseModel):
    """A table ``[[style]]``. ``picture``: a file beside ``styles.toml``. ``colors``: its palette, for SVGs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    title: str = Field(min_length=1, max_length=100)
    description: str = Field("", max_length=300)
    aliases: tuple[_Name, ...] = Field((), max_length=10)
    picture: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}$")
    colors: tuple[_Colour, ...] = Field(min_length=2, max_length=32)


@dataclass(frozen=True)
class StyleFile:
    """One style with the content of its picture."""

    entry: StyleEntry
    data: bytes


def read_style_files(folders: Sequence[Path]) -> Mapping[str, StyleFile]:
    """By name, in the order of the files; a later folder replaces styles of the same name. Raises InvalidRequest with
    the reason."""
    found: dict[str, StyleFile] = {}
    for folder in folders:
        for entry in _entries(folder / STYLES_FILE):
            try:
                data = (folder / entry.picture).read_bytes()
            except OSError as error:
                raise InvalidRequest(f"{entry.picture} cannot be read ({type(error).__name__})") from None
            if len(data) > MAX_PICTURE_BYTES:
                raise InvalidRequest(f"{entry.picture} has more than {MAX_PICTURE_BYTES} bytes")
            found[entry.name] = StyleFile(entry, data)
    if len(found) > MAX_STYLES:
        raise InvalidRequest(f"has {len(found)} styles; at most {MAX_STYLES} are allowed")
    return found


def _entries(path: Path) -> list[StyleEntry]:
    try:
        document: Any = tomllib.loads(path.read_text())
        return [StyleEntry.model_validate(one) for one in document["style"]]
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read ({type(error).__name__})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{path.name}: style.{where}: {first['msg']}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path.name} is no list of [[style]] tables ({type(error).__name__})") from None
