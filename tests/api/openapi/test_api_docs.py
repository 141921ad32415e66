"""The examples of docs/API.md, verbatim, against a site that needs keys (C-110)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from keyed_door import KeyedSite, calling, keyed_site, listening

from serve.jobs.worker.site import SiteWorker
from serve.settings import Settings
from serve.state import State

HOME = Path(__file__).parents[3]
EXAMPLES = re.findall(r"^```(sh|python)\n(.*?)^```$", (HOME / "docs" / "API.md").read_text(), re.DOTALL | re.MULTILINE)
TRITON = "tritonclient"

pytestmark = pytest.mark.slow


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    opened = await State.open(Settings(state_dir=tmp_path / "state"))
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def working(site: KeyedSite) -> AsyncIterator[None]:
    """A worker that executes the jobs."""
    worker = await SiteWorker.start(site.state.settings, site.app.state.service, site.illustrator, "http://atelier")
    yield
    await worker.close()


def test_document_has_examples() -> None:
    assert [kind for kind, _ in EXAMPLES] == [*["sh"] * 3, *["python"] * 4]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_example_runs(number: int, state: State, logo: bytes, tmp_path: Path) -> None:
    kind, text = EXAMPLES[number]
    (tmp_path / "logo.png").write_bytes(logo)
    clients = HOME / (".venv" if TRITON in text else ".venv-clients") / "bin" / "python"
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [str(clients), "-c", text]
    async with keyed_site(state) as site, listening(site) as http, calling(site) as grpc, working(site):
        variables = {"URL": f"http://{http}", "GRPC": grpc, "KEY": (await site.key("ada")).secret}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env={**os.environ, **variables}, stdout=-1, stderr=-1
        )
        async with asyncio.timeout(120):
            _, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
