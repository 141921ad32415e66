"""The tracers under test, each as one object that turns a picture into an SVG and says how long it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from loadtests.vectorize.dataset import Picture
from loadtests.vectorize.peers import PALETTE, SEED, absent_program, autotrace, potrace_per_color
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.vector.features import extract
from serve.vector.parameters import CoverageParameters, VTracerParameters, reference_parameters, utility
from serve.vector.trace import trace_vtracer

COVERAGE_SOURCES = ("serve/vector/coverage", "serve/vector/parameters.py")
VTRACER_SOURCES = ("serve/vector/trace.py", "serve/vector/parameters.py")
BEST_OF = 40


@dataclass(frozen=True)
class Traced:
    """``ms``: wall milliseconds from pixels (from the file's bytes, for the ensemble) to SVG text."""

    svg: str
    ms: float
    notes: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """``sources``: what the result depends on, beside the picture: files and folders below the repository's root."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...

    def missing(self) -> str | None:
        """Why this method can't run here, or None."""

    def open(self) -> None:
        """Starts and warms what ``trace`` needs."""

    def trace(self, picture: Picture) -> Traced: ...

    def close(self) -> None: ...


@dataclass
class Function:
    """A method that is one function of the pixels."""

    name: str
    title: str
    convert: Callable[[Picture], str]
    sources: tuple[str, ...] = ("serve/vector/trace.py",)
    prepare: Callable[[], None] = lambda: None
    absent: Callable[[], str | None] = lambda: None

    def missing(self) -> str | None:
        return self.absent()

    def open(self) -> None:
        self.prepare()

    def trace(self, picture: Picture) -> Traced:
        start = time.perf_counter()
        svg = self.convert(picture)
        return Traced(svg, (time.perf_counter() - start) * 1e3)

    def close(self) -> None:
        pass


def vtracer_method(name: str, title: str, parameters: VTracerParameters) -> Function:
    return Function(name, title, lambda p: trace_vtracer(p.rgba, parameters), VTRACER_SOURCES)


def coverage_method(name: str, title: str, **parameters: Any) -> Function:
    """The coverage tracer; imported late so that stock tracers can be measured without compiled kernels."""

    def convert(picture: Picture) -> str:
        from serve.vector.coverage import trace_coverage

        return trace_coverage(picture.rgba, CoverageParameters(**parameters))

    def prepare() -> None:
        from serve.vector.coverage import trace_coverage

        trace_coverage(np.full((64, 64, 4), 255, np.uint8), CoverageParameters(**parameters))

    return Function(name, title, convert, COVERAGE_SOURCES, prepare)


def spelled(spec: str) -> Function:
    """A tracer with parameters by name: ``coverage:denoise=24:flatness=12`` or ``vtracer:mode=polygon``.

    Raises ValueError for anything else, InvalidRequest or TypeError for a parameter that there isn't.
    """
    tracer, *settings = spec.split(":")
    values = {name: _literal(text) for name, _, text in (setting.partition("=") for setting in settings)}
    if tracer == "coverage":
        return coverage_method(spec, spec, **values)
    if tracer == "vtracer":
        return vtracer_method(spec, spec, VTracerParameters(**values))
    raise ValueError(f"no tracer {tracer!r} to set parameters of: coverage or vtracer")


def _literal(text: str) -> Any:
    """A number where it is one, else the word."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def coverage_by_rules(picture: Picture) -> str:
    """Parameters by the ensemble's rules on noise and blur: what serving does without any model."""
    from serve.vector.coverage import trace_coverage

    return trace_coverage(picture.rgba, fixed_parameters(extract(picture.rgba)))


def best_of_coverage(picture: Picture) -> str:
    """The best of 40 settings of the coverage tracer, the fixed ones among them, by utility with hindsight.

    The judge knows the clean target, which no server does: an upper bound of what choosing parameters can give.
    """
    from serve.vector.coverage import trace_coverage

    rng = np.random.default_rng(SEED)
    reference_bytes = len(trace_vtracer(picture.rgba, reference_parameters())) / 2
    settings = [CoverageParameters(), *(CoverageParameters.from_unit(rng.random(8)) for _ in range(BEST_OF - 1))]
    drawings = [trace_coverage(picture.rgba, parameters) for parameters in settings]
    values = [utility(picture.goal.fidelity(svg).ssim, len(svg), reference_bytes) for svg in drawings]
    return drawings[int(np.argmax(values))]


def _random_settings(rng: np.random.Generator) -> VTracerParameters:
    mode = "spline" if rng.random() < 0.67 else "polygon"
    hierarchical = "stacked" if rng.random() < 0.67 else "cutout"
    unit = rng.random(8)
    parameters = VTracerParameters.from_unit(unit, mode=mode, hierarchical=hierarchical)
    return VTracerParameters(**(parameters.to_dict() | {"path_precision": int(rng.integers(0, 3))}))


def best_of_vtracer(picture: Picture) -> str:
    """The best of 40 settings, the baseline's among them, that need at most the baseline's bytes.

    The judge is SSIM against the clean target, which no server has: an upper bound that favours VTracer.
    """
    rng = np.random.default_rng(SEED)
    best = trace_vtracer(picture.rgba, VTracerParameters())
    budget, best_ssim = len(best.encode()), picture.goal.fidelity(best).ssim
    for _ in range(BEST_OF - 1):
        svg = trace_vtracer(picture.rgba, _random_settings(rng))
        if len(svg.encode()) <= budget and (value := picture.goal.fidelity(svg).ssim) > best_ssim:
            best, best_ssim = svg, value
    return best


def plain_methods() -> list[Method]:
    """Every method that needs no engine."""
    return [
        vtracer_method("vtracer", "VTracer 0.6.15 default (8 decimals)", VTracerParameters(path_precision=8)),
        vtracer_method("vtracer_pp2", "VTracer v0.6 pp2 (baseline)", VTracerParameters(path_precision=2)),
        vtracer_method("vtracer_pp1", "VTracer path precision 1", VTracerParameters(path_precision=1)),
        Function("vtracer_best40", "VTracer best of 40, at most pp2's bytes", best_of_vtracer, VTRACER_SOURCES),
        Function(
            "potrace",
            f"potrace per colour ({PALETTE})",
            potrace_per_color,
            absent=absent_program("potrace", "install Debian's package potrace"),
        ),
        Function(
            "autotrace",
            f"AutoTrace ({PALETTE} colours)",
            autotrace,
            absent=absent_program("autotrace", "Debian 12 has no such package"),
        ),
        coverage_method("coverage", "coverage tracer, fixed parameters"),
        coverage_method("coverage_refine1", "coverage tracer, fixed, refine 1", refine=1),
        coverage_method("coverage_refine3", "coverage tracer, fixed, refine 3", refine=3),
        Function(
            "coverage_rules",
            "coverage tracer, rules for noise and blur",
            coverage_by_rules,
            (*COVERAGE_SOURCES, "serve/vector/features.py", "serve/ensembles/vectorizer/search.py"),
        ),
        Function(
            "coverage_best40",
            "coverage tracer, best of 40 by hindsight",
            best_of_coverage,
            (*COVERAGE_SOURCES, "serve/vector/trace.py", "serve/vector/parameters.py"),
        ),
    ]


def original() -> Method:
    """The source, as the bound of what any tracer can reach."""
    return Function("original", "the original SVG", lambda p: p.svg, ())
