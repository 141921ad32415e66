"""What the request models of all vocabularies share: the base model, the field types, and the error of a bad field.

A field that is missing, null or an empty text has its default. Numbers, flags and whole numbers may be sent as text, so
that one model serves JSON, forms and queries. Bounds, defaults and descriptions belong to the models of each route.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic import model_validator as _model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from serve.api.http.bodies import parse_json
from serve.errors import InvalidRequest

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_MAX_NUMBER = 64
"""Characters. No float needs more, and Python takes quadratic time over millions of digits."""
_MAX_TIME = 40
_MAX_FIELD = 64
"""Characters of a field's name that an error repeats."""
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_SUBJECT = re.compile(r"^\w+ should ")

M = TypeVar("M", bound=BaseModel)


class RequestModel(BaseModel):
    """Base of the models of bodies and queries. Unknown fields are refused; a model for clients that send fields of
    their own is declared with ``extra="ignore"``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)
    kept_empty: ClassVar[Collection[str]] = ()
    """Fields whose null or empty text is a value, and not the default."""

    @_model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        """Reads a JSON body whose Content-Type does not name JSON, refuses unknown fields, drops empty values."""
        if isinstance(values, bytes):
            values = parse_json(values, named_constants=True)
        if not isinstance(values, Mapping):
            return values
        names = cls.field_names()
        if cls.model_config.get("extra") == "forbid":
            for name in values:
                if name not in names:
                    raise error_at(cls, f"is not a known field; known: {', '.join(names)}", name[:_MAX_FIELD])
        kept = {*cls.kept_empty, *(name for name in values if name not in names)}
        return {
            name: value
            for name, value in values.items()
            if name in kept or not (value is None or (value == "" and not names[name]))
        }

    @classmethod
    @cache
    def field_names(cls) -> Mapping[str, bool]:
        """The names that clients use, in the order of the declaration; whether each is of a list or an object, of
        which an empty text is none."""
        return {field.alias or name: _is_container(field.annotation) for name, field in cls.model_fields.items()}


class NoQuery(RequestModel):
    """The query of a route that has no parameters."""


def error_at(model: type[BaseModel], message: str, *location: str | int) -> ValidationError:
    """To raise in a model's validator: an error of the field at ``location`` below the model."""
    details = InitErrorDetails(
        type=PydanticCustomError("value_error", "{error}", {"error": message}), loc=location, input=None
    )
    return ValidationError.from_exception_data(model.__name__, [details])


def reported_as_one(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A `WrapValidator` of a list: what is wrong with a part of it is an error of the field."""
    try:
        return handler(value)
    except ValidationError as error:
        raise ValueError(_message(error.errors(include_url=False, include_input=False)[0], True)) from None


def validate(model: type[M], values: Any) -> M:
    """For values that do not come through a route. Raises InvalidRequest naming the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None


def invalid_request(errors: Sequence[Mapping[str, Any]], skip: int = 0) -> InvalidRequest:
    """Of the first missing field, else of the first of pydantic's ``errors``. The first ``skip`` parts of a location
    are not the client's."""
    first = next((error for error in errors if error["type"] == "missing"), errors[0])
    location = list(first["loc"][skip:])
    if location and isinstance(location[-1], int):
        location.pop()  # a bad item is an error of its list
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return InvalidRequest(_message(first, bool(field)), field.removeprefix(".") if field else None)


def _message(error: Mapping[str, Any], located: bool) -> str:
    if error["type"] == "missing":
        return "is required" if located else "the body is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in ("too_long", "too_short"):
        return _length(error["type"], error["ctx"])
    return _SUBJECT.sub("must ", str(error["msg"]))


def _length(kind: str, stated: Mapping[str, Any]) -> str:
    """Of a text (pydantic's "Value": `Text` is checked by a function), a list or an object."""
    most = kind == "too_long"
    bound = stated["max_length" if most else "min_length"]
    unit = "character" if stated["field_type"] == "Value" else "item"
    found = "more" if stated["actual_length"] is None else stated["actual_length"]
    return f"must have at {'most' if most else 'least'} {bound} {unit}{'' if bound == 1 else 's'}, not {found}"


def _is_container(annotation: Any) -> bool:
    kinds = [get_origin(part) or part for part in (annotation, *get_args(annotation))]
    return any(isinstance(kind, type) and issubclass(kind, list | dict | BaseModel) for kind in kinds)


def _number(value: Any) -> float:
    number = _to_float(value)
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _to_float(value: Any) -> float:
    """``value``, or NaN if it is no number. Python itself would also read Arabic digits, ``0_1`` and spaces."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    if isinstance(value, str) and (len(value) > _MAX_NUMBER or not _DECIMAL.fullmatch(value)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _whole(value: Any) -> int:
    """Exact up to 19 digits: a seed has more digits than a float holds."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**19:
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    number = _to_float(value)
    if not number.is_integer():
        raise ValueError("must be a whole number")
    return int(number)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUE:
        return True
    if str(value).lower() in _FALSE:
        return False
    raise ValueError("must be true or false")


def _text(value: str) -> str:
    try:
        value.encode()  # half of a surrogate pair, as JSON may have it, has no encoding
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode text") from None
    if "\0" in value:
        raise ValueError("is not valid Unicode text")
    return value


def _moment(value: Any) -> datetime:
    """ISO 8601, UTC unless it has a zone."""
    try:
        if not isinstance(value, str) or len(value) > _MAX_TIME:
            raise ValueError
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time such as 2026-05-01T12:00:00Z") from None


def one_of(names: Collection[str]) -> GetPydanticSchema:
    """Metadata of a text field that has one of ``names``: a ``Literal`` of names that are computed."""
    return GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema(list(names)))


def one_value_of(*values: int) -> AfterValidator:
    """Metadata of a number field that has one of ``values``."""

    def check(value: int) -> int:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(map(str, values))}")
        return value

    return AfterValidator(check)


def parse_object(value: Any) -> Any:
    """An object or a list, or the JSON text of one, as in forms."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("is not valid JSON") from None


FORM_LIST = BeforeValidator(parse_object)
"""Lists in forms and tensors are JSON text."""


def weighted_names(pattern: re.Pattern[str], most: int, example: str) -> BeforeValidator:
    """Metadata of a field of up to ``most`` objects with a name and a weight, which may also be text such as
    ``example``, a list of such texts, or the JSON text of a list. ``pattern``: of one text; its groups are the name and
    the weight."""

    def parse(value: Any) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = parse_object(value)
        parts = value.split(",", most + 1) if isinstance(value, str) else value
        if not isinstance(parts, list):
            return value
        choices = []
        for part in parts:
            match = pattern.fullmatch(part) if isinstance(part, str) and len(part) < 200 else None
            if isinstance(part, str) and match is None:
                raise ValueError(f"must be names with weights, such as {example}")
            choices.append(part if match is None else {"name": match[1], **({"weight": match[2]} if match[2] else {})})
        return choices

    return BeforeValidator(parse)


Number = Annotated[float, BeforeValidator(_number)]
"""Finite."""
Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, AfterValidator(_text)]
"""Unicode without NUL and without halves of surrogate pairs."""
Moment = Annotated[datetime, BeforeValidator(_moment)]
"""With a time zone."""

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""Of an answer: ISO 8601 with a time zone."""
Cursor = Annotated[Text | None, Field(description="`next_cursor` of the page before.")]
NextCursor = Annotated[str | None, Field(description="None at the end.")]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
