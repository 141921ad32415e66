"""Stand-ins without a process: real objects with real behaviour, not mocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import AtelierError, NotFound

Arrays = Mapping[str, NDArray[Any]]
Answer = Callable[[Arrays], Arrays]


class FakeEngines:
    """``Engines`` whose answers are arrays, functions of the inputs, or errors, by engine name. Errors are raised.
    ``calls`` records (engine, inputs)."""

    url = "fake"

    def __init__(self, answers: Mapping[str, Arrays | Answer | AtelierError]) -> None:
        self.answers = dict(answers)
        self.calls: list[tuple[str, dict[str, NDArray[Any]]]] = []
        self.on_unavailable: Callable[[str], None] | None = None

    async def infer(
        self,
        engine: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        self.calls.append((engine, dict(inputs)))
        answer = self._answer(engine)
        arrays = answer(inputs) if callable(answer) else answer
        return {name: np.asarray(array) for name, array in arrays.items() if outputs is None or name in outputs}

    async def probe(self, engine: str, *, timeout_s: float | None = None, version: str = "") -> None:
        self._answer(engine)

    async def metadata(self, engine: str) -> dict[str, Any]:
        self._answer(engine)
        return {"name": engine, "versions": ["1"], "platform": "fake", "inputs": [], "outputs": []}

    async def config(self, engine: str) -> dict[str, Any]:
        self._answer(engine)
        return {"name": engine, "backend": "fake", "max_batch_size": 0, "input": [], "output": []}

    async def statistics(self, engine: str) -> dict[str, Any]:
        self._answer(engine)
        count = sum(name == engine for name, _ in self.calls)
        return {"model_stats": [{"name": engine, "version": "1", "inference_count": count, "execution_count": count}]}

    async def engines(self) -> list[str]:
        return sorted(self.answers)

    async def connect(self, url: str) -> None:
        self.url = url

    async def close(self) -> None:
        pass

    def _answer(self, engine: str) -> Arrays | Answer:
        if engine not in self.answers:
            raise NotFound(f"engine '{engine}' is not served here")
        answer = self.answers[engine]
        if isinstance(answer, AtelierError):
            raise answer
        return answer
