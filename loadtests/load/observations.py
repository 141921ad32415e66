"""What users see beside waiting times, counted in locust's process and read in the one that judges."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

LATE_S = 0.1
"""Sent later than so after it was due, a request was late."""


@dataclass
class Observations:
    """``began``: the run, by the clock of the day. ``due``: requests of a rate; ``late`` of them were sent more than
    ``LATE_S`` after that, or never (``unsent``). ``started`` and ``counted``: users, and their units of work, by class.

    ``cache``: answers by what the cache had to do with them. ``errors``: by kind of request, then by text.
    """

    began: float = 0.0
    due: int = 0
    late: int = 0
    unsent: int = 0
    worst_late_s: float = 0.0
    previews: int = 0
    started: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    errors: dict[str, Counter[str]] = field(default_factory=dict)

    def came(self, late_s: float) -> None:
        self.due += 1
        self.late += late_s > LATE_S
        self.worst_late_s = max(self.worst_late_s, late_s)

    def could_not_be_sent(self) -> None:
        self.due += 1
        self.late += 1
        self.unsent += 1

    def failed(self, kind: str, text: str) -> None:
        self.errors.setdefault(kind, Counter())[text] += 1

    @property
    def late_ratio(self) -> float:
        return self.late / self.due if self.due else 0.0

    @property
    def hit_ratio(self) -> float:
        return self.cache["hit"] / self.cache.total() if self.cache else 0.0

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Observations:
        content = json.loads(path.read_text())
        for name in ("started", "counted", "cache"):
            content[name] = Counter(content[name])
        content["errors"] = {kind: Counter(texts) for kind, texts in content["errors"].items()}
        return cls(**content)
