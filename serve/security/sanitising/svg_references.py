"""How much a drawing draws once everything that refers to something else in it is drawn where it stands.

A dozen nested ``use``, or patterns of patterns, are a few lines of text and billions of shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from serve.security.sanitising.svg_allowlist import INSIDE

_ROOT = ""


class References:
    """Told of elements as they begin and end; each counts for the nearest around it that has an id."""

    def __init__(self) -> None:
        self._drawn: Counter[str] = Counter()
        self._uses: dict[str, Counter[str]] = {_ROOT: Counter()}
        self._around = [_ROOT]

    def start(self, attributes: Mapping[str, str]) -> None:
        around = self._around[-1]
        name = attributes.get("id", around)
        if name != around:
            self._uses.setdefault(name, Counter())
            self._uses[around][name] += 1
        self._around.append(name)
        self._drawn[name] += 1
        for key, value in attributes.items():
            if key == "href":
                self._uses[name][value[1:]] += 1
            elif "url" in value and (inside := INSIDE.fullmatch(value.strip())):
                self._uses[name][inside[2]] += 1

    def end(self) -> None:
        self._around.pop()

    def drawn(self, most: int) -> int | None:
        """How many elements, or more than ``most``; None where something refers to itself."""
        try:
            order = list(TopologicalSorter({name: set(uses) for name, uses in self._uses.items()}).static_order())
        except CycleError:
            return None
        total: dict[str, int] = {}
        for name in order:
            uses = self._uses.get(name, Counter())
            total[name] = min(most + 1, self._drawn[name] + sum(total[one] * n for one, n in uses.items()))
        return total[_ROOT]
