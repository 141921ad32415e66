"""The option ``--stage`` of the commands that train."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def checked_stages(stages: Sequence[str], known: Sequence[str], usual: Sequence[str]) -> Sequence[str]:
    """``stages``, or the ``usual`` ones where none is named. Raises BadParameter for one that is not ``known``."""
    unknown = [stage for stage in stages if stage not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}", param_hint="--stage")
    return stages or usual
