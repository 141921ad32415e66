"""Changes core code in one place at a time, and runs tests that should fail: `python -m tests.programs.mutations`.

Works on a copy of the tree in a temporary folder. The tests are run on the unchanged copy first: they have to pass. A
mutation is caught when its tests fail, and survives when they pass: then a test is missing. Prints a line for each, and
exits with 1 when one survived or does not fit the code any more. With ``--list`` it only says whether they fit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[2]
TIMEOUT_S = 900.0
TEST_TIMEOUT_S = 120
"""Of one test: a queue that is broken may wait for ever."""


@dataclass(frozen=True)
class Mutation:
    """``old`` is a regular expression that matches once in ``file``; ``new`` is what replaces it. ``tests``: paths
    below `tests`, which are run until the first failure."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, code: str) -> str:
        """Raises ValueError when ``old`` does not match exactly once."""
        changed, count = re.subn(self.old, self.new, code)
        if count != 1:
            raise ValueError(f"{self.old!r} matches {count} times in {self.file}")
        return changed


ADMISSION = "security/limits/test_admission_queue.py"
CACHE = "state/test_cache.py"
FETCH = "security/content/test_fetch.py"
SAMPLERS = "diffusion/test_samplers.py"
GUIDANCE = "diffusion/test_noise_and_guidance.py"
TIERS = "ensembles/vectorizer/test_tier_routing.py"
QUEUE = "jobs/test_queue.py"
LEASES = "jobs/test_leases.py"
DEADLINES = "api/middleware/test_deadlines.py"
BREAKER = "releases/fallback/test_breaker.py"
SIGNED = "security/content/test_signing.py"
RATES = "security/limits/test_rate_leases.py"

MUTATIONS = (
    Mutation(
        "one more waits than the queue holds",
        "serve/security/limits/admission_queue.py",
        r"if self\.(\w+) >= self\.(_\w+):\n(\s+self\._displace)",
        r"if self.\1 > self.\2:\n\3",
        (ADMISSION,),
    ),
    Mutation(
        "the least urgent goes first",
        "serve/security/limits/admission_queue.py",
        r"sorted\(Priority, reverse=True\)",
        "sorted(Priority)",
        (ADMISSION,),
    ),
    Mutation(
        "the oldest gets no turn of its own",
        "serve/security/limits/admission_queue.py",
        r"% OLDEST_EVERY == 0",
        "% OLDEST_EVERY == -1",
        (ADMISSION,),
    ),
    Mutation(
        "a user's jobs share a round",
        "serve/jobs/queue/fair_order.py",
        r"0 if row\.last is None else row\.last \+ 1",
        "0 if row.last is None else row.last",
        (QUEUE,),
    ),
    Mutation(
        "one job more than a user may have waits",
        "serve/jobs/queue/fair_order.py",
        r"queued_by_user \+ added > limits\.max_queued_per_user",
        "queued_by_user + added > limits.max_queued_per_user + 1",
        (QUEUE, "api/jobs/test_jobs.py"),
    ),
    Mutation(
        "who was taken for dead beats on",
        "serve/jobs/worker/leases.py",
        r"if row\.rowcount == 0:",
        "if row.rowcount < 0:",
        (LEASES, "jobs/test_heartbeats.py"),
    ),
    Mutation(
        "an attempt before the last writes on",
        "serve/jobs/worker/leases.py",
        r"j\.worker_id == worker_id, j\.attempt == attempt",
        "j.worker_id == worker_id",
        (LEASES,),
    ),
    Mutation(
        "a lost worker's job is tried once too often",
        "serve/jobs/worker/lease_reaper.py",
        r"jobs\.c\.failures \+ 1 >= max_failures",
        "jobs.c.failures >= max_failures",
        (LEASES,),
    ),
    Mutation(
        "a beat that stands still looks new",
        "serve/state/job_states.py",
        r"previous\[0\] == heartbeat",
        "previous[0] != heartbeat",
        (LEASES,),
    ),
    Mutation(
        "versions of engines are not in the key of a result",
        "serve/jobs/direct/result_cache.py",
        r"request\.to_json\(\), versions, SOFTWARE",
        "request.to_json(), SOFTWARE",
        ("jobs/direct/test_direct.py", "releases/rollouts/test_rollouts_open_inference.py"),
    ),
    Mutation(
        "moderation is not in the key of a result",
        "serve/jobs/direct/result_cache.py",
        r"return \[\*decided, (.+) else decided",
        r"return [\1 else []",
        ("security/moderation/test_moderated_endpoints.py",),
    ),
    Mutation(
        "a cached answer never ends",
        "serve/state/cache.py",
        r"row\.created_at <= now < expires_at:\n",
        "row.created_at <= now:\n",
        (CACHE,),
    ),
    Mutation(
        "eviction begins with what was used last",
        "serve/state/cache.py",
        r"order_by\(cache\.c\.used_at, cache\.c\.key\)",
        "order_by(cache.c.used_at.desc(), cache.c.key)",
        (CACHE,),
    ),
    Mutation(
        "a step moves the wrong way",
        "serve/diffusion/samplers/levels.py",
        r"ratio = level\.next_sigma / level\.sigma",
        "ratio = level.sigma / (level.next_sigma + 1e-3)",
        (SAMPLERS,),
    ),
    Mutation(
        "Heun's step is twice as long",
        "serve/diffusion/samplers/heun.py",
        r"\(0\.5 \* length\)",
        "(1.0 * length)",
        (SAMPLERS,),
    ),
    Mutation(
        "DPM++ has another sign",
        "serve/diffusion/samplers/dpmpp_2m.py",
        r"math\.expm1\(-h\)",
        "math.expm1(h)",
        (SAMPLERS,),
    ),
    Mutation(
        "guidance leads away from the prompt",
        "serve/diffusion/guidance.py",
        r"scale \* \(conditional - unconditional\)",
        "scale * (unconditional - conditional)",
        (GUIDANCE,),
    ),
    Mutation(
        "rescaling is all or nothing",
        "serve/diffusion/guidance.py",
        r"float\(rescale \* ratio \+ 1\.0 - rescale\)",
        "float(ratio)",
        (GUIDANCE,),
    ),
    Mutation(
        "tiers that take too long fit",
        "serve/ensembles/vectorizer/tier_routing.py",
        r"(trial_s, workers\)) <= left_s",
        r"\1 >= left_s",
        (TIERS,),
    ),
    Mutation(
        "where no tier is good enough it is the lowest",
        "serve/ensembles/vectorizer/tier_routing.py",
        r"return max\(fit, default=1\)",
        "return min(fit, default=1)",
        (TIERS,),
    ),
    Mutation(
        "SSIM has another window",
        "serve/vector/compare.py",
        r"WINDOW = 7\n",
        "WINDOW = 5\n",
        ("vector/test_compare.py",),
    ),
    Mutation(
        "one open address of a name is enough",
        "serve/security/fetching/dns_pinning.py",
        r"if not all\(",
        "if not any(",
        (FETCH, "security/content/test_egress_policy.py"),
    ),
    Mutation(
        "redirections are followed unseen",
        "serve/security/fetching/fetcher.py",
        r"allow_redirects=False",
        "allow_redirects=True",
        (FETCH,),
    ),
    Mutation(
        "a slice of a rate is spent to less than nothing",
        "serve/security/limits/rate_leases.py",
        r"allowed = window\.leased >= cost",
        "allowed = window.leased + 1 >= cost",
        (RATES,),
    ),
    Mutation(
        "windows of a rate begin elsewhere",
        "serve/security/limits/rate_leases.py",
        r"number \* rate\.period_s - offset",
        "number * rate.period_s",
        (RATES,),
    ),
    Mutation(
        "others' things are there for everybody",
        "serve/security/identity/ownership.py",
        r"await self\._owner\(kind, one\) != principal\.user_id",
        "await self._owner(kind, one) is None",
        ("api/middleware/test_doors_access.py",),
    ),
    Mutation(
        "signed addresses never end",
        "serve/security/signing/signed_urls.py",
        r"return any\(matches\) and .+\n",
        "return any(matches)\n",
        (SIGNED,),
    ),
    Mutation(
        "signed addresses are anybody's",
        "serve/security/signing/signed_urls.py",
        r'\("v1", path, expires, user\)',
        '("v1", path, expires)',
        (SIGNED,),
    ),
    Mutation(
        "a split gives the candidate to the others",
        "serve/releases/rollouts/site.py",
        r"unit\) < self\.percentage",
        "unit) > self.percentage",
        ("releases/rollouts/test_choosing.py",),
    ),
    Mutation(
        "one failure opens a breaker",
        "serve/releases/fallback/circuit_breaker.py",
        r"failures >= self\._settings\.failures and",
        "failures >= self._settings.failures or",
        (BREAKER,),
    ),
    Mutation(
        "a half-open breaker lets everybody in",
        "serve/releases/fallback/circuit_breaker.py",
        r"self\.state == OPEN or self\._probe is not None",
        "self.state == OPEN",
        (BREAKER,),
    ),
    Mutation(
        "a webhook's signature leaves out its id",
        "serve/jobs/webhooks/client.py",
        r'f"\{message_id\}\.\{timestamp\}\."',
        'f"{timestamp}."',
        ("jobs/webhooks/test_webhooks.py",),
    ),
    Mutation(
        "a deadline only makes a wait longer",
        "serve/observability/request_context.py",
        r"else min\(own, self\.deadline\)",
        "else max(own, self.deadline)",
        (DEADLINES,),
    ),
    Mutation(
        "any key may ask for any priority",
        "serve/observability/request_context.py",
        r"if priority > self\.most:",
        "if priority > Priority.HIGH:",
        (DEADLINES, "security/identity/test_authentication.py"),
    ),
)


def copy_of(folder: Path) -> None:
    """The files that git has, or would take."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=HOME, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (HOME / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOME / name, folder / name)


def passes(folder: Path, tests: list[str]) -> tuple[bool, str]:
    """Whether ``tests`` pass in ``folder``; and the last line that they print. Raises RuntimeError when there is no
    such test."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}"]
    command += ["-m", "not (cluster or triton or postgresql or redis or prometheus or gpu)"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *(f"tests/{one}" for one in tests)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, "no end"
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"{' '.join(tests)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 0, (failed or done.stdout.splitlines() or [""])[-1][:110]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a mutation's name; default: all")
    parser.add_argument("--list", action="store_true", help="say whether each fits the code, and end")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests on the unchanged code first")
    arguments = parser.parse_args()
    chosen = [one for one in MUTATIONS if not arguments.names or any(part in one.name for part in arguments.names)]
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        folder = Path(name)
        copy_of(folder)
        if not arguments.list and not arguments.unchecked:
            passed, last = passes(folder, sorted({test for one in chosen for test in one.tests}))
            if not passed:
                sys.exit(f"the tests fail without any mutation: {last}")
        for one in chosen:
            path = folder / one.file
            before, began = path.read_text(), time.monotonic()
            try:
                path.write_text(one.applied(before))
                passed, last = (False, "") if arguments.list else passes(folder, list(one.tests))
            except (OSError, ValueError) as error:
                passed, last = True, str(error)
            finally:
                path.write_text(before)
            survived += passed
            verdict = "SURVIVED" if passed else "fits" if arguments.list else "caught"
            print(f"{verdict:<8}  {one.name} ({time.monotonic() - began:.0f} s)  {last}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} {'fit' if arguments.list else 'caught'}")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
