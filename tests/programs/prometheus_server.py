"""A real Prometheus or Alertmanager from Debian's packages, on loopback; Prometheus scrapes a stack."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from serve.observability.metrics.prometheus import configuration

BINARY = "prometheus"
_START_S, _STOP_S = 60.0, 10.0
_LISTENS = re.compile(r'msg="Listening on" address=(127\.0\.0\.1:\d+)')


@dataclass(frozen=True)
class Prometheus:
    """``url`` has no trailing slash."""

    url: str

    def query(self, text: str) -> list[dict[str, Any]]:
        """The instant vector of the query ``text``: ``metric`` (labels) and ``value`` (time, number as text). Leaves
        out NaN and infinity, such as 0/0 or a quantile without samples: Grafana draws nothing there. Raises
        AssertionError with Prometheus' message for an invalid query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": text}, timeout=60).json()
        assert answer["status"] == "success", answer
        assert answer["data"]["resultType"] == "vector", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return [one for one in found if math.isfinite(float(one["value"][1]))]

    def value(self, text: str) -> float | None:
        """The value of the only series of ``text``; None without one."""
        found = self.query(text)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def until(self, text: str, limit_s: float = 60.0) -> list[dict[str, Any]]:
        """The first result of ``text`` that is not empty. Raises AssertionError after ``limit_s``."""
        deadline = time.monotonic() + limit_s
        while not (found := self.query(text)):
            assert time.monotonic() < deadline, f"{text} gave nothing within {limit_s:g} s"
            time.sleep(0.5)
        return found

    def names(self) -> set[str]:
        """Names of all metrics."""
        answer = httpx.get(f"{self.url}/api/v1/label/__name__/values", timeout=60).json()
        return set(answer["data"])


@contextlib.contextmanager
def started(*targets: Path, interval_s: float = 4.0, rules: Path | None = None) -> Iterator[Prometheus]:
    """Scrapes the endpoints in the files ``targets`` (a stack's `metrics-PORT.json`) every ``interval_s``. ``rules``
    is a file of alerts. Returns once it is ready and every target is up. Raises AssertionError that names the
    package to install."""
    with tempfile.TemporaryDirectory(prefix="atelier-prometheus-") as name:
        folder = Path(name)
        document = configuration([str(target) for target in targets], interval_s)
        if rules is not None:
            document["rule_files"] = [str(rules)]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
        command = [BINARY, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with listening(command, folder / "log") as url:
            _wait_up(url)
            yield Prometheus(url)


@contextlib.contextmanager
def listening(command: Sequence[str], log: Path) -> Iterator[str]:
    """Runs a Prometheus or an Alertmanager; gives its URL without a trailing slash. The kernel chooses the port,
    which is read from ``log``; the end of the log is added to failures. Raises AssertionError that names the package
    to install."""
    assert shutil.which(command[0]), "run `make prometheus` first: it installs Debian's packages"
    with log.open("wb") as output:
        arguments = [*command, "--web.listen-address=127.0.0.1:0"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=output)
    try:
        yield _url(process, log)
        assert process.poll() is None, "it has ended"
    except BaseException as error:
        error.add_note(f"{command[0]} says:\n{log.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _LISTENS.search(log.read_text(errors="replace")):
            return f"http://{found[1]}"
        time.sleep(0.05)
    raise AssertionError("it does not listen")


def _wait_up(url: str) -> None:
    deadline, reason = time.monotonic() + _START_S, "it did not answer"
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready", timeout=5).status_code == 200:
                active = httpx.get(f"{url}/api/v1/targets", timeout=5).json()["data"]["activeTargets"]
                if active and all(one["health"] == "up" for one in active):
                    return
                reason = str([(one["scrapeUrl"], one["health"], one["lastError"]) for one in active])
        time.sleep(0.2)
    raise AssertionError(f"Prometheus has not its targets: {reason}")
