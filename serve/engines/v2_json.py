"""Triton's gRPC messages as the JSON of the HTTP protocol: enums by name, 64-bit numbers as numbers."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def to_json(message: Message) -> dict[str, Any]:
    """Every field, with its default when unset, apart from unset sub-messages."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _scalar(entry, value[key]) for key in value}
    if field.is_repeated:
        return [_scalar(field, item) for item in value]
    return _scalar(field, value)


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
