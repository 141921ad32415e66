"""The instructions of a project Dockerfile, and the contents of its last stage, without a Docker engine."""

from __future__ import annotations

import fnmatch
import io
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

from serve.settings import HOME

FOLDER = HOME / "deployments" / "docker"


@dataclass(frozen=True)
class Copy:
    """A COPY of files of the project."""

    sources: tuple[str, ...]
    target: str


class Recipe:
    """A parsed Dockerfile; ``last`` holds the instructions of its last stage, as (name, value)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parser = DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
        self.all = [(one["instruction"], one["value"]) for one in parser.structure if one["instruction"] != "COMMENT"]
        begin = max(n for n, (name, _) in enumerate(self.all) if name == "FROM")
        self.last = self.all[begin:]
        self.stages: dict[str, list[tuple[str, str]]] = {}
        """Those with a name."""
        for name, value in self.all:
            if name == "FROM":
                here = self.stages.setdefault(value.split()[-1], [])
            if self.stages:
                here.append((name, value))
        self.bases = [value.split()[0] for name, value in self.all if name == "FROM"]

    def values(self, name: str) -> list[str]:
        """The values of every instruction ``name`` of the last stage."""
        return [value for instruction, value in self.last if instruction == name]

    def words(self, name: str) -> list[str]:
        """The words of the last ENTRYPOINT or CMD, which are lists in JSON."""
        words: list[str] = json.loads(self.values(name)[-1])
        return words

    def environment(self) -> dict[str, str]:
        pairs = " ".join(self.values("ENV")).split()
        return dict(pair.split("=", 1) for pair in pairs)

    def labels(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in shlex.split(" ".join(self.values("LABEL"))))

    def arguments(self) -> dict[str, str]:
        pairs = (value.split("=", 1) for name, value in self.all if name == "ARG" and "=" in value)
        return {name: value.strip('"') for name, value in pairs}


def copies(instructions: list[tuple[str, str]]) -> list[Copy]:
    """The COPY instructions from the build context, not from other stages."""
    found = []
    for name, value in instructions:
        if name == "COPY" and not value.startswith("--from="):
            *sources, target = value.split()
            found.append(Copy(tuple(sources), target))
    return found


def ignored(path: str, rules: list[str]) -> bool:
    """Whether a path of the project is excluded from the build, by Docker's rules for its ignore file: the last
    match decides, and a pattern that matches a folder matches everything below it."""
    parts = PurePosixPath(path).parts
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    out = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatchcase(PurePosixPath(one).name, anywhere) if anywhere != pattern else _matches(one, pattern)
            for one in above
        ):
            out = not rule.startswith("!")
    return out


def _matches(path: str, pattern: str) -> bool:
    """Matches segment by segment: a star does not cross a slash."""
    segments, patterns = path.split("/"), pattern.split("/")
    return len(segments) == len(patterns) and all(map(fnmatch.fnmatchcase, segments, patterns))


def rules() -> list[str]:
    lines = (HOME / ".dockerignore").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def context() -> list[str]:
    """The build context: the files of the project in git that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True).stdout.splitlines()
    there = rules()
    return [path for path in listed if not ignored(path, there) and (HOME / path).is_file()]


def write_view(recipe: Recipe, root: Path) -> Path:
    """Copies into ``root`` what the last stage copies of the project; returns the folder of WORKDIR there. Files
    keep their modification times, which Numba's cache compares."""
    sent = context()
    home = root / recipe.values("WORKDIR")[-1].lstrip("/")
    for copy in copies(recipe.last):
        for source in copy.sources:
            for path in sent:
                if path == source or path.startswith(source.rstrip("/") + "/"):
                    below = PurePosixPath(path).relative_to(source.rstrip("/")) if path != source else Path(path).name
                    target = home / copy.target / below
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(HOME / path, target)
    return home
