"""`ProgressRegistry`: the tasks of this vocabulary in progress, their progress, and each user's ``options``.

It is one gateway's. Where a site has several, progress and interruption are of those requests that this one has.
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

from serve.ensembles.illustrator.illustration import Preview, Progress
from serve.errors import Cancelled

T = TypeVar("T")

MOST_USERS = 4096
"""Whose choices are remembered."""
_MOST_OVER = 4096
"""Tasks that are remembered as completed."""


@dataclass(eq=False)
class Task:
    """One request under way, for ``pictures``; ``previews`` counts those that came of it."""

    id: str
    user_id: str
    pictures: int
    began: float = field(default_factory=time.monotonic)
    step: int = 0
    steps: int = 0
    preview: Preview | None = None
    previews: int = 0
    interrupted: bool = False
    _doing: asyncio.Task[Any] | None = None

    @property
    def waits(self) -> bool:
        """Whether it has not begun to be drawn."""
        return self.steps == 0

    @property
    def progress(self) -> float:
        return self.step / self.steps if self.steps else 0.0

    @property
    def eta_s(self) -> float:
        """0 as long as nobody knows."""
        passed_s = time.monotonic() - self.began
        return passed_s / self.progress - passed_s if self.progress else 0.0

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` comes to. Raises Cancelled when it is interrupted; cancelled, it cancels the work."""
        self._doing = asyncio.create_task(work)
        try:
            result: T = await self._doing
            return result
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if asking is not None and asking.cancelling():
                raise
            raise Cancelled("Interrupted") from None

    def interrupt(self) -> None:
        """Once: a second time would end what tidies up after the first."""
        if self.interrupted:
            return
        self.interrupted = True
        if self._doing is not None:
            self._doing.cancel()

    def progressed(self, progress: Progress) -> None:
        self.step, self.steps = progress.step, progress.steps

    def shown(self, preview: Preview) -> None:
        self.preview = preview
        self.previews += 1


class ProgressRegistry:
    """For one event loop; the application's, as ``app.state.a1111``."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._over: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._chosen: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    @contextlib.contextmanager
    def task(self, user_id: str, task_id: str, pictures: int) -> Iterator[Task]:
        """A task that is under way as long as the block is."""
        task = Task(task_id, user_id, pictures)
        self._tasks.append(task)
        try:
            yield task
        finally:
            self._tasks.remove(task)
            _remember(self._over, (user_id, task_id), None, _MOST_OVER)

    def tasks_of(self, user_id: str) -> list[Task]:
        """The oldest first."""
        return [task for task in self._tasks if task.user_id == user_id]

    def find(self, user_id: str, task_id: str) -> Task | None:
        """The newest of that id."""
        return next((task for task in reversed(self.tasks_of(user_id)) if task.id == task_id), None)

    def is_over(self, user_id: str, task_id: str) -> bool:
        """As far as that is remembered."""
        return (user_id, task_id) in self._over

    def chosen_by(self, user_id: str) -> Mapping[str, Any]:
        return self._chosen.get(user_id, {})

    def choose(self, user_id: str, chosen: Mapping[str, Any]) -> None:
        _remember(self._chosen, user_id, {**self.chosen_by(user_id), **chosen}, MOST_USERS)


async def desk_of(request: Request) -> ProgressRegistry:
    desk: ProgressRegistry = request.app.state.a1111
    return desk


Desks = Annotated[ProgressRegistry, Depends(desk_of)]


def _remember(in_: OrderedDict[Any, Any], name: Any, value: Any, most: int) -> None:
    in_[name] = value
    in_.move_to_end(name)
    if len(in_) > most:
        in_.popitem(last=False)
