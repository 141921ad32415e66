"""Byte sequences that are not or only nearly HTTP, and invalid WebSocket messages."""

from __future__ import annotations

from odd_values import Draw

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
_LINES = (
    b"GET", b"GET /", b"GET / HTTP/9.9", b"GET / HTTP/1.0", b"GET  / HTTP/1.1", b"get / http/1.1", b"\0\0\0\0",
    b"PRI * HTTP/2.0", b"GET http://e.vil/ HTTP/1.1", b"GET //e.vil/ HTTP/1.1", b"GET /\xff\xfe HTTP/1.1",
    b"GET /a b HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /%zz%0d%0aX:1 HTTP/1.1",
    b"POST /v1/jobs HTTP/1.1", b"POST /api/convert HTTP/1.1", b"GET /v1/jobs HTTP/1.1",
    b"HEAD /v1/results/x HTTP/1.1", b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"\x16\x03\x01\x02\0\x01",
    b"X" * 300 + b" / HTTP/1.1", b"GET /health/live HTTP/1.1", b"SSH-2.0-x", b"GET / HTTP/1.1\n", b"GET /\t HTTP/1.1",
    b"POST /v1/images/generations HTTP/1.1", b"GET /v1/jobs/" + b"0" * 32 + b"/ws HTTP/1.1",
)  # fmt: skip
_HEADS = (
    b"Host: a", b"Host: a\r\nHost: b", b"Host:", b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5, 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 0x5",
    b"Content-Length: +5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked", b"X\0Y: 1", b"X: \0", b"X: a\r\n b", b" X: 1", b": 1", b"nothing",
    b"X: " + b"a" * 70_000, b"\xff: \xff", b"Expect: 100-continue", b"Connection: upgrade\r\nUpgrade: websocket",
    _UPGRADE + b"dGhlIHNhbXBsZSBub25jZQ==", _UPGRADE + b"short",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", b"Range: bytes=0-", b"Connection: close",
    b"Connection: keep-alive, keep-alive", b"Content-Type: application/json", b"X-Request-Id: a\x0bb",
)  # fmt: skip
_BODIES = (
    b"", b"5\r\nhello\r\n0\r\n\r\n", b"z\r\nhello\r\n", b"-5\r\nhello\r\n", b"5\r\nhell", b"ffffffffffffffffff\r\n",
    b"5;a=b\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"0\r\nX: 1\r\n\r\n",
    b"0\r\n\r\nGET /v1/jobs HTTP/1.1\r\nHost: a\r\n\r\n", b"hello", b"{}", b"{", b"\0" * 100,
    b"5\r\nhelloXX0\r\n\r\n", b"00000000000000000000005\r\nhello\r\n0\r\n\r\n", b"\x81\x85\0\0\0\0hello",
    b"\x81\xff" + b"\xff" * 8, b"\x8f\x80\0\0\0\0", b"\x09\xfe\xff\xff", b"\xc1\x80\0\0\0\0", b"\x88\x81\0\0\0\0a",
    b"\x81\x05hello",
)  # fmt: skip

MESSAGES: tuple[str | bytes, ...] = (
    "", "{}", "{", "null", '{"type": "cancel"}', '{"type": 7}', '{"type": "cancel", "type": "x"}', b"", b"\0\xff",
    "x" * 5000, "[" * 4000, '{"type": NaN}', '{"type": "\\ud800"}', "1" * 4000, '{"type": null}', "\0",
    "'; DROP TABLE jobs; --",
)  # fmt: skip


def raw(draw: Draw, key: bytes) -> bytes:
    """A nearly valid request, several, or noise. ``key`` is a header with a key, or empty."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(400)) + b"\r\n\r\n"
    heads = [draw.choice(_HEADS) for _ in range(draw.choice([0, 1, 2, 3, 120]))]
    if draw.random() < 0.7:
        heads.append(key)
    if draw.random() < 0.5:
        heads.append(b"Host: a")
    end = draw.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
    text = end.join([draw.choice(_LINES), *filter(None, heads)]) + draw.choice([end * 2, end * 2, end * 2, end, b""])
    text += draw.choice(_BODIES)
    return text * draw.choice([1, 1, 1, 2, 5]) if len(text) < 5000 else text
