"""Scenarios, limits and verdicts of the load tests (D-071)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from loadtests.load import tables
from loadtests.load.answers import ExpectedAnswers, Wrong, check_not_degraded, picture, svg
from loadtests.load.drawings import DRAWINGS, SIZES_PX, all_encoded, encoded
from loadtests.load.limits import FILE as LIMITS
from loadtests.load.limits import Limits, Measured, broken, degradation, limits, not_judged, uncounted
from loadtests.load.memory import kind_of, pss_bytes
from loadtests.load.observations import Observations
from loadtests.load.outcome import Outcome, Window, outcome
from loadtests.load.requests import ANEW, Requests
from loadtests.load.run import Target, command, judged
from loadtests.load.scenario import FILE, Changes, Stage, mixes, names, parse, scenario
from serve.ensembles.vectorizer.vectorization import unmet_note
from serve.settings import load

MIB = 1024 * 1024
ENTRIES = [
    {
        "method": "native",
        "name": "vectorize",
        "num_requests": 90,
        "num_failures": 1,
        "num_reqs_per_sec": {"1000": 50, "1009": 30, "1010": 8, "1013": 2},
        "response_times": {"50": 45, "100": 40, "260": 5},
    },
    {
        "method": "jobs",
        "name": "vectorize, from request to result",
        "num_requests": 10,
        "num_failures": 1,
        "num_reqs_per_sec": {"1003": 10},
        "response_times": {"100": 9, "400": 1},
    },
    {
        "method": "jobs",
        "name": "step: status",
        "num_requests": 900,
        "num_failures": 0,
        "num_reqs_per_sec": {"1003": 900},
        "response_times": {"1": 900},
    },
]
WINDOW = Window(1000.5, 10.0)
"""To the middle of the second 1010."""


def test_every_scenario_is_valid_and_required_ones_exist() -> None:
    """D-055, D-071, C-101."""
    known = {name: scenario(name) for name in names()}
    stress = {(known[f"stress_{n}"].stages[0].users, known[f"stress_{n}"].run_time_s) for n in (10, 50, 100)}
    assert stress == {(10, 300), (50, 600), (100, 900)}
    assert known["rate_1000"].per_minute == 1000
    assert [(known[f"tier_{n}"].tier, known[f"tier_{n}"].stages[0].users) for n in (1, 2, 3)] == [
        (tier, 1) for tier in "123"
    ]
    assert known["soak"].run_time_s >= 3600
    users = [stage.users for stage in known["step"].stages]
    assert users[0] == users[-1] == 1 < max(users)
    assert all(one.mix in mixes().values() for one in known.values())


def test_only_the_step_scenario_scales_the_stack() -> None:
    started = {name: load(**scenario(name).stack).illustrator.max_replicas for name in names()}
    assert {name for name, most in started.items() if most > 1} == {"step"}


def test_stages_follow_each_other() -> None:
    found = parse("x", {"mix": "m", "stages": [[30, 1], [60, 8]]}, {"m": {"NativeVectorize": 1}})
    assert found.run_time_s == 90
    assert [found.at(seconds) for seconds in (0, 30, 90)] == [Stage(30, 1, 1), Stage(60, 8, 8), None]


@pytest.mark.parametrize("changes", [{"stages": [[0, 1]]}, {"run_time_s": 5, "per_minute": -1}, {"run_time_s": 0}])
def test_invalid_scenario_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="x: "):
        parse("x", {"mix": "m", **changes}, {"m": {"NativeVectorize": 1}})


def test_command_line_overrides_the_scenario() -> None:
    changed = scenario("callers_10", Changes(mix="openai", users=3, run_time_s=5, steps=2))
    assert changed.stages == (Stage(5, 3, 10),)
    assert (changed.mix, changed.steps) == (mixes()["openai"], 2)


def test_limits_name_only_known_scenarios_and_override_the_default() -> None:
    named = {line.split(":")[0] for line in LIMITS.read_text().splitlines() if line and line[0] not in "# "} - {"rates"}
    assert named - {"default"} <= set(names())
    assert {limits(name).baseline for name in named} - {""} <= set(names())
    assert limits("callers_1").p95_ms < limits("stress_100").p95_ms
    assert limits("stress_100").memory_mib == 1024
    assert limits("rate_1000").failure_ratio == 0.01
    assert limits("rate_1000").p95_ms == 500
    assert [limits(f"tier_{n}").p95_ms for n in (1, 2, 3)] == [200, 500, 1000]
    assert limits("cached").cache_hit_ratio == 0.8
    assert limits("stress_100").degradation == 0.1


def test_verdict_is_on_all_results_and_not_on_steps() -> None:
    report = judged(scenario("smoke", Changes(run_time_s=10)), ENTRIES, Observations(began=1000.5), [], Path("unused"))
    assert report.measured.outcome == Outcome(100, 2, 100.0, 260.0, 260.0, 9.4)
    assert report.kinds["jobs: step: status"].requests == 900
    assert report.vocabularies["jobs"].requests == 10
    assert report.vocabularies["jobs"].p95_ms == 400
    assert outcome([], WINDOW) == Outcome()
    assert tables.kinds(report).splitlines()[-1].startswith("| all work | 100 | 9.4 |")


def test_rate_counts_responses_within_the_run() -> None:
    found = outcome(ENTRIES[:1], WINDOW)
    assert found.requests == 90
    assert found.requests_per_second == pytest.approx((50 + 30 + 8 / 2) / 10)
    assert outcome([{**ENTRIES[0], "num_reqs_per_sec": {"1010": 90}}], WINDOW).requests_per_second == 4.5


def test_equal_errors_are_added_up() -> None:
    words = {"native: vectorize": {"503": 2}, "jobs: vectorize, from request to result": {"503": 1}}
    notes = Observations(began=1000.5, errors={kind: Counter(texts) for kind, texts in words.items()})
    notes.failed("jobs: step: status", "503")
    report = judged(scenario("smoke"), ENTRIES, notes, [], Path("unused"))
    assert report.measured.outcome.errors == {"503": 3}
    assert report.kinds["native: vectorize"].errors == {"503": 2}


def test_growing_number_of_polls_hides_no_degradation() -> None:
    """Jobs that wait ten times as long are polled ten times as often."""
    polls = {**ENTRIES[2], "num_requests": 9000, "num_reqs_per_sec": {"1003": 9000}, "response_times": {"1": 9000}}
    half = {**ENTRIES[0], "num_requests": 45, "num_reqs_per_sec": {"1003": 45}, "response_times": {"20000": 45}}
    calm, busy = (
        judged(scenario("smoke", Changes(run_time_s=10)), entries, Observations(began=1000.5), [], Path("unused"))
        for entries in ([{**ENTRIES[0], "num_reqs_per_sec": {"1003": 90}}, ENTRIES[2]], [half, polls])
    )
    missing = degradation(busy.measured.outcome, calm.measured.outcome)
    assert missing == pytest.approx(0.5, abs=0.02)
    assert busy.measured.outcome.p95_ms == 20000


def test_every_sent_request_is_counted() -> None:
    fine = Observations(due=101, unsent=1, started=Counter(FollowedJob=2), counted=Counter(FollowedJob=100))
    assert uncounted(Measured(Outcome(100), fine)) == []
    fine.due += 1
    assert "101 requests were sent, and 100 counted" in broken(Measured(Outcome(100), fine), Limits())
    silent = Observations(started=Counter(FollowedJob=2, NativeVectorize=1), counted=Counter(NativeVectorize=3))
    assert "no request of FollowedJob was counted" in broken(Measured(Outcome(3), silent), Limits())


def test_each_limit_is_judged() -> None:
    good = Outcome(100, 0, 50.0, 100.0, 110.0, 10.0)
    notes = Observations(due=100, late=1)
    assert broken(Measured(good, notes), Limits(0.0, 50, 100, 110, 10)) == []
    assert "1 of 100 requests failed" in broken(Measured(Outcome(100, 1), notes), Limits())[0]
    for changed, word in (({"p50_ms": 49}, "p50"), ({"p95_ms": 99}, "p95"), ({"p99_ms": 109}, "p99")):
        assert word in broken(Measured(good, notes), Limits(**changed))[0]
    assert "requests/s" in broken(Measured(good, notes), Limits(requests_per_second=11.0))[0]
    assert "due" in broken(Measured(good, notes), Limits(late_ratio=0.005))[0]
    assert "cache" in broken(Measured(good, notes), Limits(cache_hit_ratio=0.8))[0]
    assert broken(Measured(Outcome(), notes), Limits()), "no request at all is a failure"


def test_degradation_counts_correct_results() -> None:
    baseline = Outcome(100, 0, requests_per_second=10)
    same_rate_half_wrong = Outcome(100, 50, requests_per_second=10)
    assert degradation(same_rate_half_wrong, baseline) == pytest.approx(0.5)
    bounds = Limits(failure_ratio=1, baseline="callers_10", degradation=0.1)
    before = Measured(baseline, Observations())
    assert "50% less" in broken(Measured(same_rate_half_wrong, Observations()), bounds, before)[0]
    assert broken(Measured(Outcome(91, 0, requests_per_second=9.1), Observations()), bounds, before) == []
    assert broken(before, bounds, Measured(Outcome(), Observations())), "a baseline that did nothing is no baseline"


def test_more_conversions_hide_no_degradation_of_pictures() -> None:
    """Jobs count as conversions or pictures like those of other routes."""
    drawn = {**ENTRIES[0], "name": "illustrate", "num_reqs_per_sec": {"1003": 40}}
    calm, busy = (
        judged(
            scenario("smoke", Changes(run_time_s=10)), entries, Observations(began=1000.5), [], Path("unused")
        ).measured
        for entries in ([*ENTRIES, drawn], [*ENTRIES, ENTRIES[0], {**drawn, "num_reqs_per_sec": {"1003": 20}}])
    )
    assert calm.results["conversions"] == outcome(ENTRIES[:2], WINDOW)
    bounds = Limits(failure_ratio=1, baseline="short_10", degradation=0.1)
    assert broken(busy, bounds, calm) == ["pictures: 50% less done than by short_10"]
    assert "conversions: 100% less done than by short_10" in broken(
        Measured(calm.outcome, Observations()), bounds, calm
    )


def test_memory_is_judged_by_peak_and_growth() -> None:
    good = Outcome(100, 0)
    leaks = Measured(good, Observations(), [100 * MIB * n for n in range(1, 10)])
    assert (leaks.growth_mib, leaks.drift_mib) == (800, 300)
    assert len(broken(leaks, Limits(memory_mib=700, drift_mib=200))) == 2
    full_then_steady = Measured(good, Observations(), [100 * MIB] + [900 * MIB] * 8)
    assert full_then_steady.drift_mib == 0
    unknown = Measured(good, Observations())
    assert broken(unknown, Limits(memory_mib=0, drift_mib=0)) == []
    assert not_judged(unknown, Limits(memory_mib=0, drift_mib=0)) == ["memory_mib", "drift_mib"]
    assert not_judged(unknown, Limits()) == []
    assert not_judged(Measured(good, Observations(), [MIB, MIB]), limits("soak")) == ["drift_mib"], "too few values"
    assert not_judged(leaks, limits("soak")) == []


def test_observations_survive_a_round_trip(tmp_path: Path) -> None:
    notes = Observations(previews=2)
    notes.came(0.01)
    notes.came(0.5)
    notes.could_not_be_sent()
    notes.started["FollowedJob"] += 1
    notes.cache["hit"] += 4
    notes.cache["miss"] += 1
    notes.failed("native: vectorize", "503: full")
    notes.write(tmp_path / "notes.json")
    read = Observations.read(tmp_path / "notes.json")
    assert read == notes
    assert (read.due, read.late, read.unsent, read.hit_ratio) == (3, 2, 1, 0.8)


def test_responses_are_validated() -> None:
    box = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="red"/></svg>'
    assert svg(box, 64, 64).shape == (64, 64, 3)
    for wrong in (b"<svg", b"<p/>", box.replace(b"64 64", b"64 32", 1)):
        with pytest.raises(Wrong):
            svg(wrong, 64, 64)
    data = encoded("gradient", 128)
    assert picture(data, (128, 128)).shape == (128, 128, 3)
    for bytes_, size in ((data, (64, 64)), (data[:500], None), (b"no picture", None)):
        with pytest.raises(Wrong):
            picture(bytes_, size)


def test_degraded_response_is_wrong() -> None:
    check_not_degraded([])
    check_not_degraded([unmet_note("target_quality", 0.9, 0.81)])
    with pytest.raises(Wrong, match="degraded: tier2 failed"):
        check_not_degraded([unmet_note("target_quality", 0.9, 0.81), "tier2 failed (timeout): tier 1"])


def test_equal_requests_have_equal_responses() -> None:
    known, pixels = ExpectedAnswers(), picture(encoded("gradient", 128), None)
    known.check(("a", 1), pixels)
    known.check(("a", 1), pixels)
    known.check(("a", 1), pixels + (pixels < 255))  # up to an engine's rounding
    known.check(("a", 2), 255 - pixels)
    with pytest.raises(Wrong):
        known.check(("a", 1), 255 - pixels)


def test_catalogue_is_requested_by_popularity_and_may_be_cached() -> None:
    popular = Requests(60, 4, "1", seed=1)
    numbers = [popular.illustration().number for _ in range(2000)]
    assert numbers.count(0) > 2 * numbers.count(4) > 0
    assert max(numbers) < 60
    assert popular.headers == {}
    assert Requests(0, 4, "1").headers == ANEW
    assert {popular.unseen().number for _ in range(500)} <= set(range(60))
    assert popular.conversion().comment == ""
    requests = {(one.prompt, one.seed) for one in (popular.illustration() for _ in range(2000))}
    assert len(requests) == len(set(numbers)) == 60


def test_without_a_catalogue_no_file_or_unseen_drawing_repeats() -> None:
    """Jobs use the cache whatever their headers are."""
    fresh = Requests(0, 4, "1", seed=1)
    requests = [fresh.conversion() for _ in range(200)]
    assert len({one.image for one in requests}) == 200
    assert len({one.known_as for one in requests}) < 20, "answers can be compared"
    pixels = {one.known_as: picture(one.image, (one.side_px, one.side_px)).tobytes() for one in requests}
    assert all(picture(one.image, None).tobytes() == pixels[one.known_as] for one in requests)
    assert len({fresh.unseen().seed for _ in range(200)}) == 200


def test_drawings_differ_and_are_pictures_of_their_size() -> None:
    files = all_encoded()
    assert len(set(files)) == len(files) == len(DRAWINGS) * (len(SIZES_PX) + 1)
    for size in SIZES_PX:
        assert Image.open(io.BytesIO(encoded("gradient", size))).size == (size, size)
    assert Image.open(io.BytesIO(encoded("text", 512, "JPEG"))).format == "JPEG"


def test_locust_lists_the_users_and_the_command_line_hides_the_key() -> None:
    line = command(scenario("smoke"), Target("http://127.0.0.1:1", "127.0.0.1:1", "a-secret"), FILE.parent / "unused")
    assert "a-secret" not in " ".join(line)
    listed = subprocess.run([*line[:5], "--list"], capture_output=True, text=True, timeout=60, check=True)
    users = set((listed.stdout + listed.stderr).split())
    assert {name for mix in mixes().values() for name in mix} <= users


def test_memory_counts_a_process_tree() -> None:
    held = subprocess.Popen([sys.executable, "-c", "x = bytearray(50_000_000); print(1, flush=True); input()"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert held.stdout is not None
        held.stdout.readline()
        alone = sum(pss_bytes([held.pid]).values())
        assert alone > 50_000_000
        assert sum(pss_bytes([os.getpid()]).values()) > alone
    finally:
        held.communicate(b"\n", timeout=60)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ray::ServeReplica:default:Vectorizer", "replicas"),
        ("/x/tritonserver --model-repository=/y", "Triton"),
        ("/x/triton_python_backend_stub model.py", "Triton backends"),
        ("haproxy -f /tmp/haproxy.cfg", "proxy"),
        ("sleep 5", "other"),
    ],
)
def test_kinds_of_process(line: str, kind: str) -> None:
    assert kind_of(line.split()) == kind
