"""Addresses in answers: signed where the site is not open to everybody, as they are where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from serve.security.identity.required import is_required
from serve.security.signing.signed_urls import SIGNATURE, UrlSigner
from serve.security.signing.site_secret import site_keys
from serve.settings import Settings

_PURPOSE = "links"


def is_limited(settings: Settings) -> bool:
    """Whether one needs a key to come in."""
    return settings.secrets.sign_links or is_required(settings)


def shown(settings: Settings, path: str, user: str = "", is_limited: Callable[[Settings], bool] = is_limited) -> str:
    """``path``, which has no query, as an answer tells it: signed for `secrets.link_s` where the site is limited."""
    return signer_of(settings).signed(path, settings.secrets.link_s, user) if is_limited(settings) else path


def opens(settings: Settings, path: str, values: Mapping[str, str], user: str = "") -> bool:
    """Whether who asks for ``path`` with the query ``values`` may come in without a key. For GET and HEAD alone."""
    return SIGNATURE in values and signer_of(settings).opens(path, values, user)


def signer_of(settings: Settings) -> UrlSigner:
    """Of this process. It needs the site's secret, so it is made at the first need."""
    return _signer(tuple(secret.get_secret_value() for secret in settings.secrets.keys), settings.state_dir)


@lru_cache(maxsize=8)
def _signer(keys: tuple[str, ...], state_dir: Path) -> UrlSigner:
    return UrlSigner(site_keys(keys, state_dir, _PURPOSE))
