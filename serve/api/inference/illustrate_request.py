"""What a request to the model ``illustrate`` asks for: every option as a tensor of one element or as a parameter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from serve.api.http.drawing import Prompt
from serve.api.http.models import Number, RequestModel, Text, Whole, validate
from serve.api.inference.codec import InferRequest
from serve.api.inference.description import TensorSpec, own_parameters
from serve.api.inference.tensors import Tensor
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS, IllustrateOptions
from serve.errors import InvalidRequest, rename_fields

_TEXTS = ("prompt", "negative_prompt", "model", "sampler")
_WHOLES = ("width", "height", "num_inference_steps", "n", "preview_every", "seed")
_NUMBERS = ("guidance_scale", "guidance_rescale")

INPUTS = [
    TensorSpec("prompt", "BYTES"),
    *(TensorSpec(name, "BYTES", optional=True) for name in _TEXTS[1:]),
    *(TensorSpec(name, "INT64", optional=True) for name in _WHOLES),
    *(TensorSpec(name, "FP32", optional=True) for name in _NUMBERS),
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
    preview_every: Whole = 0
    seed: Whole | None = None
    guidance_scale: Number | None = None
    guidance_rescale: Number = 0.0


def read_options(request: InferRequest, timeout_s: float | None) -> IllustrateOptions:
    """Raises ``InvalidRequest`` that names the tensor or the parameter at fault."""
    values = own_parameters(request)
    for tensor in request.inputs:
        if tensor.name not in _NAMES:
            raise InvalidRequest(f"is not an input of illustrate; known: {', '.join(_NAMES)}", tensor.name[:64])
        if tensor.name in values:
            raise InvalidRequest("is an input and a parameter; send one of them", tensor.name)
        values[tensor.name] = _element(tensor)
    inputs = validate(IllustrateInputs, values)
    with rename_fields({"timeout_s": "timeout"}):
        return IllustrateOptions(timeout_s=timeout_s, **inputs.model_dump(exclude_unset=True))


def _element(tensor: Tensor) -> Any:
    """The one element of ``tensor``, if its type is one that its name can have."""
    name, array = tensor.name, tensor.array
    if array.shape not in ((1,), (1, 1)):  # the second is a batch of one
        raise InvalidRequest(f"must have the shape [1], not {list(array.shape)}", name)
    element = array.ravel()[0]
    if name in _TEXTS:
        return _text(element, tensor)
    if array.dtype.kind not in ("iu" if name in _WHOLES else "iuf"):
        kind = "a whole number" if name in _WHOLES else "a number"
        raise InvalidRequest(f"must be {kind} (such as INT64), not {tensor.datatype}", name)
    # By its shortest text: 7.1 in FP32 means 7.1, as it does in JSON.
    return float(str(element)) if array.dtype.kind == "f" else int(element)


def _text(element: Any, tensor: Tensor) -> str:
    if tensor.datatype != "BYTES":
        raise InvalidRequest(f"must be BYTES, not {tensor.datatype}", tensor.name)
    try:
        return bytes(element).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("is not valid UTF-8", tensor.name) from None
