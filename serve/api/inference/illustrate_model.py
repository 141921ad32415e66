"""The Illustrator as a model of the open inference protocol: a prompt in, pixels out, previews on the way."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from serve.api.http.drawing import Prompt
from serve.api.http.input_pictures import PictureUseFields, input_picture, mask_picture
from serve.api.http.models import Number, RequestModel, Text, Whole, validate
from serve.api.inference.codec import InferRequest
from serve.api.inference.description import (
    Answer,
    ModelDescription,
    TensorSpec,
    own_parameters,
    to_tensors,
    versions_parameter,
)
from serve.api.inference.tensors import Array, Tensor
from serve.api.inference.usage import Recorder
from serve.api.inference.vectorize_model import read_picture
from serve.ensembles.illustrator.encoding import opaque
from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    MAX_PROMPT_CHARACTERS,
    FamilyInfo,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    Preview,
)
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.requests import IllustrateRequest
from serve.errors import AtelierError, InvalidRequest, TooLarge, rename_fields
from serve.jobs.direct.direct_request import assignment_unit
from serve.releases.fallback.serving import serving
from serve.releases.rollouts.version_selector import VersionSelector
from serve.settings import ImageLimitsSettings
from serve.vector.image import ImageLimits

_TEXTS = ("prompt", "negative_prompt", "model", "sampler")
_WHOLES = ("width", "height", "num_inference_steps", "n", "preview_every", "seed", "candidates")
_NUMBERS = ("guidance_scale", "guidance_rescale")
_PICTURES = ("image", "mask")
_PICTURE_TEXTS = ("fit", "mask_fill", "outpaint")
_PICTURE_WHOLES = ("mask_blur", "mask_crop", "mask_crop_padding")
_PICTURE_NUMBERS = ("strength",)

INPUTS = [
    TensorSpec("prompt", "BYTES"),
    *(TensorSpec(name, "BYTES", optional=True) for name in _TEXTS[1:]),
    *(TensorSpec(name, "INT64", optional=True) for name in _WHOLES),
    *(TensorSpec(name, "FP32", optional=True) for name in _NUMBERS),
    *(TensorSpec(name, "BYTES", optional=True) for name in (*_PICTURES, *_PICTURE_TEXTS)),
    *(TensorSpec(name, "INT64", optional=True) for name in _PICTURE_WHOLES),
    *(TensorSpec(name, "FP32", optional=True) for name in _PICTURE_NUMBERS),
]
_NAMES = tuple(spec.name for spec in INPUTS)

DESCRIPTION = ModelDescription(
    name="illustrate",
    platform="atelier_illustrator",
    inputs=INPUTS,
    outputs=[
        TensorSpec("image", "UINT8", (-1, -1, -1, 3)),
        TensorSpec("seed", "INT64", (-1,)),
        TensorSpec("tokens", "INT64"),
        TensorSpec("evaluations", "INT64"),
        TensorSpec("processing_time_ms", "FP32"),
        TensorSpec("parameters", "BYTES"),
        TensorSpec("metadata", "BYTES"),
    ],
    decoupled=True,
)
"""``image`` is [n, height, width, 3] sRGB. ``seed`` is [n]: each seed alone, with n = 1, draws the same picture again.

``parameters`` is JSON: the parameters of the first picture. ``metadata`` is JSON: the same and all other details.
"""

MAX_ANSWER_BYTES = 60 * 1024 * 1024
"""Pixels of one answer: a gRPC message of the stack holds 64 MiB."""


class IllustrateModel:
    description = DESCRIPTION

    def __init__(
        self,
        service: IllustratorService,
        limits: ImageLimitsSettings,
        version_selector: VersionSelector | None,
        recorder: Recorder,
    ) -> None:
        """``limits`` are those of input pictures. Without a ``version_selector`` the ensemble selects the versions of
        its engines."""
        self._service = service
        self._limits = limits
        self._version_selector = version_selector
        self._recorder = recorder
        self._known: Sequence[FamilyInfo] = ()

    async def ready(self) -> bool:
        try:
            health = await self._service.health()
            return bool(health.asleep) or (health.ready and bool(await self._families()))
        except AtelierError:
            return False

    async def config(self) -> dict[str, Any]:
        """With the parameter ``models``: JSON of what each family draws, the default first."""
        families = json.dumps([dataclasses.asdict(family) for family in await self._families()])
        return {**DESCRIPTION.config(), "parameters": {"models": {"string_value": families}}}

    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer:
        drawn = await serving(self._service, user_id).draw(await self._options(request, timeout_s, user_id))
        await self._keep(user_id, drawn)
        return _answer(drawn, request)

    async def _keep(self, user_id: str, drawn: Illustration) -> None:
        await self._recorder.keep(user_id, ILLUSTRATE, drawn.parameters.model, drawn.processing_time_s, drawn.cost)

    async def stream(self, request: InferRequest, timeout_s: float | None, user_id: str) -> AsyncGenerator[Answer]:
        """Previews (``preview_every``) with the output ``image`` and their step, then the answer with all outputs."""
        options = await self._options(request, timeout_s, user_id)
        async with contextlib.aclosing(serving(self._service, user_id).stream(options)) as items:
            async for item in items:
                if isinstance(item, Preview):
                    yield _preview(item, request)
                elif isinstance(item, Illustration):
                    await self._keep(user_id, item)
                    yield _answer(item, request)

    async def _options(self, request: InferRequest, timeout_s: float | None, user_id: str) -> IllustrateOptions:
        DESCRIPTION.requested_outputs(request)
        options = await read_options(request, timeout_s, self._limits)
        await self._check_size(options)
        if self._version_selector is None:
            return options
        drawing_request = IllustrateRequest(options)
        return (await self._version_selector.assign(drawing_request, assignment_unit(drawing_request, user_id))).options

    async def _check_size(self, options: IllustrateOptions) -> None:
        """Raises ``TooLarge``, before drawing, for pictures that one answer cannot hold."""
        for family in await self._families():
            if options.model in (None, family.name):
                width, height = family.size_for(options)
                drawn = max(width, height) <= family.max_px  # else the family raises an error that names the side
                source = options.source
                if source is not None and (source.outpaint or source.mask_crop):
                    width, height = source.size
                if drawn and options.n * width * height * 3 > MAX_ANSWER_BYTES:
                    what = f"{options.n} pictures of {width} x {height}"
                    raise TooLarge(f"{what} are more than the {MAX_ANSWER_BYTES} bytes that one answer holds", "n")
                return

    async def _families(self) -> Sequence[FamilyInfo]:
        """Cached at the first call: they cannot change while the stack runs."""
        if not self._known:
            self._known = await self._service.families()
        return self._known


def _preview(preview: Preview, request: InferRequest) -> Answer:
    shown = any(spec.name == "image" for spec in DESCRIPTION.requested_outputs(request))
    where = {"index": preview.index, "step": preview.step, "steps": preview.steps}
    return Answer(DESCRIPTION.version, {"image": opaque(preview.pixels)[None]} if shown else {}, where, final=False)


def _answer(drawn: Illustration, request: InferRequest) -> Answer:
    return Answer(DESCRIPTION.version, to_outputs(drawn, request), versions_parameter(drawn.model_versions))


def to_outputs(drawn: Illustration, request: InferRequest) -> dict[str, Array]:
    """The outputs that ``request`` names, or all."""
    parameters = drawn.parameters.to_json()
    details = {key: value for key, value in vars(drawn).items() if key not in ("pictures", "parameters")}
    values = {
        "image": np.stack([opaque(picture.pixels) for picture in drawn.pictures]),
        "seed": np.array([picture.seed for picture in drawn.pictures], np.int64),
        "tokens": drawn.tokens,
        "evaluations": drawn.evaluations,
        "processing_time_ms": drawn.processing_time_s * 1000.0,
        "parameters": json.dumps(parameters),
        "metadata": json.dumps({"parameters": parameters, **details}),
    }
    return to_tensors(values, DESCRIPTION.requested_outputs(request))


# --- requests ---------------------------------------------------------------------------------------------------------


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
    inputs = validate(IllustrateInputs if source is None else PictureIllustrateInputs, values)
    with rename_fields({"timeout_s": "timeout"}):
        chosen = {"prompt": inputs.prompt, **inputs.model_dump(exclude_unset=True)}
        return IllustrateOptions(timeout_s=timeout_s, source=source, **chosen)


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
    if name in (*_TEXTS, *_PICTURE_TEXTS):
        return _text(element, tensor)
    is_whole = name in (*_WHOLES, *_PICTURE_WHOLES)
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
