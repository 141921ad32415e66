"""The inputs of the model ``illustrate``: tensors and parameters as `IllustrateOptions`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from serve.api.http.composition import GuidedFields
from serve.api.http.drawing import Prompt
from serve.api.http.guides import SentPictures
from serve.api.http.input_pictures import PictureUseFields, input_picture, mask_picture
from serve.api.http.loras import take_tags
from serve.api.http.models import Flag, Number, RequestModel, Text, Whole, validate
from serve.api.inference.codec import InferRequest
from serve.api.inference.description import (
    TensorSpec,
    own_parameters,
)
from serve.api.inference.tensors import Tensor
from serve.api.inference.vectorize_model import read_picture
from serve.ensembles.illustrator.finishing.finish import Finish
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS, IllustrateOptions
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.errors import InvalidRequest, rename_fields
from serve.settings import ImageLimitsSettings
from serve.vector.image import ImageLimits

_TEXTS = ("prompt", "negative_prompt", "model", "sampler")
_WHOLES = ("width", "height", "num_inference_steps", "n", "preview_every", "seed", "candidates")
_NUMBERS = ("guidance_scale", "guidance_rescale")
_PICTURES = ("image", "mask")
_PICTURE_TEXTS = ("fit", "mask_fill", "outpaint")
_PICTURE_WHOLES = ("mask_blur", "mask_crop", "mask_crop_padding")
_PICTURE_NUMBERS = ("strength",)
_LISTS = ("regions", "subjects", "relationships", "loras", "controls", "references")
"""JSON text, with pictures as data: URLs; LoRAs also as in ``ink:0.8, sketch:-0.4``."""
_FINISH_TEXTS, _FINISH_NUMBERS, _FINISH_WHOLES = ("upscaler",), ("upscale",), ("remove_background", "restore_faces")
_FINISH = (*_FINISH_TEXTS, *_FINISH_NUMBERS, *_FINISH_WHOLES)

INPUTS = [
    TensorSpec("prompt", "BYTES"),
    *(TensorSpec(name, "BYTES", optional=True) for name in _TEXTS[1:]),
    *(TensorSpec(name, "INT64", optional=True) for name in _WHOLES),
    *(TensorSpec(name, "FP32", optional=True) for name in _NUMBERS),
    *(TensorSpec(name, "BYTES", optional=True) for name in (*_PICTURES, *_PICTURE_TEXTS, *_LISTS)),
    *(TensorSpec(name, "INT64", optional=True) for name in _PICTURE_WHOLES),
    *(TensorSpec(name, "FP32", optional=True) for name in (*_PICTURE_NUMBERS, *_FINISH_NUMBERS)),
    *(TensorSpec(name, "BYTES", optional=True) for name in _FINISH_TEXTS),
    *(TensorSpec(name, "INT64", optional=True) for name in (*_FINISH_WHOLES, "draws")),
]
_NAMES = tuple(spec.name for spec in INPUTS)


class IllustrateInputs(RequestModel):
    """The bounds of numbers are those of `IllustrateOptions`."""

    prompt: Prompt
    negative_prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    model: Annotated[Text | None, Field(max_length=MAX_PROMPT_CHARACTERS)] = None
    sampler: Annotated[Text | None, Field(max_length=MAX_PROMPT_CHARACTERS)] = None
    width: Whole | None = None
    height: Whole | None = None
    num_inference_steps: Whole | None = None
    n: Whole = 1
    candidates: Whole = 1
    preview_every: Whole = 0
    seed: Whole | None = None
    guidance_scale: Number | None = None
    guidance_rescale: Number = 0.0
    draws: Flag = True


class AnswerInputs(RequestModel):
    """``alpha``: pictures of models that draw on a transparent ground have four channels, straight alpha."""

    alpha: Flag = False


class FinishInputs(RequestModel):
    """What is done to the picture once it is drawn, or without drawing (``draws`` 0)."""

    upscale: Number = 1.0
    upscaler: Annotated[Text | None, Field(max_length=64)] = None
    remove_background: Flag = False
    restore_faces: Flag = False


class PictureIllustrateInputs(IllustrateInputs):
    """With a picture the prompt may be empty."""

    prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""


class PictureInputs(PictureUseFields):
    """How the tensor ``image`` is drawn from."""


async def read_options(
    request: InferRequest, timeout_s: float | None, limits: ImageLimitsSettings
) -> IllustrateOptions:
    """Raises ``InvalidRequest`` that names the tensor or the parameter at fault."""
    values = own_parameters(request)
    validate(AnswerInputs, {name: values.pop(name) for name in AnswerInputs.model_fields if name in values})
    pictures: dict[str, Tensor] = {}
    for tensor in request.inputs:
        if tensor.name in _PICTURES:
            pictures[tensor.name] = tensor
            continue
        if tensor.name not in _NAMES:
            raise InvalidRequest(f"is not an input of illustrate; known: {', '.join(_NAMES)}", tensor.name[:64])
        if tensor.name in values:
            raise InvalidRequest("is an input and a parameter; send one of them", tensor.name)
        values[tensor.name] = _element(tensor)
    uses = {name: values.pop(name) for name in PictureInputs.model_fields if name in values}
    source = await _source(pictures, uses, limits)
    places = {name: values.pop(name) for name in _LISTS if name in values}
    guides = await validate(GuidedFields, places).guides(SentPictures(ImageLimits(**limits.model_dump())))
    finish = Finish(
        **validate(FinishInputs, {name: values.pop(name) for name in _FINISH if name in values}).model_dump()
    )
    inputs = validate(IllustrateInputs if source is None else PictureIllustrateInputs, values)
    with rename_fields({"timeout_s": "timeout"}):
        chosen = {"prompt": inputs.prompt, **inputs.model_dump(exclude_unset=True)}
        for name in ("prompt", "negative_prompt"):
            if name in chosen:
                chosen[name], tagged = take_tags(chosen[name], name)
                guides["loras"] += tagged
        return IllustrateOptions(timeout_s=timeout_s, source=source, finish=finish, **{**chosen, **guides})


def keeps_alpha(request: InferRequest) -> bool:
    """Of a request whose options were read."""
    values = own_parameters(request)
    return validate(AnswerInputs, {name: values[name] for name in AnswerInputs.model_fields if name in values}).alpha


async def _source(
    pictures: Mapping[str, Tensor], uses: Mapping[str, Any], settings: ImageLimitsSettings
) -> PictureSource | None:
    """``uses``: parameters and inputs that say how the picture is drawn from."""
    if "image" not in pictures:
        name = next(iter((*pictures, *uses)), None)
        if name is not None:
            raise InvalidRequest("needs the input image", name)
        return None
    fields = validate(PictureInputs, uses)
    limits = ImageLimits(**settings.model_dump())
    image = await input_picture(await asyncio.to_thread(read_picture, pictures["image"], settings), "image", limits)
    mask = None
    if "mask" in pictures:
        data = await asyncio.to_thread(read_picture, pictures["mask"], settings)
        mask = await mask_picture(data, "mask", limits, image)
    return fields.source(image, mask)


def _element(tensor: Tensor) -> Any:
    """The one element of ``tensor``. Raises ``InvalidRequest`` for a wrong shape or datatype."""
    name, array = tensor.name, tensor.array
    if array.shape not in ((1,), (1, 1)):  # the second is a batch of one
        raise InvalidRequest(f"must have the shape [1], not {list(array.shape)}", name)
    element = array.ravel()[0]
    if name in (*_TEXTS, *_PICTURE_TEXTS, *_LISTS, *_FINISH_TEXTS):
        return _text(element, tensor)
    is_whole = name in (*_WHOLES, *_PICTURE_WHOLES, *_FINISH_WHOLES, "draws")
    if array.dtype.kind not in ("iu" if is_whole else "iuf"):
        kind = "a whole number" if is_whole else "a number"
        raise InvalidRequest(f"must be {kind} (such as INT64), not {tensor.datatype}", name)
    # Through the shortest decimal text: 7.1 in FP32 then is 7.1, as in JSON.
    return float(str(element)) if array.dtype.kind == "f" else int(element)


def _text(element: Any, tensor: Tensor) -> str:
    if tensor.datatype != "BYTES":
        raise InvalidRequest(f"must be BYTES, not {tensor.datatype}", tensor.name)
    try:
        return bytes(element).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("is not valid UTF-8", tensor.name) from None
