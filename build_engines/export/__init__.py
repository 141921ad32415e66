"""From a trained network to a folder of the model repository: ONNX, configuration, parity and manifest.

Begin with ``engine``, which does all of it; ``contracts`` has the tensors of each engine. Imports torch and both
runtimes.
"""
