"""How the tracer's loops are compiled: ahead of use by numba, cached beside the sources, without the GIL.

``kernel`` marks such a function. `serve.vector.coverage.tracer.warm` calls every one of them with the argument types
that tracing uses, so no request ever waits for the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

KERNELS: list[numba.core.dispatcher.Dispatcher] = []
"""Every kernel: a test checks that tracing adds no compiled signature after ``warm``."""


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` in nopython mode; the call releases the GIL."""
    compiled = numba.njit(cache=True, nogil=True)(function)
    KERNELS.append(compiled)
    return cast(Callable[P, R], compiled)
