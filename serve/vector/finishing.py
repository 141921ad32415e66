"""What is done to a traced SVG at the end: colours of a palette, no background, other elements, classes, a title."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from serve.vector.ids import with_own_ids, with_prefix
from serve.vector.recolour import SVG, svg_in_palette
from serve.vector.rewrite.rewrite import Rewrite

SHAPES = ("path", "rect", "circle", "ellipse")
_CANVAS_PATH = re.compile(r"M0 0[hH]([\d.]+)[vV]([\d.]+)H0[zZ]")


@dataclass(frozen=True)
class Finish:
    """``palette``: colours (#rrggbb) that fills and strokes take, each the nearest. ``remove_background``: leave out an
    area that fills the whole canvas at the bottom. ``classes``: elements of one colour have one class, and the root
    an id, for style sheets. ``title``: the document's title. ``id_prefix``: what all ids begin with. ``rewrite``: other
    curves, groups, outlines."""

    palette: Sequence[str] = ()
    remove_background: bool = False
    classes: bool = False
    title: str = ""
    id_prefix: str = ""
    rewrite: Rewrite = field(default_factory=Rewrite)

    def apply(self, svg: str, decimals: int = 1) -> str:
        """``svg``, as our tracers write it, finished; the same text if nothing is to be done. ``decimals`` of what is
        rewritten."""
        if self.palette:
            svg = with_own_ids(svg_in_palette(svg, self.palette))  # the same drawing in two palettes may share a page
        if self.remove_background:
            svg = _edited(svg, _remove_canvas)
        svg = self.rewrite.apply(svg, decimals)
        if self.classes or self.title:
            svg = _edited(svg, self._name)
        return with_prefix(svg, self.id_prefix) if self.id_prefix else svg

    def _name(self, root: ElementTree.Element) -> None:
        if self.classes:
            _add_classes(root)
        if self.title:
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = self.title
            root.insert(0, title)


def _edited(svg: str, edit: Callable[[ElementTree.Element], None]) -> str:
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    edit(root)
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _remove_canvas(root: ElementTree.Element) -> None:
    """Remove the lowest shape if it covers the canvas."""
    parents = {child: parent for parent in root.iter() for child in parent}
    lowest = next((element for element in root.iter() if _tag(element) in SHAPES), None)
    if lowest is None or "id" in lowest.attrib or not _covers(lowest, root):
        return  # one with an id is used elsewhere
    parents[lowest].remove(lowest)


def _covers(element: ElementTree.Element, root: ElementTree.Element) -> bool:
    box = [float(value) for value in root.get("viewBox", "0 0 0 0").split()]
    match = _CANVAS_PATH.fullmatch(element.get("d", ""))
    if match is not None:
        return float(match[1]) >= box[2] and float(match[2]) >= box[3]
    if _tag(element) != "rect" or element.get("transform") or element.get("fill") == "none" or element.get("rx"):
        return False
    left, top, width, height = (float(element.get(name, 0)) for name in ("x", "y", "width", "height"))
    return left <= 0 and top <= 0 and left + width >= box[2] and top + height >= box[3]


def _add_classes(root: ElementTree.Element) -> None:
    """A class a paint, ``fill-d93a3a`` or ``stroke-d93a3a``; gradients are named by their id."""
    root.set("id", "drawing")
    for element in root.iter():
        if _tag(element) not in (*SHAPES, "use", "g"):
            continue
        names = [f"{of}-{re.sub('[^0-9A-Za-z]', '', paint.removeprefix('url'))}"
                 for of in ("fill", "stroke") if (paint := element.get(of, "none")) != "none"]  # fmt: skip
        if names:
            element.set("class", " ".join(names))
