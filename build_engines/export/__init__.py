"""From a trained network to a folder of the model repository: ONNX, configuration, parity and manifest."""
