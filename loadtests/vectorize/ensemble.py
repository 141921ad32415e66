"""The Vectorizer ensemble as methods of the benchmark: its tiers through real engines, without Ray."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from loadtests.vectorize.dataset import Picture
from loadtests.vectorize.methods import Traced
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings

ENGINES = ("image_features", "logo_type", "quality", "tier1", "policy")
SOURCES = ("serve/vector", "serve/ensembles", *(f"model_repository/{engine}" for engine in ENGINES))
KEPT = ("logo_type", "confidence", "tier", "tracer", "predicted_quality", "actual_quality", "parameters", "timings_s")


class Running:
    """One Vectorizer with its own Triton for the whole process, started by the first user and ended by the last."""

    _users: ClassVar[int] = 0
    _runner: ClassVar[asyncio.Runner | None] = None
    _vectorizer: ClassVar[Vectorizer | None] = None

    @classmethod
    def acquire(cls) -> None:
        cls._users += 1
        if cls._runner is None:
            cls._runner = asyncio.Runner()
            cls._vectorizer = cls._runner.run(_started())

    @classmethod
    def release(cls) -> None:
        cls._users -= 1
        if cls._users == 0 and cls._runner is not None and cls._vectorizer is not None:
            cls._runner.run(cls._vectorizer.close())
            cls._runner.close()
            cls._runner = cls._vectorizer = None

    @classmethod
    def vectorize(cls, data: bytes, options: VectorizeOptions) -> Traced:
        """``ms`` leaves out measuring the result where only the benchmark asks for it; `auto` does it anyway."""
        if cls._runner is None or cls._vectorizer is None:
            raise RuntimeError("not started: call acquire first")
        result = cls._runner.run(cls._vectorizer.vectorize(data, options))
        notes = {name: value for name, value in dataclasses.asdict(result).items() if name in KEPT}
        validation_s = 0.0 if options.tier == "auto" else result.timings_s.get("validate", 0.0)
        return Traced(
            result.svg, (result.processing_time_s - validation_s) * 1e3, notes | {"degraded": list(result.degraded)}
        )


async def _started() -> Vectorizer:
    vectorizer = Vectorizer(VectorizerSettings())
    await vectorizer.start()
    return vectorizer


def missing_engines() -> str | None:
    repository = VectorizerSettings().model_repository
    absent = [engine for engine in ENGINES if not (repository / engine / "config.pbtxt").is_file()]
    return f"no engine {', '.join(absent)} in {repository.name}: run `python -m build_engines`" if absent else None


@dataclass
class Tier:
    """One tier, or a target of `auto`, from a PNG's bytes to SVG."""

    name: str
    title: str
    options: dict[str, Any]
    sources: tuple[str, ...] = field(default=SOURCES)

    def missing(self) -> str | None:
        return missing_engines()

    def open(self) -> None:
        Running.acquire()

    def trace(self, picture: Picture) -> Traced:
        return Running.vectorize(picture.png(self.name), VectorizeOptions(validate=True, **self.options))

    def close(self) -> None:
        Running.release()


AUTO_TARGETS = {"auto": 0.9, "auto95": 0.95, "auto98": 0.98}


def tiers() -> list[Tier]:
    """Tier 1 to 3, and `auto` at three targets, so that it has something to decide."""
    fixed = [Tier(f"tier{k}", f"tier {k}", {"tier": k}) for k in (1, 2, 3)]
    routed = [
        Tier(name, f"auto, target {target}", {"tier": "auto", "target_quality": target})
        for name, target in AUTO_TARGETS.items()
    ]
    return [*fixed, *routed]
