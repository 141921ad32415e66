"""Security headers of answers, and safe file names for downloads (C-102)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import quote

API: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Defaults of every answer: it may not run scripts, load anything, or be shown in a frame."""

SVG = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"}
"""An SVG may contain scripts. Atelier's never do; this header keeps browsers from running any."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names of devices on Windows, which no file can have."""
_MAX_CHARACTERS = 200


def of_files(allowed_origins: Sequence[str]) -> dict[str, str]:
    """Pages of the same site may show pictures; pages of other sites only if the site allows other origins."""
    return {"Cross-Origin-Resource-Policy": "cross-origin" if allowed_origins else "same-site"}


def disposition(kind: str, name: str) -> str:
    """``Content-Disposition`` (RFC 6266). A ``name`` that is not ASCII occurs twice: as an ASCII form and in UTF-8.

    Characters that could end the header, leave the folder, hide the extension or name a device are replaced.
    """
    named = "".join(character if _is_plain(character) else "_" for character in name[-_MAX_CHARACTERS:])
    plain = unicodedata.normalize("NFKD", named).encode("ascii", "ignore").decode()
    plain = "".join(character if _is_plain(character) else "_" for character in plain)  # some become quotes or slashes
    ascii_name = _with_valid_start(plain)
    header = f'{kind}; filename="{ascii_name}"'
    return header if named.isascii() else f"{header}; filename*=UTF-8''{quote(_with_valid_start(named), safe='')}"


def _with_valid_start(name: str) -> str:
    """``name``, prefixed where a file's name may not begin so."""
    return f"picture{name}" if name[:1] in ("", "-", ".", " ") or _RESERVED.match(name) else name


def _is_plain(character: str) -> bool:
    return character in "-_.() " or (
        unicodedata.category(character)[0] in "LMNS" and character not in '"\\/:*?<>|%`$^~=+'
    )
