"""Decodes pictures of responses and reads their metadata with Pillow."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image


def opened(text: str) -> Image.Image:
    """The picture in base64 or in a ``data:`` URL."""
    image = Image.open(io.BytesIO(content(text)))
    image.load()
    return image


def content(text: str) -> bytes:
    return base64.b64decode(text.rpartition(",")[2], validate=True)


def infotext(image: Image.Image) -> str | None:
    """AUTOMATIC1111's infotext, read from where the format stores it."""
    if image.format == "PNG":
        return image.info.get("parameters")
    comment = image.getexif().get_ifd(0x8769).get(0x9286)
    return None if comment is None else comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


def record(image: Image.Image) -> dict[str, Any] | None:
    """The metadata record, a JSON object."""
    text = image.info.get("atelier") if image.format == "PNG" else image.getexif().get(0x010E)
    return None if text is None else json.loads(text)
