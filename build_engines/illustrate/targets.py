"""What engines are built for."""

from typing import Literal

Target = Literal["onnx", "openvino", "tensorrt"]
