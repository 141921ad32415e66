"""SVG sanitiser: removes scripts, external references and endless work, and keeps the appearance (C-102)."""

from __future__ import annotations

import gzip
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import ACCEPTED

from serve.errors import AtelierError, BadImage, TooLarge, UnsupportedMedia
from serve.security.sanitising.svg import SvgLimits, sanitise
from serve.vector.image import decode
from serve.vector.parameters import CoverageParameters, VTracerParameters
from serve.vector.svg import to_png
from serve.vector.trace import trace

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">'


def svg(inside: str, head: str = HEAD) -> bytes:
    return f"{head}{inside}</svg>".encode()


HOSTILE = [
    "<script>alert(1)</script>",
    "<script href='https://e.vil/a.js'/>",
    "<SCRIPT>alert(1)</SCRIPT>",
    "<script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>",
    "<h:script xmlns:h='http://www.w3.org/1999/xhtml'>1</h:script>",
    "<rect onload='alert(1)'/>",
    "<rect onclick='alert(1)'/>",
    "<rect ONMOUSEOVER='alert(1)'/>",
    "<g onfocusin='alert(1)' tabindex='1'/>",
    "<a href='javascript:alert(1)'><rect/></a>",
    "<a xlink:href='https://e.vil'><rect/></a>",
    "<use href='https://e.vil/a.svg#x'/>",
    "<use xlink:href='data:image/svg+xml;base64,AAAA#x'/>",
    "<use href='//e.vil#x'/>",
    "<use href='java&#115;cript:alert(1)'/>",
    "<use href=' #x'/>",
    "<use href='#x/../a'/>",
    "<image href='https://e.vil/a.png'/>",
    "<image xlink:href='file:///etc/passwd'/>",
    "<image href='data:image/png;base64,AA'/>",
    "<feImage href='https://e.vil/a.png'/>",
    "<foreignObject><iframe src='https://e.vil'/></foreignObject>",
    "<foreignObject><body xmlns='http://www.w3.org/1999/xhtml' onload='alert(1)'/></foreignObject>",
    "<style>@import 'https://e.vil/a.css';</style>",
    "<style>rect{fill:url(https://e.vil)}</style>",
    "<style><![CDATA[*{background:url(//e.vil)}]]></style>",
    "<style>&lt;/style&gt;&lt;script&gt;alert(1)</style>",
    "<rect style='fill:url(https://e.vil/a.svg#b)'/>",
    "<rect style='background-image:url(//e.vil)'/>",
    "<rect style='fill:red;behavior:url(#default)'/>",
    "<rect style='fill:u\\72l(//e.vil)'/>",
    "<rect style=\"fill:url('//e.vil')\"/>",
    "<rect fill='url(https://e.vil/a.svg#b)'/>",
    "<rect fill='url( &quot;//e.vil#b&quot; )'/>",
    "<rect mask='URL(//e.vil#m)'/>",
    "<rect filter='url(//e.vil#f)'/>",
    "<rect fill='url(#a) url(//e.vil)'/>",
    "<rect fill='u\\72 l(//e.vil)'/>",
    "<rect clip-path='image-set(\"//e.vil\" 1x)'/>",
    "<rect marker-end='url(data:image/svg+xml,AA#b)'/>",
    "<set attributeName='href' to='javascript:alert(1)'/>",
    "<animate attributeName='href' values='javascript:alert(1)'/>",
    "<animate attributeName='onload' to='alert(1)'/>",
    "<animateTransform/>",
    "<handler type='text/javascript'>alert(1)</handler>",
    "<iframe src='https://e.vil'/>",
    "<embed src='https://e.vil'/>",
    "<object data='https://e.vil'/>",
    "<video src='//e.vil'/>",
    "<rect xml:base='https://e.vil/'/>",
    "<rect href='https://e.vil'/>",
    "<switch><script>1</script></switch>",
    "<metadata><script>1</script></metadata>",
    "<rect font-family='a;b:url(//e.vil)'/>",
    "<rect id='a\" onload=\"alert(1)'/>",
    "<rect fill='red&quot; onload=&quot;alert(1)'/>",
    "<listener xmlns='http://www.w3.org/2001/xml-events' event='load'/>",
    "<font-face-src><font-face-uri href='//e.vil'/></font-face-src>",
    "<link xmlns='http://www.w3.org/1999/xhtml' href='//e.vil'/>",
    "<x:rect xmlns:x='https://other' fill='red'/>",
    "<rect cursor='url(//e.vil),auto'/>",
    "<rect class='x' data-x='javascript:'/>",
]
LAUGHS = ("ab", "bc", "cd", "de", "ef", "fg", "gh", "hi", "ij")
EVIL = re.compile(
    rb"e\.vil|alert|script|<style|style=|\son\w+\s*=|foreignObject|file:|data:|https?://(?!www\.w3\.org/2000/svg)", re.I
)


@pytest.mark.parametrize("inside", HOSTILE)
def test_scripts_and_external_references_are_removed(inside: str) -> None:
    data = svg(f"<circle r='4'/>{inside}<circle r='3'/>")
    result = sanitise(data)
    assert not EVIL.search(result.svg), result.svg
    assert result.svg.count(b"<circle ") == 2
    assert result.removed
    assert not sanitise(result.svg).removed


@pytest.mark.parametrize(
    "head",
    [
        "<!DOCTYPE svg>",
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">',
        '<!DOCTYPE svg [<!ENTITY a "b">]>',
        '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE svg [<!ENTITY % a SYSTEM "https://e.vil/a.dtd"> %a;]>',
        "<!DOCTYPE svg [<!ENTITY a 'ha'>" + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in LAUGHS) + "]>",
        '<!DOCTYPE svg [<!ATTLIST svg onload CDATA "alert(1)">]>',
    ],
)
def test_document_type_is_refused(head: str) -> None:
    with pytest.raises(BadImage, match="document type"):
        sanitise(head.encode() + svg("<text>&j;</text>" if "ENTITY j" in head else ""))


def test_processing_instructions_and_comments_are_removed() -> None:
    result = sanitise(
        b"<?xml version='1.0'?><?xml-stylesheet href='//e.vil/a.css'?><!-- <script> -->" + svg("<!-- x --><g/>")
    )
    assert result.svg == b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g></g></svg>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_every_encoding_becomes_utf8(encoding: str) -> None:
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = (
        f"<?xml version='1.0' encoding='{declared}'?>"
        + svg("<text>Gänse &lt;script&gt; &#38;</text><script>ä</script>").decode()
    )
    result = sanitise(text.encode(encoding)).svg.decode()
    assert "<text>Gänse &lt;script&gt; &amp;</text></svg>" in result


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", UnsupportedMedia),
        (b"\0", UnsupportedMedia),
        (b"<html><script>1</script></html>", UnsupportedMedia),
        (b"<svg/>", UnsupportedMedia),
        (b"<svg xmlns='https://other'/>", UnsupportedMedia),
        (gzip.compress(svg(""), mtime=0), UnsupportedMedia),
        (b"+ADw-svg+AD4-", UnsupportedMedia),
        (svg("<g>"), BadImage),
        (svg("")[:-1], BadImage),
        (svg("<g>&nbsp;</g>"), BadImage),
        (svg("") + b"<script/>", BadImage),
        (b"<?xml version='1.0' encoding='utf-7'?>" + svg(""), UnsupportedMedia),
        (b"<?xml version='1.0' encoding='rot13'?>" + svg(""), UnsupportedMedia),
        (svg("<g id='a' id='b'/>"), BadImage),
        (svg("\x01"), BadImage),
        (svg("<g xlink:href='#a' z:x='1'/>"), BadImage),
    ],
)
def test_invalid_svg_is_refused(data: bytes, kind: type[AtelierError]) -> None:
    with pytest.raises(kind) as caught:
        sanitise(data, field="logo")
    assert type(caught.value) is kind
    assert caught.value.field == "logo"


def nested(inside: str, times: int) -> bytes:
    """Each level draws the level below ten times: ``inside`` has {below} and {n}."""
    levels = "".join(inside.format(n=n, below=n - 1) for n in range(1, times))
    return svg(f"<g id='l0'><rect/></g>{levels}<use href='#l{times - 1}'/>")


@pytest.mark.parametrize(
    "data",
    [
        nested("<g id='l{n}'>" + "<use href='#l{below}'/>" * 10 + "</g>", 12),
        nested("<g id='l{n}'>" + "<use xlink:href='#l{below}'/>" * 10 + "</g>", 12),
        nested("<pattern id='l{n}'>" + "<rect fill='url(#l{below})'/>" * 10 + "</pattern>", 12),
        nested("<pattern id='l{n}'>" + "<rect style='fill: url(#l{below}) red'/>" * 10 + "</pattern>", 12),
        nested("<mask id='l{n}'>" + "<rect mask='url( \"#l{below}\" )'/>" * 10 + "</mask>", 12),
        nested("<clipPath id='l{n}'>" + "<rect clip-path='url(#l{below})'/>" * 10 + "</clipPath>", 12),
        nested("<marker id='l{n}'>" + "<path marker-mid='url(#l{below})'/>" * 10 + "</marker>", 12),
        svg("<g>" * 65 + "</g>" * 65),
        svg("<script>" * 65 + "</script>" * 65),
        svg("<g/>" * 100_001),
        svg(" " * (10 * 1024 * 1024)),
    ],
    ids=["use", "xlink", "pattern", "style", "mask", "clip", "marker", "deep", "deep script", "many", "large"],
)
def test_exponential_and_oversized_svgs_are_refused(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(TooLarge):
        sanitise(data)
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "inside",
    [
        "<use id='a' href='#a'/>",
        "<g id='a'><use href='#a'/></g>",
        "<g id='a'><use href='#b'/></g><g id='b'><use href='#a'/></g>",
        "<pattern id='a'><rect fill='url(#a)'/></pattern>",
    ],
)
def test_self_references_are_refused(inside: str) -> None:
    with pytest.raises(BadImage, match="refers to itself"):
        sanitise(svg(inside))


ART = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="90" height="90"
 viewBox="0 0 90 90"
 xmlns:sodipodi="http://sodipodi.example/dtd"><title>Äpfel &amp; Birnen</title>
<sodipodi:view zoom="1"/>
<defs><linearGradient id="a" x1="0" x2="1"><stop offset="0" stop-color="#f00"/>
<stop offset="1" stop-color="rgb(0, 0, 255)"/>
</linearGradient><radialGradient id="b" xlink:href="#a"/><clipPath id="c"><circle cx="45" cy="45" r="40"/></clipPath>
<filter id="f"><feGaussianBlur stdDeviation="2"/></filter>
<symbol id="s" viewBox="0 0 10 10"><path d="M0 0L10 10H0z"/></symbol></defs>
<g clip-path="url(#c)" transform="rotate(5 45 45)"><rect width="90" height="90" fill="url('#a')"/>
<ellipse cx="30" cy="60" rx="20" ry="10"
 style="fill: url(#b) red; stroke:#0a0; stroke-width:3px; stroke-dasharray:4 2"/>
<use href="#s" x="50" y="20" width="30" height="30" fill="yellow" opacity=".5"/>
<path d="M5,5 C20-5 40e0 20 80 70" fill="none"
 stroke="white" stroke-width="4" filter="url(#f)"/></g></svg>"""


def test_sanitised_svg_renders_identically() -> None:
    result = sanitise(ART.encode())
    assert result.removed == {"view"}
    assert to_png(result.svg.decode(), 180, 180) == to_png(ART, 180, 180)
    assert sanitise(result.svg).svg == result.svg
    assert "Äpfel &amp; Birnen" in result.svg.decode()


@pytest.mark.parametrize("name", ACCEPTED)
def test_traced_svgs_are_unchanged(name: str) -> None:
    rgba = decode(ACCEPTED[name]).rgba
    for text in (trace(rgba, CoverageParameters()), trace(rgba, VTracerParameters())):
        result = sanitise(text.encode())
        assert result.removed == frozenset()
        assert to_png(result.svg.decode(), 64, 64) == to_png(text, 64, 64)


@given(
    st.binary(max_size=400)
    | st.text(max_size=200).map(lambda text: svg(text))
    | st.sampled_from(HOSTILE).map(lambda text: svg(text)[:-9])
)
def test_arbitrary_bytes_are_sanitised_or_refused(data: bytes) -> None:
    try:
        safe = sanitise(data).svg
    except (BadImage, UnsupportedMedia):
        return
    assert not sanitise(safe).removed
    assert not EVIL.search(safe)


def test_limits_are_set_by_the_caller() -> None:
    with pytest.raises(TooLarge):
        sanitise(svg("<g/><g/>"), SvgLimits(max_elements=2))
