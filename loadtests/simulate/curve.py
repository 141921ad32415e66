"""What a denoising step costs, by the number of pictures in its batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Curve:
    """``milliseconds`` by pictures in a batch; between them in a line, and none above the largest, the cap.

    ``between_ms``: from a picture's step to the request for its next one (sampler, transport), in which the engine is
    free for others. ``fixed_ms``: text encoder and VAE of a picture, which take the GPU as well. ``start_s``: from a
    decision to a replica that draws.
    """

    name: str
    source: str
    milliseconds: Mapping[int, float]
    between_ms: float = 0.0
    fixed_ms: float = 0.0
    start_s: float = 0.0
    _sizes: tuple[int, ...] = field(init=False, repr=False)
    _table: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = tuple(sorted(self.milliseconds))
        if not sizes or sizes[0] != 1 or min(self.milliseconds.values()) <= 0:
            raise ValueError("a curve begins with a batch of 1 and has times above 0")
        object.__setattr__(self, "_sizes", sizes)
        object.__setattr__(self, "_table", tuple(self._between(n) / 1e3 for n in range(1, sizes[-1] + 1)))

    @property
    def cap(self) -> int:
        return self._sizes[-1]

    def step_s(self, pictures: int) -> float:
        return self._table[pictures - 1]

    def alone_s(self, steps: int) -> float:
        """A picture with nobody else there."""
        return self.fixed_ms / 1e3 + steps * (self.step_s(1) + self.between_ms / 1e3)

    def per_second(self, steps: float) -> float:
        """The most pictures of so many steps that one replica can draw, whatever their latency."""
        return max(n / (n * self.fixed_ms / 1e3 + steps * self.step_s(n)) for n in range(1, self.cap + 1))

    def share_alone(self, steps: float) -> float:
        """Of `per_second`: what it draws one at a time."""
        return 1 / (self.fixed_ms / 1e3 + steps * self.step_s(1)) / self.per_second(steps)

    @property
    def gain(self) -> float:
        """Of batching: steps a second with the best batch to those with none."""
        return max(n * self.step_s(1) / self.step_s(n) for n in range(1, self.cap + 1))

    def _between(self, pictures: int) -> float:
        right = bisect_left(self._sizes, pictures)
        high = self._sizes[right]
        if high == pictures:
            return self.milliseconds[high]
        low = self._sizes[right - 1]
        part = (pictures - low) / (high - low)
        return self.milliseconds[low] + part * (self.milliseconds[high] - self.milliseconds[low])
