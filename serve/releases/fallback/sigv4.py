"""AWS Signature Version 4 of a request with a body (AWS, "Create a signed AWS API request", IAM User Guide)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from urllib.parse import quote

from yarl import URL

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


def signed(
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    scope: tuple[str, str],
    now: datetime,
) -> dict[str, str]:
    """``headers`` plus the signature. ``scope``: (region, service). ``url`` is sent as it is, encoded.

    For services that encode the path twice: all except S3.
    """
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    day, (region, service) = time[:8], scope
    signed_headers = {**headers, "Host": url.raw_authority, "X-Amz-Date": time}
    if credentials.session_token is not None:
        signed_headers["X-Amz-Security-Token"] = credentials.session_token
    lines = {name.lower(): " ".join(value.split()) for name, value in signed_headers.items()}
    names = ";".join(sorted(lines))
    parts = sorted(part.partition("=")[::2] for part in url.raw_query_string.split("&") if part)
    query = "&".join(f"{name}={value}" for name, value in parts)
    canonical = "\n".join(
        [
            method, quote(url.raw_path or "/", safe="/-_.~"), query,
            *(f"{name}:{lines[name]}" for name in sorted(lines)), "", names, hashlib.sha256(body).hexdigest(),
        ]
    )  # fmt: skip
    credential_scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join([_ALGORITHM, time, credential_scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = f"AWS4{credentials.secret_access_key}".encode()
    key = reduce(_mac, (day, region, service, "aws4_request"), secret)
    signed_headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{credential_scope}, "
        f"SignedHeaders={names}, Signature={_mac(key, to_sign).hex()}"
    )
    return signed_headers


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
