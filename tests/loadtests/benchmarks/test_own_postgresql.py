"""The tests' own PostgreSQL servers: one whose owner was killed is removed, and no other is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.queue import postgresql as module
from loadtests.queue.postgresql import PostgreSQL
from serve.observability.metrics.processes import is_zombie

OWNER = """
from loadtests.queue.postgresql import PostgreSQL
with PostgreSQL.started(in_memory=True) as server:
    print(server.folder, flush=True)
    input()
"""


@pytest.fixture
def others() -> Iterator[tuple[subprocess.Popen[str], PostgreSQL]]:
    """A server, and the process that started it."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=-1, stdout=-1, text=True) as owner:
        assert owner.stdout is not None
        server = PostgreSQL(Path(owner.stdout.readline().strip()), module.BINARIES[-1], fsync=False)
        yield owner, server
        owner.communicate("\n")
    assert not server.folder.exists()


def answers(server: PostgreSQL) -> bool:
    return server.run("psql", "-h", str(server.folder), "-U", "postgres", "-Atc", "select 1") == "1\n"


@pytest.mark.postgresql
@pytest.mark.parametrize("frozen", [False, True])
def test_orphan_is_removed_even_when_suspended(others: tuple[subprocess.Popen[str], PostgreSQL], frozen: bool) -> None:
    owner, server = others
    module._remove_orphans()
    assert answers(server), "its owner lives"
    if frozen:
        server.freeze()
    pids = server.pids()
    assert len(pids) > 3
    owner.kill()
    owner.wait()
    module._remove_orphans()
    assert not server.folder.exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)] == []


@pytest.mark.postgresql
def test_stopped_server_starts_again(postgresql: PostgreSQL) -> None:
    with PostgreSQL.started(in_memory=True) as server:
        url = server.new_database()
        server.stop()
        assert server.pids() == []
        server.start()
        assert answers(server)
        server.drop(url)
    assert answers(postgresql), "another is another's"


@pytest.mark.postgresql
def test_reused_pid_in_its_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    PostgreSQL(tmp_path, module.BINARIES[-1], fsync=False).stop()


def test_data_is_in_memory_if_it_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", shutil.disk_usage(tmp_path).free // 3)
    assert [module._has_room(servers) for servers in (1, 2, 4)] == [True, True, False]
    monkeypatch.setattr(module, "MEMORY", tmp_path / "none")
    assert not module._has_room(1)
