"""Progress reporting: previews are queued in order; of progress and checkpoints only the newest is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.diffusion.samplers import Trajectory
from serve.ensembles.illustrator.checkpoints import Stage, pack
from serve.ensembles.illustrator.illustration import Pixels
from serve.ensembles.illustrator.service import Checkpoint, Preview, Progress, StreamOptions
from serve.ensembles.progress_stream import PREVIEW_TIMEOUT_S, ProgressOutbox
from serve.observability.costs import current_cost

MAX_WAITING_PREVIEWS = 32
"""Per request."""


@dataclass(frozen=True, eq=False)
class UnpackedCheckpoint:
    """A checkpoint that is packed only when it is read."""

    index: int
    stage: Stage
    fingerprint: str


class ProgressReporter:
    """Reports the progress of one request. Pictures have ``fingerprints``; those in ``resumed`` continue from a
    stage."""

    def __init__(
        self,
        outbox: ProgressOutbox,
        stream_options: StreamOptions,
        fingerprints: Sequence[str],
        trajectory: Trajectory,
        resumed: Mapping[int, Stage],
        second_evaluations: int = 0,
        passes: int = 1,
        framed: Callable[[Pixels, int], Pixels] | None = None,
    ) -> None:
        """``second_evaluations``: of all passes of each picture after its first. ``passes`` show previews, each
        ``framed``, where it is given, by the number of its pass; another one reports steps alone."""
        self.outbox = outbox
        self.stream_options = stream_options
        self.fingerprints = fingerprints
        self.evaluations = len(trajectory)
        self.passes = passes
        self.framed = framed
        self._total = (self.evaluations + second_evaluations) * len(fingerprints)
        self._made = sum(stage.step for stage in resumed.values())
        self._reported_at = -float("inf")
        self._report_progress()

    def of(self, index: int, candidates: int = 1) -> PictureProgress:
        """The observer of drawing ``index``; every ``candidates`` consecutive ones are of one picture, and of these
        only the first shows previews."""
        return PictureProgress(self, index, index // candidates, index % candidates == 0)

    def second_pass(self) -> SecondPassProgress:
        """The observer of a second pass."""
        return SecondPassProgress(self)

    def later_pass(self, picture: int, number: int) -> LaterPassProgress:
        """The observer of pass ``number`` of ``picture``; the first is 0."""
        return LaterPassProgress(self, picture, number)

    async def show(self, picture: int, step: int, number: int, pixels: Pixels) -> None:
        """A preview after ``step`` evaluations of pass ``number``."""
        if self.framed is not None:
            pixels = await asyncio.to_thread(self.framed, pixels, number)
        done = number * self.evaluations + step
        await publish(self.outbox, Preview(picture, done, self.passes * self.evaluations, pixels))

    def count(self) -> None:
        """Count one evaluation."""
        self._made += 1
        self._report_progress()

    def _report_progress(self) -> None:
        now = time.monotonic()
        if self.stream_options.progress_s and now - self._reported_at >= self.stream_options.progress_s:
            self._reported_at = now
            publish_latest(self.outbox, Progress(self._made, self._total, current_cost()))


@dataclass(frozen=True, eq=False)
class PictureProgress:
    """The ``StepObserver`` of drawing ``index``, which is a candidate for ``picture``."""

    report: ProgressReporter
    index: int
    picture: int
    shows_previews: bool

    def on_step(self, stage: Stage) -> None:
        self.report.count()
        every = self.report.stream_options.checkpoint_every
        if every and (stage.step % every == 0 or stage.step == self.report.evaluations):
            publish_latest(
                self.report.outbox, UnpackedCheckpoint(self.index, stage, self.report.fingerprints[self.index])
            )

    async def on_preview(self, step: int, pixels: Pixels) -> None:
        await self.report.show(self.picture, step, 0, pixels)


@dataclass(frozen=True, eq=False)
class LaterPassProgress:
    """The ``StepObserver`` of a later pass of ``picture``: it has no checkpoints."""

    report: ProgressReporter
    picture: int
    number: int
    shows_previews: bool = True

    def on_step(self, stage: Stage) -> None:
        self.report.count()

    async def on_preview(self, step: int, pixels: Pixels) -> None:
        await self.report.show(self.picture, step, self.number, pixels)


@dataclass(frozen=True, eq=False)
class SecondPassProgress:
    """The ``StepObserver`` of a second pass: it has neither previews nor checkpoints."""

    report: ProgressReporter
    shows_previews: bool = False

    def on_step(self, stage: Stage) -> None:
        self.report.count()

    async def on_preview(self, step: int, pixels: Pixels) -> None:
        """There are none."""


class StreamDeduplicator:
    """Removes repeated items after a retry, and keeps the last checkpoints for it."""

    def __init__(self, resume: Sequence[Checkpoint]) -> None:
        self.checkpoints = {checkpoint.index: checkpoint for checkpoint in resume}
        """The last checkpoint by picture."""
        self._steps: dict[int | None, int] = {}

    def is_new(self, item: Preview | Progress | Checkpoint) -> bool:
        """Whether ``item`` is not a repetition. Checkpoints always are new: a replica may have restarted from zero."""
        if isinstance(item, Checkpoint):
            self.checkpoints[item.index] = item
            return True
        place = item.index if isinstance(item, Preview) else None
        if item.step <= self._steps.get(place, -1):
            return False
        self._steps[place] = item.step
        return True


async def publish(outbox: ProgressOutbox, item: Preview | Progress | Checkpoint) -> None:
    if isinstance(item, Preview):
        await outbox.offer(item, PREVIEW_TIMEOUT_S)
    else:
        publish_latest(outbox, item)


def publish_latest(outbox: ProgressOutbox, item: Progress | Checkpoint | UnpackedCheckpoint) -> None:
    """Replace an unread progress, or an unread checkpoint of the same picture."""
    outbox.put_latest("progress" if isinstance(item, Progress) else f"checkpoint {item.index}", item)


async def pack_item(item: Any) -> Any:
    """``item`` for the reader; checkpoints are packed in a thread, while the next steps run."""
    if isinstance(item, UnpackedCheckpoint):
        return await asyncio.to_thread(pack, item.index, item.stage, item.fingerprint)
    return item
