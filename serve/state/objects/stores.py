"""Opens the store that the settings name: a folder, S3, GCS or Azure."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from serve.errors import InvalidRequest
from serve.settings import ObjectsSettings

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_CLIENT_OPTIONS = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_ca_certificate", "user_agent")
"""Options of obstore's HTTP client, passed separately from those of the store."""


def local_folder_of(settings: ObjectsSettings, default: Path) -> Path | None:
    """The folder of ``settings.url``; None for a remote store."""
    if settings.url is None:
        return default.resolve()
    url = urlsplit(settings.url)
    folder = Path(unquote(url.path))
    return folder if url.scheme == "file" and url.netloc in ("", "localhost") and folder.is_absolute() else None


def open_store(settings: ObjectsSettings, default: Path) -> ObjectStore:
    """The store of ``settings.url``; a local folder is created if missing."""
    options: Any = {name: value.get_secret_value() for name, value in settings.options.items()}
    client: Any = {"allow_http": True, **{name: options.pop(name) for name in _CLIENT_OPTIONS if name in options}}
    retries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=settings.timeout_s)}
    try:
        if (folder := local_folder_of(settings, default)) is not None:
            return LocalStore(folder, mkdir=True)
        url = str(settings.url)
        if (parts := urlsplit(url)).password is not None or parts.query:
            raise InvalidRequest("must have no credentials in it; they go into objects.options", "objects.url")
        if parts.scheme not in _SCHEMES:
            raise InvalidRequest("must be file:///path, s3://bucket, gs://bucket or az://container", "objects.url")
        found: ObjectStore = from_url(url, config=options, retry_config=retries, client_options=client)
        return found
    except (BaseError, ValueError, TypeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        for secret in settings.options.values():  # error messages quote some options
            reason = reason.replace(secret.get_secret_value() or "\n", "***")
        raise InvalidRequest(f"is no store that can be used: {reason}", "objects.url") from None
