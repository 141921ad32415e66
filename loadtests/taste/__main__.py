"""``python -m loadtests.taste``: convergence, cold start with and without a prior, drift with forgetting or not."""

from __future__ import annotations

from loadtests.taste.simulate import Setting, show, table

SETTINGS = {
    "no prior": Setting(),
    "prior of everybody": Setting(prior=2.0),
    "drift at 150, nothing forgotten": Setting(drift_at=150, prior=2.0),
    "drift at 150, half-life 50": Setting(drift_at=150, prior=2.0, half_life=50.0),
}
SPANS = ((0, 10), (10, 50), (50, 150), (150, 300))


def main() -> None:
    heads = ["setting", "algorithm", *(f"rounds {start + 1} to {end}" for start, end in SPANS), "regret in sum"]
    show(table(SETTINGS, SPANS), heads)


if __name__ == "__main__":
    main()
