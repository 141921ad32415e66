"""`atelier models add`: what a release or a training brings reaches the repository beside what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from versioned import ENGINE, model, write_engine, write_version

from serve.cli import app
from serve.engines.additions import add
from serve.engines.manifests import check_files, label_of
from serve.engines.repository_view import numbers
from serve.errors import Conflict, NotFound
from serve.settings import HOME


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


def release(folder: Path, factor: float, label: str) -> Path:
    """As builds write it: version 1, whose manifest is beside the config."""
    write_engine(folder)
    engine = folder / ENGINE
    shutil.rmtree(engine / "1")
    write_version(folder, "1", model(factor), label=label)
    (engine / "1" / "manifest.json").rename(engine / "manifest.json")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_repository_gets_everything(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    write_version(first, "2", model(2.0))
    assert list(add(first, there, pytest.fail)) == [(ENGINE, "1"), (ENGINE, "2")]
    assert contents(there) == contents(first)
    assert list(add(first, there, pytest.fail)) == []
    assert contents(there) == contents(first), "no trace of the second time"


def test_the_engines_of_the_project_can_be_added(there: Path) -> None:
    done = CliRunner().invoke(app, ["models", "add", str(HOME / "model_repository"), "--repository", str(there)])
    assert done.exit_code == 0, done.output
    added = [tuple(line.split()) for line in done.stdout.splitlines()]
    assert ("quality", "1") in added
    assert len(added) == len(list((HOME / "model_repository").glob("*/config.pbtxt")))


def test_a_newer_release_brings_the_next_version_and_leaves_the_one_before(tmp_path: Path, there: Path) -> None:
    before = write_engine(there)
    kept = contents(before)
    newer = release(tmp_path / "newer", 5.0, "1.1")
    assert list(add(newer, there, pytest.fail)) == [(ENGINE, "2")]
    assert kept.items() <= contents(there).items()
    assert label_of(there / ENGINE, "2") == "1.1"
    check_files(there / ENGINE, "2")
    assert list(add(newer, there, pytest.fail)) == []
    assert list(add(release(tmp_path / "newest", 6.0, "1.2"), there, pytest.fail)) == [(ENGINE, "3")]
    assert numbers(there / ENGINE) == ["1", "2", "3"]


def test_what_stays_though_it_differs_is_told(tmp_path: Path, there: Path) -> None:
    write_engine(there)
    newer = release(tmp_path / "newer", 5.0, "1.1")
    config = newer / ENGINE / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 4"))
    told: list[str] = []
    assert list(add(newer, there, told.append)) == [(ENGINE, "2")]
    assert told == [f"{ENGINE}/config.pbtxt stays, and is not the one that the new version came with"]
    assert "max_batch_size: 8" in (there / ENGINE / "config.pbtxt").read_text()


def test_a_file_that_was_changed_where_it_lies_is_told(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    list(add(first, there, pytest.fail))
    (there / ENGINE / "1" / "model.onnx").write_bytes(model(9.0))
    told: list[str] = []
    assert list(add(first, there, told.append)) == []
    assert told == [f"{ENGINE}/1: the checksum of model.onnx is not the manifest's"]


def test_what_is_not_what_its_manifest_says_is_not_added(tmp_path: Path, there: Path) -> None:
    first = write_engine(tmp_path / "first")
    (first / ENGINE / "1" / "model.onnx").write_bytes(model(9.0))
    with pytest.raises(Conflict, match="checksum"):
        list(add(first, there, pytest.fail))
    assert list(there.iterdir()) == []
    with pytest.raises(NotFound, match="no engine"):
        list(add(there, tmp_path / "third", pytest.fail))


def test_each_ensemble_with_a_repository_of_its_own_asks_for_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_engine(tmp_path / "first")
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(tmp_path / "one"))
    refused = CliRunner().invoke(app, ["models", "add", str(first)])
    assert refused.exit_code == 2
    assert "--repository" in refused.stderr
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(tmp_path / "one"))
    assert CliRunner().invoke(app, ["models", "add", str(first)]).stdout == f"{ENGINE} 1\n"
    manifest = json.loads((tmp_path / "one" / ENGINE / "manifest.json").read_text())
    assert manifest["version"] == "1.0"
