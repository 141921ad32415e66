"""Sanitises untrusted SVG: parsed by expat, written again with allow-listed elements, attributes and values (C-102).

Scripts, event handlers, external references, style sheets and entities are dropped. Drawings that are too expensive to
render are rejected: a dozen nested ``use`` elements, or patterns of patterns, are a few lines of text and billions of
shapes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from serve.errors import BadImage, TooLarge, UnsupportedMedia

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
XML = "http://www.w3.org/XML/1998/namespace"

_ELEMENTS = """
svg g defs symbol use title desc path rect circle ellipse line polyline polygon text tspan linearGradient radialGradient
stop pattern clipPath mask marker filter feBlend feColorMatrix feComponentTransfer feComposite feDropShadow feFlood
feFuncA feFuncB feFuncG feFuncR feGaussianBlur feMerge feMergeNode feMorphology feOffset feTile
"""
ELEMENTS = frozenset(_ELEMENTS.split())
"""None that runs (script), fetches (image, feImage, a), embeds (foreignObject, style) or changes (animate, set)."""

_STYLES = """
clip-path clip-rule color color-interpolation color-interpolation-filters display dominant-baseline fill fill-opacity
fill-rule filter flood-color flood-opacity font-family font-size font-stretch font-style font-variant font-weight
letter-spacing marker-end marker-mid marker-start mask mix-blend-mode opacity overflow paint-order shape-rendering
stop-color stop-opacity stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit
stroke-opacity stroke-width text-anchor text-decoration text-rendering vector-effect visibility word-spacing
writing-mode
"""
STYLES = frozenset(_STYLES.split())
"""Also allowed in a ``style`` attribute, whose declarations become attributes."""

_ATTRIBUTES = """
amplitude clipPathUnits cx cy d dx dy exponent filterUnits fr fx fy gradientTransform gradientUnits height id in in2
intercept k1 k2 k3 k4 lengthAdjust markerHeight markerUnits markerWidth maskContentUnits maskUnits mode offset operator
orient pathLength patternContentUnits patternTransform patternUnits points preserveAspectRatio primitiveUnits r radius
refX refY result rotate rx ry slope spreadMethod stdDeviation tableValues textLength transform transform-origin type
values version viewBox width x x1 x2 y y1 y2
"""
ATTRIBUTES = STYLES | frozenset(_ATTRIBUTES.split())

PLAIN = re.compile(r"[-+\w\s.,:#%()*/]*", re.ASCII)
"""Numbers, words, colours, functions; no quotes or escapes, nothing that ends an attribute or a declaration."""
FAMILY = re.compile(r"[-\w\s,'\"]*")
NAME = re.compile(r"[A-Za-z_][\w.:-]{0,255}", re.ASCII)
INSIDE = re.compile(r"url\(\s*(['\"]?)#([A-Za-z_][\w.:-]{0,255})\1\s*\)([-\w\s.,#%()]*)", re.ASCII)
"""A paint, mask, … of the same document, and an optional fallback."""
FETCHES = re.compile(r"url|src\s*\(|image|attr\s*\(|element\s*\(|expression|script|import|data:|//", re.IGNORECASE)


_ROOT = ""


class References:
    """Counts how many elements are rendered when all references are expanded; each element counts for the nearest
    enclosing one with an id."""

    def __init__(self) -> None:
        self._elements_by_id: Counter[str] = Counter()
        self._uses: dict[str, Counter[str]] = {_ROOT: Counter()}
        self._enclosing = [_ROOT]

    def start(self, attributes: Mapping[str, str]) -> None:
        enclosing = self._enclosing[-1]
        name = attributes.get("id", enclosing)
        if name != enclosing:
            self._uses.setdefault(name, Counter())
            self._uses[enclosing][name] += 1
        self._enclosing.append(name)
        self._elements_by_id[name] += 1
        for key, value in attributes.items():
            if key == "href":
                self._uses[name][value[1:]] += 1
            elif "url" in value and (inside := INSIDE.fullmatch(value.strip())):
                self._uses[name][inside[2]] += 1

    def end(self) -> None:
        self._enclosing.pop()

    def rendered_count(self, limit: int) -> int | None:
        """The number of elements, or more than ``limit``; None for circular references."""
        try:
            order = list(TopologicalSorter({name: set(uses) for name, uses in self._uses.items()}).static_order())
        except CycleError:
            return None
        total: dict[str, int] = {}
        for name in order:
            uses = self._uses.get(name, Counter())
            total[name] = min(limit + 1, self._elements_by_id[name] + sum(total[one] * n for one, n in uses.items()))
        return total[_ROOT]


MEBIBYTE = 1024 * 1024
FIELD = "image"
_SEPARATOR = " "
_TEXT_ELEMENTS = ("text", "tspan", "title", "desc")


@dataclass(frozen=True)
class SvgLimits:
    """``max_drawn`` counts referenced elements once per reference."""

    max_bytes: int = 10 * MEBIBYTE
    max_elements: int = 100_000
    max_depth: int = 64
    max_drawn: int = 1_000_000


@dataclass(frozen=True)
class Sanitised:
    """``removed`` names what was removed, such as ``script`` or ``@onload``."""

    svg: bytes
    removed: frozenset[str]


def sanitise(data: bytes, limits: SvgLimits = SvgLimits(), field: str = FIELD) -> Sanitised:
    """``data`` as UTF-8 with allow-listed content only.

    Raises UnsupportedMedia for data that is no SVG, TooLarge, BadImage for broken XML, a document type, entities, and
    circular references.
    """
    if len(data) > limits.max_bytes:
        raise TooLarge(f"has {len(data)} bytes, more than the {limits.max_bytes} allowed", field)
    writer = _Writer(limits, field)
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    parser.StartDoctypeDeclHandler = writer.document_type
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError):  # broken XML, or an unknown encoding
        raise _parse_error(writer, field) from None
    return writer.done()


def _parse_error(writer: _Writer, field: str) -> BadImage | UnsupportedMedia:
    if writer.has_started:
        return BadImage("is an SVG that is broken or cut off", field)
    return UnsupportedMedia("is no SVG", field)


class _Writer:
    """Handles expat's events, and writes what is allowed."""

    def __init__(self, limits: SvgLimits, field: str) -> None:
        self._limits = limits
        self._field = field
        self._parts: list[str] = []
        self._open: list[str] = []
        self._skipping = 0
        # Depth within removed elements.
        self._depth = 0
        self._elements = 0
        self._removed: set[str] = set()
        self._references = References()

    @property
    def has_started(self) -> bool:
        return self._elements > 0

    def document_type(self, *_: object) -> None:
        raise BadImage("must have no document type and no entities", self._field)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._check_limits()
        namespace, _, local = name.rpartition(_SEPARATOR)
        known = namespace == SVG and local in ELEMENTS
        if not self._open and (not known or local != "svg"):
            raise UnsupportedMedia("is no SVG: its root must be svg, of SVG's namespace", self._field)
        if self._skipping or not known:
            self._skipping += 1
            self._removed.add(local)
            return
        allowed = self._allowed_attributes(attributes)
        self._open.append(local)
        self._references.start(allowed)
        space = f' xmlns="{SVG}"' if len(self._open) == 1 else ""
        self._parts.append(f"<{local}{space}{''.join(f' {key}={quoteattr(value)}' for key, value in allowed.items())}>")

    def end(self, name: str) -> None:
        self._depth -= 1
        if self._skipping:
            self._skipping -= 1
            return
        self._references.end()
        self._parts.append(f"</{self._open.pop()}>")

    def text(self, text: str) -> None:
        if not self._skipping and (text.isspace() or self._open[-1] in _TEXT_ELEMENTS):
            self._parts.append(escape(text))

    def done(self) -> Sanitised:
        rendered_count = self._references.rendered_count(self._limits.max_drawn)
        if rendered_count is None:
            raise BadImage("refers to itself", self._field)
        if rendered_count > self._limits.max_drawn:
            raise TooLarge(f"draws more than {self._limits.max_drawn} elements, by references", self._field)
        return Sanitised("".join(self._parts).encode(), frozenset(self._removed))

    def _check_limits(self) -> None:
        self._elements += 1
        self._depth += 1
        if self._elements > self._limits.max_elements:
            raise TooLarge(f"has more than {self._limits.max_elements} elements", self._field)
        if self._depth > self._limits.max_depth:
            raise TooLarge(f"has elements nested more than {self._limits.max_depth} deep", self._field)

    def _allowed_attributes(self, attributes: Mapping[str, str]) -> dict[str, str]:
        allowed: dict[str, str] = {}
        for name, value in attributes.items():
            namespace, _, local = name.rpartition(_SEPARATOR)
            if local == "href" and namespace in ("", XLINK):
                is_allowed = value.startswith("#") and NAME.fullmatch(value[1:]) is not None
            elif namespace == XML and local == "space":
                local, is_allowed = "xml:space", value in ("default", "preserve")
            else:
                is_allowed = not namespace and local in ATTRIBUTES and _is_allowed_value(local, value)
            if is_allowed:
                allowed.setdefault(local, value)
            elif not (local == "style" and not namespace):
                self._removed.add(f"@{local}")
        allowed.update(self._style_attributes(attributes.get("style", "")))
        return allowed

    def _style_attributes(self, style: str) -> dict[str, str]:
        """Its declarations as equivalent attributes."""
        found: dict[str, str] = {}
        for declaration in filter(str.strip, style.split(";")):
            name, _, value = (part.strip() for part in declaration.partition(":"))
            if name in STYLES and _is_allowed_value(name, value):
                found[name] = value
            else:
                self._removed.add("@style")
        return found


def _is_allowed_value(name: str, value: str) -> bool:
    if name == "font-family":
        return FAMILY.fullmatch(value) is not None
    if name in ("id", "result", "in", "in2"):
        return NAME.fullmatch(value) is not None
    if not FETCHES.search(value):
        return PLAIN.fullmatch(value) is not None
    inside = INSIDE.fullmatch(value.strip())
    return inside is not None and not FETCHES.search(inside[3])
