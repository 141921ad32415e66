"""Models of the protocol's JSON, and what its routes declare in OpenAPI.

Requests with tensors may be binary, so `codec` decodes them and not these models.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serve.api.openapi.operation import JSON, bodies, event_stream

_TENSOR: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
TensorName = Annotated[str, Field(min_length=1, max_length=256, examples=["plus_one"])]
Parameters = Annotated[
    dict[str, Any], Field(description="Values are text, numbers or flags.", json_schema_extra={"examples": [{}]})
]
Shape = Annotated[list[int], Field(json_schema_extra={"examples": [[1, 4]]})]


class Server(BaseModel):
    name: Annotated[str, Field(examples=["atelier"])]
    version: Annotated[str, Field(examples=["0.1.0"])]
    extensions: Annotated[list[str], Field(json_schema_extra={"examples": [["binary_tensor_data", "statistics"]]})]


class ServerHealth(BaseModel):
    live: bool
    ready: bool


class TensorDescription(BaseModel):
    name: str
    datatype: str
    shape: Shape


class ModelMetadata(BaseModel, extra="allow"):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class ModelReady(BaseModel):
    name: str
    ready: bool


class ErrorBody(BaseModel):
    error: str


class ModelConfig(BaseModel):
    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"name": "plus_one", "platform": "onnxruntime_onnx", "max_batch_size": 8}]},
    )

    name: str


class Count(BaseModel, extra="allow"):
    count: int
    ns: int


class ModelStatistics(BaseModel, extra="allow"):
    name: str
    version: str
    last_inference: int = 0
    inference_count: int = 0
    execution_count: int = 0
    inference_stats: dict[str, Count] = {}


class Statistics(BaseModel):
    model_stats: list[ModelStatistics]


class IndexEntry(BaseModel):
    name: str
    version: str
    state: str
    reason: str


class IndexRequest(BaseModel):
    ready: Annotated[bool, Field(description="without effect")] = False


class LoadRequest(BaseModel):
    parameters: Parameters = Field(default_factory=dict)


class TensorBody(BaseModel):
    name: TensorName
    datatype: str
    shape: Shape
    parameters: Parameters = Field(default_factory=dict)
    data: Annotated[list[Any], Field(description="Row-major; nested or flat.")] = Field(default_factory=list)


class RequestedOutput(BaseModel):
    name: TensorName
    parameters: Parameters = Field(default_factory=dict)


class InferBody(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": [_TENSOR]}]})

    id: str = ""
    parameters: Parameters = Field(default_factory=dict)
    inputs: Annotated[list[TensorBody], Field(min_length=1)]
    outputs: list[RequestedOutput] = Field(default_factory=list)


class InferAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model_name": "plus_one", "model_version": "1", "outputs": [_TENSOR]}]}
    )

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[TensorBody]


class GenerateBody(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"prompt": "red apple, flat", "seed": 7}]})

    parameters: Parameters = Field(default_factory=dict)


class GenerateAnswer(BaseModel):
    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"model_name": "plus_one", "model_version": "1", "y": [2.0]}]}
    )

    model_name: str
    model_version: str


BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
EVENTS = event_stream(
    {"data": '{"model_name": "illustrate", "model_version": "1", "image": "iVBORw0KGgo="}'},
    {"type": "object", "description": "An answer as of generate, or an error"},
)


def optional_body(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that accepts an empty one."""
    body = bodies({JSON: model})["requestBody"]
    return {"requestBody": {**body, "required": False}}


def infer_body() -> dict[str, Any]:
    body = bodies({JSON: InferBody})["requestBody"]
    return {"requestBody": {**body, "content": {**body["content"], **BINARY}}}


# --- arguments of the route decorators -------------------------------------------------------------------------------

_UNCHANGED = {"response_model_exclude_unset": True}
STATISTICS_ROUTE: dict[str, Any] = {
    "response_model": Statistics,
    "response_description": "As Triton's ModelStatistics",
    **_UNCHANGED,
}
METADATA_ROUTE: dict[str, Any] = {
    "response_model": ModelMetadata,
    "response_description": "Its tensors; -1 is a free axis",
    **_UNCHANGED,
}
CONFIG_ROUTE: dict[str, Any] = {
    "response_model": ModelConfig,
    "response_description": "As Triton's ModelConfig in JSON",
    **_UNCHANGED,
}
READY_ROUTE: dict[str, Any] = {
    "response_model": ModelReady,
    "response_description": "It is",
    "responses": {503: {"model": ModelReady | ErrorBody, "description": "It is not, or cannot be asked"}},
}
LOAD_ROUTE: dict[str, Any] = {"openapi_extra": optional_body(LoadRequest)}
INFER_ROUTE: dict[str, Any] = {
    "response_model": InferAnswer,
    "response_description": "The outputs; as binary data where the request says so",
    "responses": {200: {"content": BINARY}},
    "openapi_extra": infer_body(),
}
_GENERATE_BODY = bodies({JSON: GenerateBody})
GENERATE_ROUTE: dict[str, Any] = {
    "response_model": GenerateAnswer,
    "response_description": "The outputs: single values, or flat lists",
    "openapi_extra": _GENERATE_BODY,
}
STREAM_ROUTE: dict[str, Any] = {
    "responses": {200: {"description": "Server-sent events", "content": EVENTS}},
    "openapi_extra": _GENERATE_BODY,
}
