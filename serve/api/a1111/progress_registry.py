"""`ProgressRegistry`: the tasks of this vocabulary in progress, their progress, and each user's ``options``.

It belongs to one gateway process. On a site with several, a client sees and interrupts the requests of one only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from serve.ensembles.illustrator.service import Preview, Progress
from serve.errors import Cancelled

T = TypeVar("T")

MAX_USERS = 4096
"""Users whose options are kept; the oldest are dropped."""
_MAX_COMPLETED = 4096
"""Completed tasks whose ids are kept."""


@dataclass(eq=False)
class Task:
    """One request in progress, for ``pictures`` pictures; ``previews`` counts its previews so far."""

    id: str
    user_id: str
    pictures: int
    began: float = field(default_factory=time.monotonic)
    step: int = 0
    steps: int = 0
    preview: Preview | None = None
    previews: int = 0
    interrupted: bool = False
    _work: asyncio.Task[Any] | None = None

    @property
    def waits(self) -> bool:
        """Whether its drawing has not started."""
        return self.steps == 0

    @property
    def progress(self) -> float:
        return self.step / self.steps if self.steps else 0.0

    @property
    def eta_s(self) -> float:
        """Estimated seconds that remain; 0 while unknown."""
        passed_s = time.monotonic() - self.began
        return passed_s / self.progress - passed_s if self.progress else 0.0

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. Raises Cancelled after `interrupt`; its own cancellation cancels the work."""
        self._work = asyncio.create_task(work)
        try:
            result: T = await self._work
            return result
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise Cancelled("Interrupted") from None

    def interrupt(self) -> None:
        """Cancels the work, once: a second cancellation would interrupt the cleanup after the first."""
        if self.interrupted:
            return
        self.interrupted = True
        if self._work is not None:
            self._work.cancel()

    def progressed(self, progress: Progress) -> None:
        self.step, self.steps = progress.step, progress.steps

    def shown(self, preview: Preview) -> None:
        self.preview = preview
        self.previews += 1


class ProgressRegistry:
    """For one event loop; one per application, as ``app.state.a1111``."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._over: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._chosen: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    @contextlib.contextmanager
    def task(self, user_id: str, task_id: str, pictures: int) -> Iterator[Task]:
        """A task that is in progress for the duration of the block."""
        task = Task(task_id, user_id, pictures)
        self._tasks.append(task)
        try:
            yield task
        finally:
            self._tasks.remove(task)
            _remember(self._over, (user_id, task_id), None, _MAX_COMPLETED)

    def tasks_of(self, user_id: str) -> list[Task]:
        """The oldest first."""
        return [task for task in self._tasks if task.user_id == user_id]

    def find(self, user_id: str, task_id: str) -> Task | None:
        """The newest task with that id."""
        return next((task for task in reversed(self.tasks_of(user_id)) if task.id == task_id), None)

    def is_over(self, user_id: str, task_id: str) -> bool:
        """Whether the task is completed, as far as its id is still kept."""
        return (user_id, task_id) in self._over

    def chosen_by(self, user_id: str) -> Mapping[str, Any]:
        return self._chosen.get(user_id, {})

    def choose(self, user_id: str, chosen: Mapping[str, Any]) -> None:
        _remember(self._chosen, user_id, {**self.chosen_by(user_id), **chosen}, MAX_USERS)


async def registry_of(request: Request) -> ProgressRegistry:
    registry: ProgressRegistry = request.app.state.a1111
    return registry


ProgressRegistryOf = Annotated[ProgressRegistry, Depends(registry_of)]


def _remember(entries: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
