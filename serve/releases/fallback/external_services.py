"""Request and response formats of external image services."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Protocol
from urllib.parse import quote

from pydantic import SecretStr
from yarl import URL

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.releases.fallback.http_calls import ExternalCallFailed, RequestRejected
from serve.settings import FallbackStep

Size = tuple[int, int]
"""(width, height) in px."""


class Service(Protocol):
    """One external service. Methods raise ExternalCallFailed; RequestRejected if it rejects or cannot serve the
    request."""

    def size(self, wanted: Size) -> Size:
        """The nearest size it can draw."""

    def request(self, options: IllustrateOptions, size: Size, seed: int) -> bytes: ...
    def call(self, body: bytes, key: SecretStr | None) -> tuple[URL, dict[str, str]]:
        """URL and headers of the request with ``body``."""

    def picture(self, answer: Mapping[str, Any]) -> str:
        """The picture in base64."""


def service_of(step: FallbackStep) -> Service:
    """Raises ValueError for an unknown Bedrock model."""
    return OpenAIImages(step) if step.kind == "openai" else create_bedrock_service(step)


def nearest(wanted: Size, sizes: Sequence[Size]) -> Size:
    """Nearest by aspect ratio, then by number of pixels."""
    shape, pixels = wanted[0] / wanted[1], wanted[0] * wanted[1]

    def off(size: Size) -> tuple[float, int]:
        return max(size[0] / size[1] / shape, shape * size[1] / size[0]), abs(size[0] * size[1] - pixels)

    return min(sizes, key=off)


def parse_sizes(step: FallbackStep) -> list[Size]:
    pairs = (size.split("x") for size in step.sizes)
    return [(int(width), int(height)) for width, height in pairs]


_BASE64_MODELS = ("gpt-image", "chatgpt-image")
"""Models that always answer in base64 and reject ``response_format``."""


class OpenAIImages:
    """`POST /images/generations` below ``base_url``, which ends in /v1 like OpenAI's."""

    def __init__(self, step: FallbackStep) -> None:
        self._step = step
        self._sizes = parse_sizes(step)

    def size(self, wanted: Size) -> Size:
        return nearest(wanted, self._sizes) if self._sizes else wanted

    def request(self, options: IllustrateOptions, size: Size, seed: int) -> bytes:
        request: dict[str, Any] = {"model": self._step.model, "prompt": options.prompt, "n": 1}
        request["size"] = f"{size[0]}x{size[1]}"
        if not self._step.model.startswith(_BASE64_MODELS):
            request["response_format"] = "b64_json"
        return json.dumps(request).encode()

    def call(self, body: bytes, key: SecretStr | None) -> tuple[URL, dict[str, str]]:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        return URL(f"{self._step.base_url}/images/generations", encoded=True), headers

    def picture(self, answer: Mapping[str, Any]) -> str:
        return _first_text(answer.get("data"), "b64_json")


class Bedrock:
    """Bedrock's InvokeModel, signed with SigV4 or authorised with a Bedrock API key."""

    def __init__(self, step: FallbackStep) -> None:
        self._step = step
        self._sizes = parse_sizes(step)
        base = step.base_url or f"https://bedrock-runtime.{step.region}.amazonaws.com"
        self._url = URL(f"{base}/model/{quote(step.model, safe='')}/invoke", encoded=True)

    def call(self, body: bytes, key: SecretStr | None) -> tuple[URL, dict[str, str]]:
        if key is None:
            raise ExternalCallFailed("has no key here")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        access, _, rest = key.get_secret_value().partition(":")
        if not rest:
            return self._url, {**headers, "Authorization": f"Bearer {access}"}
        secret, _, session = rest.partition(":")
        credentials = Credentials(access, secret, session or None)
        scope = (self._step.region or "", "bedrock")
        headers = signed("POST", self._url, headers, body, credentials, scope, datetime.now(UTC))
        return self._url, headers


class AmazonImages(Bedrock):
    """Titan Image Generator v2 and Nova Canvas (Bedrock User Guide, "Amazon Titan Image Generator G1 models", and Nova
    User Guide, "Request and response structure for image generation")."""

    def __init__(self, step: FallbackStep) -> None:
        super().__init__(step)
        self._is_titan = "titan" in step.model
        self._max_prompt_characters = 512 if self._is_titan else 1024
        self._seeds = 2_147_483_647 if self._is_titan else 858_993_460

    def size(self, wanted: Size) -> Size:
        if self._sizes or self._is_titan:
            return nearest(wanted, self._sizes or _TITAN_SIZES)
        width, height = (min(2048, max(320, 16 * round(side / 16))) for side in wanted)
        return min(width, 4 * height), min(height, 4 * width)

    def request(self, options: IllustrateOptions, size: Size, seed: int) -> bytes:
        texts = {"text": options.prompt}
        if len(options.negative_prompt) >= 3:
            texts["negativeText"] = options.negative_prompt
        if any(len(text) > self._max_prompt_characters for text in texts.values()):
            raise RequestRejected(f"takes at most {self._max_prompt_characters} characters of a prompt")
        made: dict[str, Any] = {"numberOfImages": 1, "width": size[0], "height": size[1], "seed": seed % self._seeds}
        if options.guidance_scale is not None:
            made["cfgScale"] = min(10.0, max(1.1, options.guidance_scale))
        request = {"taskType": "TEXT_IMAGE", "textToImageParams": texts, "imageGenerationConfig": made}
        return json.dumps(request).encode()

    def picture(self, answer: Mapping[str, Any]) -> str:
        if answer.get("error"):
            raise RequestRejected("refused to draw this")
        return _first_text(answer.get("images"))


class StabilityImages(Bedrock):
    """Stable Image Core and Ultra, SD3.5 Large (Bedrock User Guide, "Stability AI models")."""

    def size(self, wanted: Size) -> Size:
        return nearest(wanted, self._sizes or list(_STABILITY_SHAPES))

    def request(self, options: IllustrateOptions, size: Size, seed: int) -> bytes:
        if len(options.prompt) > 10_000:
            raise RequestRejected("takes at most 10000 characters of a prompt")
        shape = nearest(size, list(_STABILITY_SHAPES))
        request = {"prompt": options.prompt, "mode": "text-to-image", "aspect_ratio": _STABILITY_SHAPES[shape]}
        if options.negative_prompt:
            request["negative_prompt"] = options.negative_prompt[:10_000]
        return json.dumps({**request, "seed": seed % 4_294_967_295, "output_format": "png"}).encode()

    def picture(self, answer: Mapping[str, Any]) -> str:
        reasons = answer.get("finish_reasons")
        if isinstance(reasons, list) and any(reasons):
            raise RequestRejected("refused to draw this")
        return _first_text(answer.get("images"))


_REGION = re.compile(r"^(us|us-gov|eu|apac|au|ca|jp|global)\.")
_KINDS: Mapping[str, type[AmazonImages] | type[StabilityImages]] = {
    "amazon.titan-image-generator-v2": AmazonImages,
    "amazon.nova-canvas-": AmazonImages,
    "stability.stable-image-": StabilityImages,
    "stability.sd3": StabilityImages,
}
_TITAN_SIZES: Sequence[Size] = (
    (512, 512), (768, 768), (1024, 1024), (768, 1152), (384, 576), (1152, 768), (576, 384), (768, 1280), (384, 640),
    (1280, 768), (640, 384), (896, 1152), (448, 576), (1152, 896), (576, 448), (768, 1408), (384, 704), (1408, 768),
    (704, 384), (640, 1408), (320, 704), (1408, 640), (704, 320), (1152, 640), (1173, 640),
)  # fmt: skip
_STABILITY_SHAPES: Mapping[Size, str] = {
    (1024, 1024): "1:1", (1344, 768): "16:9", (768, 1344): "9:16", (1536, 640): "21:9", (640, 1536): "9:21",
    (1216, 832): "3:2", (832, 1216): "2:3", (1088, 896): "5:4", (896, 1088): "4:5",
}  # fmt: skip


def create_bedrock_service(step: FallbackStep) -> Service:
    """Select by model id; inference profile ids have a region prefix."""
    model = _REGION.sub("", step.model)
    for prefix, kind in _KINDS.items():
        if model.startswith(prefix):
            return kind(step)
    raise ValueError(f"no model of Bedrock that is known here: {', '.join(_KINDS)}")


def _first_text(found: Any, name: str | None = None) -> str:
    """The first item of a list, or its member ``name``."""
    first = found[0] if isinstance(found, list) and found else None
    if name is not None:
        first = first.get(name) if isinstance(first, dict) else None
    if not isinstance(first, str):
        raise ExternalCallFailed("answered without a picture")
    return first


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
