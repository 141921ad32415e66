"""URLs in answers."""

from __future__ import annotations

from serve.security.signing import signed_urls
from serve.settings import Settings


def address(settings: Settings, path: str) -> str:
    """The whole URL of ``path``, which begins with a slash: below `http.public_url`, else where HTTP listens."""
    return own_url(settings) + path


def own_url(settings: Settings) -> str:
    """Without a slash at its end."""
    if settings.http.public_url is not None:
        return settings.http.public_url.rstrip("/")
    host = settings.http.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def result_url(settings: Settings, result_id: str) -> str:
    """The URL of a picture or a drawing."""
    return shown_url(settings, f"/v1/results/{result_id}")


def shown_url(settings: Settings, path: str, query: str = "") -> str:
    """The URL of a resource that a browser loads by itself, without a key: signed if the site needs keys.

    ``query`` is added beside the signature.
    """
    shown = signed_urls.public_url(settings, path)
    return address(settings, f"{shown}{'&' if '?' in shown else '?'}{query}" if query else shown)


def thumbnail_url(settings: Settings, result_id: str) -> str:
    """The URL of its thumbnail, a WebP."""
    return shown_url(settings, f"/v1/results/{result_id}/thumbnail")
