"""Allow-lists for SVG: elements, attributes and values that draw, and can neither run code nor fetch anything."""

from __future__ import annotations

import re

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
