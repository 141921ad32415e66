"""`atelier prompts`: what a prompt means and how to say it better, without a stack."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, exit_on_error, out
from serve.errors import InvalidRequest

prompts = typer.Typer(help="Understand and improve prompts; needs no stack.", no_args_is_help=True)
TextArgument = Annotated[str, typer.Argument(metavar="PROMPT")]


@prompts.command()
def analyze(prompt: TextArgument, as_json: JsonOption = False) -> None:
    """Show the keywords, concepts, mood, sentiment, colours and suggested styles of a prompt."""
    from serve.ensembles.prompts.analysis import PromptAnalyser, to_json

    with exit_on_error():
        found = to_json(PromptAnalyser().analyse(prompt))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    table = Table("", "found", show_header=False)
    table.add_row("sentiment", f"{found['sentiment']['label']} ({found['sentiment']['confidence']:.2f})")
    mood = found["mood"]
    table.add_row("mood", f"{mood['name']} ({mood['confidence']:.2f})" if mood else "")
    for name in ("concepts", "objects", "excluded"):
        table.add_row(name, escape(", ".join(one["name"] for one in found[name])))
    for category, keywords in found["keywords"].items():
        table.add_row(category, escape(", ".join(one["name"] for one in keywords)))
    table.add_row("palette", escape(", ".join(f"{one['hex']} ({one['name']})" for one in found["palette"])))
    suggestions = (f"{one['style']}: {one['reason']}" for one in found["style_suggestions"])
    table.add_row("styles to try", escape("\n".join(suggestions)))
    table.add_row("served by", found["served_by"])
    out.print(table)


@prompts.command()
def enhance(
    prompt: TextArgument,
    level: Annotated[str, typer.Option(help="light, balanced or rich.")] = "balanced",
    style: Annotated[str | None, typer.Option(help="A style to use, such as watercolour.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add to a prompt what it leaves open, and say why."""
    from serve.ensembles.prompts import enhancement
    from serve.ensembles.prompts.analysis import PromptAnalyser

    with exit_on_error():
        analyser = PromptAnalyser()
        for name, value, known in (
            ("--level", level, list(enhancement.LEVELS)), ("--style", style, list(analyser.vocabulary.terms["styles"])),
        ):  # fmt: skip
            if value is not None and value not in known:
                raise InvalidRequest(f"must be one of {', '.join(known)}", name)
        done = enhancement.enhance(analyser, prompt, level, style)
    if as_json:
        changes = [{"kind": one.kind, "text": one.text, "reason": one.reason} for one in done.changes]
        answer = {"enhanced": done.enhanced, "negative_prompt": done.negative_prompt, "changes": changes}
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    out.print(done.enhanced, markup=False, soft_wrap=True)
    for change in done.changes:
        out.print(f"  {change.text}: {change.reason}", markup=False, soft_wrap=True)
    if done.negative_prompt:
        out.print(f"negative prompt: {done.negative_prompt}", markup=False, soft_wrap=True)


@prompts.command()
def refine(
    prompt: TextArgument,
    feedback: Annotated[str, typer.Argument(metavar="FEEDBACK", help="Such as: make it more dramatic.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Refine a prompt by feedback, as the art director does: by the site's language model, or by rules."""
    import asyncio

    from serve.api.mind.director import create_director
    from serve.settings import load

    with exit_on_error():
        answered = asyncio.run(create_director(load(config).director).refine_prompt(prompt, feedback))
    found = answered.value
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "degraded": answered.degraded}, indent=2, ensure_ascii=False))
        return
    out.print(found.refined_prompt, markup=False, soft_wrap=True)
    out.print(f"  {found.explanation}", markup=False, soft_wrap=True)
    for other in found.alternatives:
        out.print(f"  or: {other}", markup=False, soft_wrap=True)
    out.print(f"served by: {answered.served_by}", markup=False)


@prompts.command()
def explain(
    concept: Annotated[str, typer.Argument(metavar="CONCEPT")], as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Explain a term of art, such as chiaroscuro."""
    import asyncio

    from serve.api.mind.director import create_director
    from serve.settings import load

    with exit_on_error():
        answered = asyncio.run(create_director(load(config).director).explain_concepts(concept))
    if as_json:
        print(json.dumps(dataclasses.asdict(answered.value), indent=2, ensure_ascii=False))
        return
    out.print(answered.value.text, markup=False, soft_wrap=True)
    if answered.value.example:
        out.print(f"  {answered.value.example}", markup=False, soft_wrap=True)
