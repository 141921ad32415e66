"""The layers of a drawing: the base prompt and its regions; their rows in every batch.

Each layer predicts the noise of the whole picture with its own prompts and adapters, and the predictions are summed by
masks (`serve.diffusion.regions`). So an adapter of one layer leaves the predictions of all others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve.ensembles.illustrator.adapters import AdapterSlot, unconditional
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.pipeline.text_conditioning import NEGATIVE_PROMPT, PROMPT, PromptText
from serve.ensembles.illustrator.regions import field_of

Slots = Sequence[AdapterSlot]


@dataclass(frozen=True)
class Layer:
    """The rows of the base prompt or of a region. ``unconditional``: None without guidance; it
    may be a row of an earlier layer with the same negative prompt and the same adapters."""

    conditional: int
    unconditional: int | None


@dataclass(frozen=True, eq=False)
class DrawingSlots:
    """``loras`` and ``others`` act in all layers. ``regions``: the LoRAs and the references of each region."""

    loras: Slots
    others: Slots
    regions: Sequence[tuple[Slots, Slots]]


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """``texts``: by name, with guidance the negative prompt, then the prompt. ``own``: whether it has adapters that the
    base has not, and therefore an unconditional row of its own."""

    texts: Mapping[str, PromptText]
    slots: Slots
    own: bool


@dataclass(frozen=True, eq=False)
class Row:
    """``text``: the name of its prompt."""

    text: str
    slots: Slots


def plan_layers(options: IllustrateOptions, guided: bool, slots: DrawingSlots) -> list[LayerPlan]:
    """Of the base and of each region, whose negative prompt is that of the base where it has none."""
    everywhere = [*slots.loras, *slots.others]
    base = {
        NEGATIVE_PROMPT: PromptText(options.negative_prompt, slots.loras),
        PROMPT: PromptText(options.prompt, slots.loras),
    }
    plans = [LayerPlan(base, everywhere, False)]
    for i, (region, (loras, references)) in enumerate(zip(options.regions, slots.regions, strict=True)):
        every_lora = [*slots.loras, *loras]
        texts = {NEGATIVE_PROMPT: base[NEGATIVE_PROMPT]}
        if region.negative_prompt or loras:
            negative = region.negative_prompt or options.negative_prompt
            texts = {f"{field_of(region, i)}.{NEGATIVE_PROMPT}": PromptText(negative, every_lora)}
        texts[f"{field_of(region, i)}.{PROMPT}"] = PromptText(region.prompt, every_lora)
        plans.append(LayerPlan(texts, [*everywhere, *loras, *references], bool(loras or references)))
    return plans if guided else [LayerPlan(_last(one.texts), one.slots, one.own) for one in plans]


def _last(texts: Mapping[str, PromptText]) -> dict[str, PromptText]:
    return dict([list(texts.items())[-1]])


def texts_of(plans: Sequence[LayerPlan]) -> dict[str, PromptText]:
    return {name: text for plan in plans for name, text in plan.texts.items()}


def rows_of(plans: Sequence[LayerPlan]) -> tuple[list[Row], list[Layer]]:
    """The rows of all layers, and which are whose; layers with the same negative prompt and adapters have that row in
    common."""
    rows: dict[tuple[str, int], Row] = {}
    layers = []
    for i, plan in enumerate(plans):
        places = []
        for name in plan.texts:
            key = name, i if plan.own else 0
            slots = unconditional(plan.slots) if name.endswith(NEGATIVE_PROMPT) else plan.slots
            rows.setdefault(key, Row(name, slots))
            places.append(list(rows).index(key))
        *negative, positive = places
        layers.append(Layer(positive, negative[0] if negative else None))
    return list(rows.values()), layers
