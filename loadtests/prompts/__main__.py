"""``python -m loadtests.prompts [report|fit|errors|rate]``."""

from __future__ import annotations

import asyncio
import os
import sys

from loadtests.prompts.evaluate import calibration, evaluate, fit, halves, read, times_ms
from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.ensembles.prompts.text_engine import TextEngine
from serve.ensembles.prompts.vocabulary import KEYWORDS
from serve.settings import Settings


def main(command: str = "report") -> None:
    prompts, analyser = read(), PromptAnalyser()
    both = PromptAnalyser(engine=TextEngine(Settings().illustrator.model_repository / "prompt_text"))
    fitting, held_out = halves(prompts)
    if command == "fit":
        known, loss = fit(fitting, analyser.analyse)
        print(f"slope = {known.slope}\nneutral = {known.neutral}\noffset = {known.offset}\n# log loss {loss:.3f}")
    elif command == "rate":
        from loadtests.prompts.rate import measure  # the whole application: slow to import

        for wanted in (None, 200):
            rate, cpu_ms, p50, p95 = asyncio.run(measure(wanted))
            asked = "as many as 8 callers send" if wanted is None else f"{wanted} a second asked for"
            print(
                f"{asked}: {rate:.0f} requests/s, {cpu_ms:.2f} ms of processor each, p50 {p50:.1f} ms, "
                f"p95 {p95:.1f} ms; load average {os.getloadavg()[0]:.0f}"
            )
    elif command == "errors":
        for one in fitting:
            got = analyser.analyse(one.prompt)
            wrong = {kind: (sorted(one.keywords[kind]), got.names(kind)) for kind in KEYWORDS
                     if set(got.names(kind)) != one.keywords[kind]}  # fmt: skip
            concepts = {each.name for each in got.concepts}
            if concepts != one.concepts:
                wrong["concepts"] = (sorted(one.concepts), sorted(concepts))
            if (got.mood.name if got.mood else None) != one.mood:
                wrong["mood"] = ([str(one.mood)], [str(got.mood.name if got.mood else None)])
            if got.sentiment.label != one.sentiment:
                wrong["sentiment"] = ([one.sentiment], [got.sentiment.label])
            if wrong:
                print(one.prompt, *(f"\n    {kind}: {truth} not {found}" for kind, (truth, found) in wrong.items()))
    else:
        print(f"{len(held_out)} held-out prompts of {len(prompts)}\n")
        print("| | precision | recall | F1 | F1 of rules alone | labels |\n|---|---|---|---|---|---|")
        rules = {score.name: score.f1 for score in evaluate(held_out, analyser.analyse)}
        for score in evaluate(held_out, both.analyse):
            shown = (score.precision, score.recall, score.f1, rules[score.name])
            print(f"| {score.name} | {' | '.join(f'{value:.2f}' for value in shown)} | {score.labels} |")
        bins, error = calibration(held_out, both.analyse)
        print(
            f"\nSentiment: expected calibration error {error:.3f}, of rules alone "
            f"{calibration(held_out, analyser.analyse)[1]:.3f}\n\n| confidence | right | prompts |\n|---|---|---|"
        )
        for part in bins:
            print(f"| {part.confidence:.2f} | {part.accuracy:.2f} | {part.count} |")
        taken = times_ms(held_out, both.engine)
        p50, p95 = taken[len(taken) // 2], taken[int(0.95 * len(taken))]
        print(f"\nOne analysis: p50 {p50:.2f} ms, p95 {p95:.2f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:2])
