"""What a reader is told of pictures under way, and how it waits: previews in order, of the rest the newest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.diffusion.samplers import Trajectory
from serve.ensembles.illustrator.checkpoints import Stage, pack
from serve.ensembles.illustrator.illustration import Checkpoint, Pixels, Preview, Progress, StreamOptions
from serve.ensembles.progress_stream import PREVIEW_PATIENCE_S, ProgressOutbox
from serve.observability.costs import current_cost

WAITING_PREVIEWS = 32
"""Of one request."""


@dataclass(frozen=True, eq=False)
class Unpacked:
    """A checkpoint to be: one that is replaced before it is read was never packed."""

    index: int
    stage: Stage
    fingerprint: str


class ProgressReporter:
    """Of one request, whose pictures have ``fingerprints``; those in ``begun`` go on from there."""

    def __init__(
        self,
        outbox: ProgressOutbox,
        follow: StreamOptions,
        fingerprints: Sequence[str],
        trajectory: Trajectory,
        begun: Mapping[int, Stage],
    ) -> None:
        self.outbox = outbox
        self.follow = follow
        self.fingerprints = fingerprints
        self.evaluations = len(trajectory)
        self._made = sum(stage.step for stage in begun.values())
        self._told_at = -float("inf")
        self._tell_progress()

    def of(self, index: int) -> PictureProgress:
        return PictureProgress(self, index)

    def count(self) -> None:
        """One evaluation more."""
        self._made += 1
        self._tell_progress()

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if self.follow.progress_s and now - self._told_at >= self.follow.progress_s:
            self._told_at = now
            renew(self.outbox, Progress(self._made, self.evaluations * len(self.fingerprints), current_cost()))


@dataclass(frozen=True, eq=False)
class PictureProgress:
    """The ``Watcher`` of picture ``index``."""

    report: ProgressReporter
    index: int

    def stepped(self, stage: Stage) -> None:
        self.report.count()
        every = self.report.follow.checkpoint_every
        if every and (stage.step % every == 0 or stage.step == self.report.evaluations):
            renew(self.report.outbox, Unpacked(self.index, stage, self.report.fingerprints[self.index]))

    async def shown(self, step: int, pixels: Pixels) -> None:
        await lay(self.report.outbox, Preview(self.index, step, self.report.evaluations, pixels))


class Seen:
    """What a reader of one request was told, of whom its pictures go on from ``resume``."""

    def __init__(self, resume: Sequence[Checkpoint]) -> None:
        self.checkpoints = {checkpoint.index: checkpoint for checkpoint in resume}
        """The last of each picture."""
        self._steps: dict[int | None, int] = {}

    def is_new(self, item: Preview | Progress | Checkpoint) -> bool:
        """Whether ``item`` is no repetition. A checkpoint never is: a replica that could use none began anew."""
        if isinstance(item, Checkpoint):
            self.checkpoints[item.index] = item
            return True
        place = item.index if isinstance(item, Preview) else None
        if item.step <= self._steps.get(place, -1):
            return False
        self._steps[place] = item.step
        return True


async def lay(outbox: ProgressOutbox, item: Preview | Progress | Checkpoint) -> None:
    if isinstance(item, Preview):
        await outbox.offer(item, PREVIEW_PATIENCE_S)
    else:
        renew(outbox, item)


def renew(outbox: ProgressOutbox, item: Progress | Checkpoint | Unpacked) -> None:
    """Of what was not read only the newest Progress waits, and the newest checkpoint of each picture."""
    outbox.renew("progress" if isinstance(item, Progress) else f"checkpoint {item.index}", item)


async def packed(item: Any) -> Any:
    """``item`` for a reader: packed while the next steps are made."""
    if isinstance(item, Unpacked):
        return await asyncio.to_thread(pack, item.index, item.stage, item.fingerprint)
    return item
