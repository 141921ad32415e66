"""The benchmark's Markdown: its statements must follow from the measurements (D-051, D-053)."""

from __future__ import annotations

from loadtests.vectorize import table
from loadtests.vectorize.measure import Measurement

TITLES = {"vtracer": "default", "vtracer_pp2": "pp2", "tier1": "Tier 1"}


def rows(method: str, ssim: float, size_bytes: int) -> list[Measurement]:
    return [
        Measurement(
            method, f"a:{k}|{c}", f"a:{k}", "a", c, 64, 64, 64, ssim, ssim, 0.001, size_bytes, 9, 3, 7, float(k), "", {}
        )
        for k in range(5)
        for c in ("clean", "jpeg70")
    ]


MEASURED = {
    "vtracer": rows("vtracer", 0.9, 2000),
    "vtracer_pp2": rows("vtracer_pp2", 0.9, 1000),
    "tier1": rows("tier1", 0.99, 400),
}


def cells(markdown: str, start: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_line_of_a_table_has_the_header_s_columns() -> None:
    for text in (table.overview(MEASURED, TITLES), table.by(MEASURED, TITLES, "condition"), table.goals(MEASURED)):
        assert len({line.count("|") for line in text.splitlines()}) == 1


def test_overview_states_removed_error_and_bytes() -> None:
    line = cells(table.overview(MEASURED, TITLES), "Tier 1")
    assert line[1:4] == ["10", "0.9900", "0.9900"]
    assert line[11].startswith("90.0 % (90.0–90.0)")
    assert line[13:15] == ["0.40", "0.0 %"]


def test_by_condition_leaves_the_baseline_out() -> None:
    text = table.by(MEASURED, TITLES, "condition")
    assert cells(text, "Tier 1")[1:] == ["90.0 % · 0.40", "90.0 % · 0.40"]
    assert "| pp2 |" not in text


def test_both_definitions_of_improvement_are_shown() -> None:
    line = cells(table.definitions(MEASURED, TITLES), "Tier 1")
    assert line[1:] == ["10.0 %", "90.0 %"]
    assert "possible on 0 of 10 pictures" in table.definitions(MEASURED, TITLES)


def test_goal_is_met_only_with_bytes_and_wins_too() -> None:
    assert cells(table.goals(MEASURED), "tier1, whole split")[-1] == "yes"
    large = MEASURED | {"tier1": rows("tier1", 0.99, 600)}
    assert cells(table.goals(large), "tier1, whole split")[-1] == "no"
    worse = MEASURED | {"tier1": [*rows("tier1", 0.99, 400)[:-1], rows("tier1", 0.5, 400)[-1]]}
    assert cells(table.goals(worse), "tier1, whole split")[-1] == "no"
    assert cells(table.goals(MEASURED), "tier2, clean")[2] == "not measured"


def test_table_without_lines_is_left_out() -> None:
    only_base = {"vtracer_pp2": MEASURED["vtracer_pp2"]}
    assert table.by(only_base, TITLES, "condition") == ""
    assert table.definitions(only_base, TITLES) == ""
