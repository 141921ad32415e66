"""Regions, subjects and relationships of drawing requests: the fields, and the regions that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, Field

from serve.api.http.guides import GuideFields, PictureReader, RegionReferenceFields, read_uses
from serve.api.http.loras import LoraChoices, chosen, take_tags
from serve.api.http.models import FORM_LIST, Number, RequestModel, Text, Whole, one_of
from serve.diffusion.layout import MAX_RELATIONSHIPS, MAX_SUBJECTS, RELATIONS, Placed, Relationship, arrange
from serve.diffusion.regions import Box
from serve.ensembles.illustrator.adapters import MAX_PICTURES_EACH, ControlUse, LoraUse, ReferenceUse, use_to_json
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.ensembles.illustrator.picture_source import MAX_BLUR_PX
from serve.ensembles.illustrator.regions import DEFAULT_WEIGHT, MAX_REGIONS, Region
from serve.errors import InvalidRequest, rename_fields
from serve.state.objects.names import media_type_of

MAX_NAME = 64


Fraction = Annotated[Number, Field(ge=0, le=1)]
Weight = Annotated[
    Number, Field(gt=0, le=1, description="share inside of the region; the rest is that of what lies below")
]


def _refuse_tags(text: str) -> str:
    if "<lora:" in text:
        raise ValueError("takes no <lora:...>: name them in the prompt or in loras")
    return text


OwnPrompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
OwnNegativePrompt = Annotated[
    Text,
    AfterValidator(_refuse_tags),
    Field(max_length=MAX_PROMPT_CHARACTERS, description="that of the drawing where it is empty"),
]
Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME)]


class BoxFields(RequestModel):
    """A part of the picture, in fractions of its width and height."""

    left: Fraction
    top: Fraction
    width: Annotated[Number, Field(gt=0, le=1)]
    height: Annotated[Number, Field(gt=0, le=1)]

    def box(self) -> Box:
        return Box(**self.model_dump())


class OwnAdapterFields(RequestModel):
    """Adapters of one part of the drawing, beside those of the whole."""

    loras: LoraChoices = None
    references: Annotated[
        list[RegionReferenceFields] | None,
        FailFast(),
        Field(max_length=MAX_PICTURES_EACH, description="what is drawn again here, by the model's IP-Adapter"),
    ] = None


class RegionFields(OwnAdapterFields):
    """A part of the picture with a prompt of its own: a box or a mask."""

    prompt: OwnPrompt
    negative_prompt: OwnNegativePrompt = ""
    box: BoxFields | None = None
    mask: Annotated[
        Text | None, Field(description="in place of box, as the drawing's mask, of any size: white is the region")
    ] = None
    weight: Weight = DEFAULT_WEIGHT
    feather: Annotated[
        Whole | None, Field(ge=0, le=MAX_BLUR_PX, description="pixels; 1/32 of the shorter side by default")
    ] = None


class SubjectFields(OwnAdapterFields):
    """A subject by its name; its place follows from the relationships unless its box is given."""

    name: Annotated[Name, AfterValidator(_refuse_tags)]
    prompt: Annotated[OwnPrompt | None, Field(description="the name by default")] = None
    negative_prompt: OwnNegativePrompt = ""
    box: BoxFields | None = None
    weight: Weight = DEFAULT_WEIGHT
    feather: Annotated[Whole | None, Field(ge=0, le=MAX_BLUR_PX)] = None


class RelationshipFields(RequestModel):
    subject: Name
    relation: Annotated[str, one_of(RELATIONS)]
    object: Name


Regions = Annotated[list[RegionFields] | None, FailFast(), Field(max_length=MAX_REGIONS), FORM_LIST]


class SubjectsFields(RequestModel):
    subjects: Annotated[
        list[SubjectFields] | None,
        FailFast(),
        Field(max_length=MAX_SUBJECTS, description="each becomes a region of its own, placed by relationships"),
        FORM_LIST,
    ] = None
    relationships: Annotated[
        list[RelationshipFields] | None,
        FailFast(),
        Field(max_length=MAX_RELATIONSHIPS, description="between subjects, by their names"),
        FORM_LIST,
    ] = None

    def layout(self) -> list[Placed]:
        """Raises InvalidRequest naming the subject or relationship at fault."""
        subjects = self.subjects or []
        if self.relationships and not subjects:
            raise InvalidRequest("needs subjects", "relationships")
        given: dict[str, Box] = {}
        for i, one in enumerate(subjects):
            if one.box is not None:
                given[one.name] = _at(f"subjects[{i}]", one.box)
        relationships = [Relationship(one.subject, one.relation, one.object) for one in self.relationships or ()]
        return arrange([one.name for one in subjects], relationships, given)

    def subject_regions(self, references: Mapping[str, References]) -> list[Region]:
        """The regions of the subjects, from the lowest layer to the highest. ``references``: by ``subjects[i]``.
        Raises InvalidRequest naming the field."""
        places = {one.name: i for i, one in enumerate(self.subjects or ())}
        regions = []
        for placed in self.layout():
            at = f"subjects[{places[placed.name]}]"
            one = (self.subjects or [])[places[placed.name]]
            prompt, loras = _tagged(one, one.prompt or one.name, at)
            with rename_fields({name: f"{at}.{name}" for name in _REGION_NAMES}):
                regions.append(
                    Region(
                        prompt,
                        one.negative_prompt,
                        box=placed.box,
                        weight=one.weight,
                        feather=one.feather,
                        name=one.name,
                        loras=loras,
                        references=references.get(at, ()),
                        client_field=at,
                    )
                )
        return regions


class CompositionFields(SubjectsFields):
    """What a drawing request says about where things are."""

    regions: Annotated[
        Regions,
        Field(description="parts with prompts of their own; a later one lies over earlier ones"),
    ] = None

    def check_number(self) -> None:
        """Raises InvalidRequest for more regions than a drawing has."""
        number = len(self.subjects or ()) + len(self.regions or ())
        if number > MAX_REGIONS:
            raise InvalidRequest(f"and subjects are {number}; at most {MAX_REGIONS} are allowed", "regions")

    def region_box(self, index: int) -> Box | None:
        """Raises InvalidRequest naming the region's field."""
        box = (self.regions or [])[index].box
        return None if box is None else _at(f"regions[{index}]", box)

    async def all_regions(self, reader: PictureReader) -> tuple[Region, ...]:
        """Those of the subjects, then ``regions``. Raises InvalidRequest naming the field, and as ``reader`` does."""
        self.check_number()  # what is wrong with a field costs no fetch
        self.layout()
        references: dict[str, References] = {}
        parts: list[tuple[str, OwnAdapterFields]] = [
            (f"subjects[{i}]", one) for i, one in enumerate(self.subjects or ())
        ]
        parts += [(f"regions[{i}]", one) for i, one in enumerate(self.regions or ())]
        for at, part in parts:
            references[at] = await read_uses(part.references, f"{at}.references", reader)
        own = []
        for i, one in enumerate(self.regions or ()):
            at = f"regions[{i}]"
            mask = None if one.mask is None else await reader.mask(one.mask, f"{at}.mask")
            prompt, loras = _tagged(one, one.prompt, at)
            box = self.region_box(i)
            with rename_fields({name: f"{at}.{name}" for name in _REGION_NAMES}):
                own.append(
                    Region(
                        prompt,
                        one.negative_prompt,
                        box=box,
                        mask=mask,
                        weight=one.weight,
                        feather=one.feather,
                        loras=loras,
                        references=references[at],
                        client_field=at if self.subjects else "",
                    )
                )
        return (*self.subject_regions(references), *own)


References = tuple[ReferenceUse, ...]
_REGION_NAMES = ("prompt", "box", "weight", "feather", "loras")


def _tagged(fields: OwnAdapterFields, prompt: str, at: str) -> tuple[str, tuple[LoraUse, ...]]:
    """``prompt`` without its tags, and the LoRAs of the field and the tags."""
    text, tagged = take_tags(prompt, f"{at}.prompt")
    return text, (*chosen(fields.loras), *tagged)


class GuidedFields(GuideFields, CompositionFields):
    """What guides a drawing beside its prompts."""

    loras: LoraChoices = None

    async def guides(self, reader: PictureReader) -> dict[str, Any]:
        """The arguments ``loras``, ``regions``, ``controls`` and ``references`` of `IllustrateOptions`. Raises
        InvalidRequest naming the field, and as ``reader`` does."""
        return {
            "loras": chosen(self.loras),
            "regions": await self.all_regions(reader),
            "controls": await read_uses(self.controls, "controls", reader),
            "references": await read_uses(self.references, "references", reader),
        }


def _at(field: str, box: BoxFields) -> Box:
    try:
        return box.box()
    except InvalidRequest as error:
        raise InvalidRequest(error.message, f"{field}.{error.field}") from None


def regions_to_json(regions: Sequence[Region], url_of: Callable[[bytes, str], str]) -> list[dict[str, Any]]:
    """As `RegionFields` of a request; ``url_of`` makes a URL of a picture's bytes."""
    documents = []
    for region in regions:
        document = region.to_json()
        for name in ("name", "client_field"):
            document.pop(name, None)
        if region.mask is not None:
            document["mask"] = url_of(region.mask.data, "image/png")
        if region.loras:
            document["loras"] = [{"name": lora.name, "weight": lora.weight} for lora in region.loras]
        if region.references:
            document["references"] = uses_to_json(region.references, url_of)
        documents.append(document)
    return documents


def uses_to_json(
    uses: Sequence[ControlUse | ReferenceUse], url_of: Callable[[bytes, str], str]
) -> list[dict[str, Any]]:
    """As `ControlFields` and `ReferenceFields` of a request; ``url_of`` makes a URL of a picture's bytes."""
    documents = []
    for use in uses:
        document = use_to_json(use)
        del document["picture"]
        document["image"] = url_of(use.picture.data, media_type_of(use.picture.data))
        if isinstance(use, ReferenceUse) and use.mask is not None:
            document["mask"] = url_of(use.mask.data, "image/png")
        documents.append(document)
    return documents
