"""What keys are hashed with: the site's own, from the settings, else made once in the state's folder.

It is not in the database and in no backup: who has those alone can neither make a key nor try one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from serve.errors import StateUnavailable
from serve.settings import Settings

FILE = "access.key"
_SECRET = re.compile(rb"[0-9a-f]{64}\n?")


def site_secret(settings: Settings) -> bytes:
    """Blocks for a file. Of processes that make one at once, all get the same. Raises StateUnavailable."""
    if settings.access.secret is not None:
        return settings.access.secret.get_secret_value().encode()
    path = settings.state_dir / FILE
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes()
    except OSError as error:
        raise StateUnavailable(f"{FILE} in state_dir cannot be used: {error.strerror}; or set access.secret") from error
    if not _SECRET.fullmatch(found):
        raise StateUnavailable(f"{FILE} in state_dir is damaged: put it back, or delete it and make every key anew")
    return found.strip()


def _make(path: Path) -> None:
    """It is there as a whole or not at all, for its owner alone, and never in place of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was faster
            os.link(name, path)
    finally:
        os.unlink(name)
