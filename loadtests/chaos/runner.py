"""One fault after the other under the load, each once everything is well again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from loadtests.chaos.attempts_log import AttemptLog, Summary, summary
from loadtests.chaos.expected_answers import ExpectedAnswers
from loadtests.chaos.faults import OUTAGE_S, Fault
from loadtests.chaos.load import THINKS_S, Load
from loadtests.chaos.site import Site

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """Seconds: quiet before a fault, quiet after which it counts as over, the shortest and longest look at one; the
    pause of callers between two requests."""

    learn_s: float = 15.0
    before_s: float = 4.0
    quiet_s: float = 8.0
    least_s: float = 16.0
    most_s: float = 90.0
    thinks_s: float = THINKS_S


SHORT = Pace(learn_s=6.0, before_s=2.0, quiet_s=5.0, least_s=10.0, thinks_s=1.5)


BETWEEN = "between faults"


@dataclass(frozen=True)
class Outcome:
    """Of one fault, or of the time before, between and after them (``BETWEEN``). ``well_before``: nothing was amiss
    when it began, so that what was amiss then is of this fault."""

    name: str
    struck: str
    summary: Summary
    note: str = ""
    well_before: bool = True


@dataclass(frozen=True)
class Span:
    """One fault, and the time in which what was amiss is of it."""

    fault: Fault
    struck: str
    began: float
    ended: float
    recovery_s: float | None
    well_before: bool


def outcomes(attempts_log: AttemptLog, spans: Sequence[Span]) -> list[Outcome]:
    """Every request of ``attempts_log`` is in one of them."""
    found = []
    for one in spans:
        totals = summary(attempts_log.between(one.began, one.ended), one.recovery_s, attempts_log.slow_s)
        found.append(Outcome(one.fault.name, one.struck, totals, one.fault.note, one.well_before))
    rest = attempts_log.outside((one.began, one.ended) for one in spans)
    return [*found, Outcome(BETWEEN, "", summary(rest, 0.0, attempts_log.slow_s))]


async def drive(site: Site, faults: Sequence[Fault], pace: Pace, say: Say) -> tuple[list[Outcome], str]:
    """What came of each fault and of the time between them, and in words what the database has that nobody asked for.

    Raises ``RuntimeError`` when the site does not answer rightly before the first.
    """
    attempts_log, known = AttemptLog(), ExpectedAnswers()
    load = Load(site.url, site.grpc, attempts_log, known, pace.thinks_s)
    await load.warm()
    load.start()
    await asyncio.sleep(pace.learn_s)
    attempts_log.learn()
    spans = []
    for fault in faults:
        well = await _quiet(attempts_log, pace.before_s, pace.most_s)
        if not well:
            say(f"{fault.name}: the site was not well before it")
        began = time.monotonic()
        try:
            struck = await asyncio.to_thread(fault.inject, site)
        except (LookupError, psutil.NoSuchProcess) as error:  # it may have ended by itself just now
            say(f"{fault.name}: not done: {error}")
            continue
        since = began
        if fault.heal is not None:
            await asyncio.sleep(OUTAGE_S)
            await asyncio.to_thread(fault.heal, site)
            since = time.monotonic()
        recovery_s = await _recovered(attempts_log, since, pace)
        say(f"{fault.name}: {struck}; " + ("no recovery" if recovery_s is None else f"{recovery_s:.1f} s"))
        spans.append(Span(fault, struck, began, time.monotonic(), recovery_s, well))
        if fault.restore is not None:
            await asyncio.to_thread(fault.restore)
    await load.stop()
    return outcomes(attempts_log, spans), await _jobs_done_twice(site, load)


async def _quiet(attempts_log: AttemptLog, for_s: float, most_s: float) -> bool:
    """Whether nothing was amiss for so long, before ``most_s`` were over."""
    began = time.monotonic()
    while time.monotonic() < began + most_s:
        await asyncio.sleep(0.2)
        if time.monotonic() - attempts_log.quiet_since(began) >= for_s:
            return True
    return False


async def _recovered(attempts_log: AttemptLog, since: float, pace: Pace) -> float | None:
    """Seconds from ``since`` to the last sign of the fault; None when signs never ended."""
    while time.monotonic() < since + pace.most_s:
        await asyncio.sleep(0.2)
        last = attempts_log.quiet_since(since)
        if time.monotonic() - max(last, since + pace.least_s - pace.quiet_s) >= pace.quiet_s:
            return last - since
    return None


async def _jobs_done_twice(site: Site, load: Load) -> str:
    """What the database has that was not asked for; empty when every key stands for one job at most.

    Of PostgreSQL alone; on SQLite nobody looks.
    """
    asked = len(load.jobs.keys_sent)
    if site.database is None:
        return ""
    name = site.values["database"]["url"].partition("@/")[2].partition("?")[0]
    query = "select count(*) from jobs"
    arguments = ("-h", str(site.database.folder), "-U", "postgres", "-d", name, "-Atc", query)
    found = int(await asyncio.to_thread(site.database.run, "psql", *arguments))
    return "" if found <= asked else f"{asked} jobs were asked for, and the database has {found}"
