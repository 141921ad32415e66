"""Triton: its server as a child process, the only inference client, and the backends that run ONNX in it."""
