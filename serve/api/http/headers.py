"""What answers tell browsers not to do with them, and names of files that are safe to save under (C-102)."""

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
"""Of every answer that says nothing else. An answer runs nothing, loads nothing, and is nobody's frame."""

SVG = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"}
"""An SVG may hold scripts; ours never does, and this makes sure that no browser would run one."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Devices of Windows, which no file can be called."""
_LONGEST = 200


def of_files(allowed_origins: Sequence[str]) -> dict[str, str]:
    """Pages of the same site may show pictures; pages of others, where the site lets any of them call."""
    return {"Cross-Origin-Resource-Policy": "cross-origin" if allowed_origins else "same-site"}


def disposition(kind: str, name: str) -> str:
    """``Content-Disposition`` (RFC 6266): ``name`` twice when it is not ASCII, roughly and as it is.

    What could end the header, leave a folder, hide how a name ends or name a device is no part of it.
    """
    named = "".join(character if _is_plain(character) else "_" for character in name[-_LONGEST:])
    plain = unicodedata.normalize("NFKD", named).encode("ascii", "ignore").decode()
    plain = "".join(character if _is_plain(character) else "_" for character in plain)  # some become quotes or slashes
    roughly = _started(plain)
    told = f'{kind}; filename="{roughly}"'
    return told if named.isascii() else f"{told}; filename*=UTF-8''{quote(_started(named), safe='')}"


def _started(name: str) -> str:
    """With what a file's name may begin with."""
    return f"picture{name}" if name[:1] in ("", "-", ".", " ") or _RESERVED.match(name) else name


def _is_plain(character: str) -> bool:
    return character in "-_.() " or (
        unicodedata.category(character)[0] in "LMNS" and character not in '"\\/:*?<>|%`$^~=+'
    )
