"""One training loop for every part: resumes where it stopped, stops on SIGTERM or a time limit, logs as CSV."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import torch

Model = TypeVar("Model", bound=torch.nn.Module)


class Learner(Protocol):
    """What is trained. Step ``n`` must draw all its chance from ``n``, so that a resumed run equals one in one go."""

    batch: int

    def step(self, n: int) -> torch.Tensor:
        """Trains on one batch and returns its loss, which a GPU may still be computing."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""


class Descent(Generic[Model]):
    """What the learners share: a model, its optimiser, a step down, and the state of both."""

    model: Model
    optimizer: torch.optim.Optimizer

    def descend(self, loss: torch.Tensor, longest: float | None = None) -> torch.Tensor:
        """One step of the optimiser down ``loss``, its gradient no longer than ``longest``; the loss."""
        loss.backward()  # type: ignore[no-untyped-call]
        if longest is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), longest)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


@dataclass
class Stop:
    """Whether to stop: ``asked`` by a signal, or the ``minutes`` are over."""

    minutes: float | None = None
    asked: bool = False
    started: float = field(default_factory=time.monotonic)

    def __call__(self) -> bool:
        over = self.minutes is not None and time.monotonic() - self.started > 60 * self.minutes
        return self.asked or over

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """While inside, SIGTERM and SIGINT ask to stop after the current step."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            self.asked = True

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Every:
    """``act`` is called with the step number every ``seconds`` and at the end."""

    seconds: float
    act: Callable[[int], None]


@dataclass
class Loop:
    """Trains to ``steps`` and keeps ``path`` (weights and all) and ``path`` with the suffix csv (the losses)."""

    path: Path
    steps: int
    checkpoint_s: float
    stop: Stop
    every: tuple[Every, ...] = ()
    log_s: float = 20.0
    done: int = 0
    seconds: float = 0.0

    def run(self, learner: Learner) -> bool:
        """Whether the wanted steps are all done; False when it was stopped, and the same call goes on from there."""
        self._resume(learner)
        if self.done >= self.steps:
            return True
        actions = (Every(self.checkpoint_s, lambda _: self._save(learner)), *self.every)
        due = [time.monotonic() + a.seconds for a in actions]
        log = _Log(self.path.with_suffix(".csv"), self.log_s, self.seconds)
        while self.done < self.steps and not self.stop():
            began = time.monotonic()
            loss = learner.step(self.done)
            self.done += 1
            self.seconds += time.monotonic() - began
            log.add(self.done * learner.batch, learner.batch, self.seconds, loss)
            for i, action in enumerate(actions):
                if time.monotonic() >= due[i]:
                    action.act(self.done)
                    due[i] = time.monotonic() + action.seconds
        log.flush()
        for action in actions:
            action.act(self.done)
        return self.done >= self.steps

    def finish(self, learner: Learner) -> None:
        """Keeps the learner as if it had been trained to the end."""
        self.done = self.steps
        self._save(learner)

    def _resume(self, learner: Learner) -> None:
        if self.path.is_file():
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            self.done, self.seconds = saved["step"], saved["seconds"]
            learner.restore(saved["learner"])

    def _save(self, learner: Learner) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save({"step": self.done, "seconds": self.seconds, "learner": learner.state()}, partial)
        os.replace(partial, self.path)


def samples_of(log: Path) -> int:
    """How many samples training had seen when ``log``, the CSV of a ``Loop``, was last written."""
    return int(log.read_text().splitlines()[-1].partition(",")[0])


class _Log:
    """One CSV row for every ``log_s`` seconds of training, also printed."""

    def __init__(self, path: Path, log_s: float, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            path.write_text("samples,seconds,loss,pictures_per_s\n")
        self._path, self._log_s, self._since = path, log_s, seconds
        self._losses: list[torch.Tensor] = []
        self._row = (0, 0, seconds)

    def add(self, samples: int, batch: int, seconds: float, loss: torch.Tensor) -> None:
        self._losses.append(loss)
        self._row = (samples, batch, seconds)
        if seconds - self._since >= self._log_s:
            self.flush()

    def flush(self) -> None:
        if not self._losses:
            return
        samples, batch, seconds = self._row
        rate = batch * len(self._losses) / max(seconds - self._since, 1e-9)
        row = f"{samples},{seconds:.0f},{float(torch.stack(self._losses).mean()):.5f},{rate:.1f}"
        with self._path.open("a") as file:
            file.write(row + "\n")
        print(f"{self._path.stem}: {row}", flush=True)
        self._losses, self._since = [], seconds
