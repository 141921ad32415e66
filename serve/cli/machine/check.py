"""One thing that a stack needs of this machine, or can use."""

from __future__ import annotations

from dataclasses import dataclass

from serve.settings import IS_INSTALLED


@dataclass(frozen=True)
class Check:
    """One thing that a stack needs (``required``) or can use; ``remedy`` is the command or setting that brings it."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True

    @property
    def status(self) -> str:
        return "ok" if self.ok else "missing" if self.required else "optional"


def restore_command(name: str) -> str:
    """What brings back ``name``, a file or folder that comes with Atelier."""
    return "pip install --force-reinstall atelier" if IS_INSTALLED else f"git checkout -- {name}"
