"""Client of the native HTTP API for the command line. Standard library only."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from serve.errors import AtelierError, EngineUnavailable, InvalidRequest, Unauthorized

KEY_HINT = "Commands show the key that access.key (ATELIER_ACCESS__KEY) holds"


class StackClient:
    """Client of a running stack. Every failure is an ``AtelierError`` with the server's reason."""

    def __init__(self, url: str, timeout_s: float = 120.0, key: SecretStr | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest("must look like http://127.0.0.1:8000", "url")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._parts = parts
        self._timeout_s = timeout_s
        self._key = {"Authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}

    def reachable(self) -> bool:
        try:
            return self._send("GET", "/health/live", timeout_s=2.0)[0] == 200
        except EngineUnavailable:
            return False

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every engine answered a real inference, and the report by engine."""
        status, body = self._send("GET", "/health/ready", timeout_s=10.0)
        return status == 200, body

    def health(self) -> dict[str, Any]:
        return self._checked(*self._send("GET", "/api/ai-health"))

    def vectorize(self, image: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        """The response of ``POST /api/convert-ai``; ``options`` are its form fields."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in options.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'.encode()
        body = b"".join([*parts, head, image, f"\r\n--{boundary}--\r\n".encode()])
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._checked(*self._send("POST", "/api/convert-ai", body, headers))

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> tuple[int, dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=timeout_s or self._timeout_s)
        try:
            connection.request(method, path, body, {**self._key, **(headers or {})})
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error if isinstance(error, OSError) else type(error).__name__  # others may contain the key
            raise EngineUnavailable(f"no stack answers at {self.url} ({reason})") from None
        finally:
            connection.close()
        return response.status, document if isinstance(document, dict) else {}

    @staticmethod
    def _checked(status: int, body: dict[str, Any]) -> dict[str, Any]:
        if status >= 400:
            if status == Unauthorized.status:
                raise Unauthorized(f"{body.get('detail', 'needs an API key')}. {KEY_HINT}")
            kind = InvalidRequest if status < 500 else AtelierError
            raise kind(str(body.get("detail", f"the stack answered {status}")), body.get("field"))
        return body
