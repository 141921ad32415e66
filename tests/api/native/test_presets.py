"""C-022: five categories of templates, three qualities."""

from __future__ import annotations

import pytest
from illustrator_standin import family

from serve.api.http.drawing import Order
from serve.api.native.presets import CATEGORIES, PLACE, QUALITIES, apply, quality_of, steps_of, template_of
from serve.diffusion.prompt import parse
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.errors import InvalidRequest


def test_categories_and_qualities() -> None:
    assert list(CATEGORIES) == ["landscape", "portrait", "abstract", "fantasy", "sci-fi"]
    assert [quality.name for quality in QUALITIES] == ["draft", "standard", "high quality"]
    for templates in CATEGORIES.values():
        assert len({template.name for template in templates}) == len(templates) >= 3


@pytest.mark.parametrize("template", [t for found in CATEGORIES.values() for t in found], ids=lambda t: t.name)
def test_templates_hold_the_prompt_once_and_have_no_weights(template: object) -> None:
    prompt, negative = apply(template, "a (red:1.3) {prompt} fox", "rain")  # type: ignore[arg-type]
    assert prompt.count("a (red:1.3) {prompt} fox") == 1
    assert negative.startswith("rain, ")
    ((piece,),) = parse(template.prompt.replace(PLACE, "fox"))  # type: ignore[attr-defined]
    assert piece.weight == 1.0


def test_category_name_selects_its_first_template() -> None:
    assert template_of("fantasy") is CATEGORIES["fantasy"][0]
    assert template_of("fantasy/legend").name == "legend"
    assert apply(template_of("fantasy"), "x", "")[1] == CATEGORIES["fantasy"][0].negative_prompt


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (IllustrateOptions("a fox"), [None, None, None]),
        (IllustrateOptions("a fox", negative_prompt="rain"), [10, 20, 40]),
        (IllustrateOptions("a fox", num_inference_steps=7), [7, 7, 7]),
    ],
)
def test_long_steps_that_a_family_was_taught_are_of_every_quality(
    options: IllustrateOptions, steps: list[int | None]
) -> None:
    taught = family("fox", num_inference_steps=20, few_steps=4, sampler="flow_euler")
    orders = [Order(options, Encoding(), {}).with_quality(quality, taught) for quality in QUALITIES]
    assert [order.options.num_inference_steps for order in orders] == steps
    assert [order.steps_to_do(taught) for order in orders] == [step or 4 for step in steps]


@pytest.mark.parametrize("name", ["", "food", "fantasy/nothing", "/legend", "Fantasy"])
def test_unknown_templates_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="landscape, portrait") as caught:
        template_of(name)
    assert caught.value.field == "preset"


def test_qualities_are_relative_to_the_models_steps() -> None:
    slow, fast = family("slow", num_inference_steps=30), family("fast", num_inference_steps=1)
    assert [steps_of(quality, slow) for quality in QUALITIES] == [15, 30, 60]
    assert [steps_of(quality, fast) for quality in QUALITIES] == [1, 1, 2]
    assert steps_of(quality_of("high quality"), family("long", num_inference_steps=900)) == 1000
    with pytest.raises(InvalidRequest, match="draft, standard, high quality"):
        quality_of("best")
