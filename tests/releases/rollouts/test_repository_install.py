"""`atelier models add`: installs the versions of a release or a training beside the installed ones."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from versioned import ENGINE, model, write_engine, write_version

from serve.cli.main import app
from serve.engines.triton import repository_install
from serve.engines.triton.manifests import check_files, version_label, version_numbers
from serve.engines.triton.repository_install import install_engines
from serve.errors import Conflict, NotFound
from serve.settings import HOME


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


def release(folder: Path, factor: float, label: str) -> Path:
    """As builds write it: version 1, with its manifest beside the config."""
    write_engine(folder)
    engine = folder / ENGINE
    shutil.rmtree(engine / "1")
    write_version(folder, "1", model(factor), label=label)
    (engine / "1" / "manifest.json").rename(engine / "manifest.json")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_empty_repository_gets_everything(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    write_version(first, "2", model(2.0))
    assert list(install_engines(first, there, pytest.fail)) == [(ENGINE, "1"), (ENGINE, "2")]
    assert contents(there) == contents(first)
    assert list(install_engines(first, there, pytest.fail)) == []
    assert contents(there) == contents(first), "no trace of the second time"


def test_engines_of_the_project_can_be_installed(there: Path) -> None:
    done = CliRunner().invoke(app, ["models", "add", str(HOME / "model_repository"), "--repository", str(there)])
    assert done.exit_code == 0, done.output
    added = [tuple(line.split()) for line in done.stdout.splitlines()]
    assert ("quality", "1") in added
    assert len(added) == len(list((HOME / "model_repository").glob("*/config.pbtxt")))


def test_newer_release_is_installed_as_next_version(tmp_path: Path, there: Path) -> None:
    before = write_engine(there)
    kept = contents(before)
    newer = release(tmp_path / "newer", 5.0, "1.1")
    assert list(install_engines(newer, there, pytest.fail)) == [(ENGINE, "2")]
    assert kept.items() <= contents(there).items()
    assert version_label(there / ENGINE, "2") == "1.1"
    check_files(there / ENGINE, "2")
    assert list(install_engines(newer, there, pytest.fail)) == []
    assert list(install_engines(release(tmp_path / "newest", 6.0, "1.2"), there, pytest.fail)) == [(ENGINE, "3")]
    assert version_numbers(there / ENGINE) == ["1", "2", "3"]


def test_config_that_differs_is_kept_with_a_warning(tmp_path: Path, there: Path) -> None:
    write_engine(there)
    newer = release(tmp_path / "newer", 5.0, "1.1")
    config = newer / ENGINE / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 4"))
    messages: list[str] = []
    assert list(install_engines(newer, there, messages.append)) == [(ENGINE, "2")]
    assert messages == [f"{ENGINE}/config.pbtxt stays, and is not the one that the new version came with"]
    assert "max_batch_size: 8" in (there / ENGINE / "config.pbtxt").read_text()


def test_changed_file_of_an_installed_version_is_reported(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    list(install_engines(first, there, pytest.fail))
    (there / ENGINE / "1" / "model.onnx").write_bytes(model(9.0))
    messages: list[str] = []
    assert list(install_engines(first, there, messages.append)) == []
    assert messages == [f"{ENGINE}/1: the checksum of model.onnx is not the manifest's"]


def test_files_that_do_not_match_the_manifest_are_refused(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    (first / ENGINE / "1" / "model.onnx").write_bytes(model(9.0))
    with pytest.raises(Conflict, match="checksum"):
        list(install_engines(first, there, pytest.fail))
    assert list(there.iterdir()) == []
    with pytest.raises(NotFound, match="no engine"):
        list(install_engines(there, tmp_path / "third", pytest.fail))


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy waits, at most a second, until the other one copies too."""
    both, copytree = threading.Barrier(2), shutil.copytree

    def met(*arguments: Any, **named: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1.0)
        return copytree(*arguments, **named)

    monkeypatch.setattr(shutil, "copytree", met)


@pytest.mark.parametrize("locks", [True, False], ids=["locked", "a disk that locks nothing"])
@pytest.mark.usefixtures("meeting")
def test_concurrent_installs_get_different_numbers(
    tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    write_engine(there)
    newer = [release(tmp_path / label, factor, label) for factor, label in ((5.0, "1.1"), (6.0, "1.2"))]

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
    with ThreadPoolExecutor(2) as threads:
        added = [*threads.map(lambda one: list(install_engines(one, there, pytest.fail)), newer)]
    assert sorted(added) == [[(ENGINE, "2")], [(ENGINE, "3")]]
    assert sorted(str(version_label(there / ENGINE, number)) for number in ("2", "3")) == ["1.1", "1.2"]
    assert [path.name for path in there.iterdir()] == [ENGINE]


@pytest.mark.usefixtures("meeting")
def test_concurrent_installs_of_one_release_install_it_once(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    with ThreadPoolExecutor(2) as threads:
        added = [*threads.map(lambda _: list(install_engines(first, there, pytest.fail)), range(2))]
    assert sorted(added) == [[], [(ENGINE, "1")]]


def test_wait_for_the_lock_is_bounded(tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_install, "_LOCK_TIMEOUT_S", 0.2)
    there.mkdir()
    with locked(there), pytest.raises(Conflict, match="others add"):
        list(install_engines(write_engine(tmp_path / "first"), there, pytest.fail))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    fcntl.flock(opened, fcntl.LOCK_EX)
    yield
    os.close(opened)


def test_leftovers_that_cannot_be_cleared_are_ignored(tmp_path: Path, there: Path) -> None:
    there.mkdir()
    (there / ".added-gone").symlink_to(there / "nothing")
    assert list(install_engines(write_engine(tmp_path / "first"), there, pytest.fail)) == [(ENGINE, "1")]


def test_folder_without_a_config_does_not_block_other_engines(tmp_path: Path, there: Path) -> None:
    """It may be an interrupted copy, or a user's work: it is kept and reported."""
    first = write_engine(tmp_path / "first")
    shutil.copytree(first / ENGINE, first / "another")
    shutil.copytree(first / "another", there / "another")
    (there / "another" / "config.pbtxt").unlink()
    kept, messages = contents(there), list[str]()
    assert list(install_engines(first, there, messages.append)) == [(ENGINE, "1")]
    assert [line for line in messages if "another has no config.pbtxt" in line] == messages != []
    assert kept.items() <= contents(there).items()
    shutil.rmtree(there / "another")
    assert list(install_engines(first, there, pytest.fail)) == [("another", "1")]


def test_separate_repositories_require_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_engine(tmp_path / "first")
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(tmp_path / "one"))
    refused = CliRunner().invoke(app, ["models", "add", str(first)])
    assert refused.exit_code == 2
    assert "--repository" in refused.stderr
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(tmp_path / "one"))
    assert CliRunner().invoke(app, ["models", "add", str(first)]).stdout == f"{ENGINE} 1\n"
    manifest = json.loads((tmp_path / "one" / ENGINE / "manifest.json").read_text())
    assert manifest["version"] == "1.0"
