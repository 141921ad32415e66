"""Loads a backend's model in this process, so that its session can be inspected; Triton's utilities are a stand-in."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from serve.engines.tensors import to_json


class TritonModelException(Exception):
    """Raised by a model that cannot be loaded."""


def utilities() -> ModuleType:
    """The part of the stub's utility module that loading a model uses."""
    module = ModuleType("triton_python_backend_utils")
    module.TritonModelException = TritonModelException  # type: ignore[attr-defined]
    module.Logger = SimpleNamespace(log_warn=print, log_error=print)  # type: ignore[attr-defined]
    return module


def load(monkeypatch: pytest.MonkeyPatch, folder: Path, backend: str) -> Any:
    """The initialized ``TritonPythonModel`` of the engine in ``folder``."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities())
    module = importlib.import_module(f"serve.engines.backends.{backend}.model")
    monkeypatch.setattr(module, "exit_with_parent", lambda: None)
    config = to_json(text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()))
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps({**config, "name": folder.name}),
            "model_repository": str(folder),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return model
