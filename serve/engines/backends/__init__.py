"""Python-based Triton backends that run ``backend: "onnxruntime"`` and ``backend: "openvino"`` without the C++ ones,
and ``backend: "llama"``: language models on llama.cpp.

These modules run in Triton's Python stub processes, one per model instance, and are copied there
(`serve.engines.triton.installation`). Begin with `batch`.
"""

#: The embedded backends: one folder each, with the ``model.py`` that Triton runs.
EMBEDDED = ("onnxruntime", "openvino", "llama")

#: Set by ``TritonServer`` for its stubs: CPU threads of an engine whose config names no number.
THREADS_VARIABLE = "ATELIER_ENGINE_THREADS"

#: Set by ``TritonServer`` for its stubs: the folder of adapters' files (`serve.engines.backends.adapters`).
ADAPTERS_VARIABLE = "ATELIER_ENGINE_ADAPTERS"

#: Files beside the ``model.onnx`` of an engine that takes adapters: the network with them, and what they are.
ADAPTED_MODEL, ADAPTERS_DESCRIPTION = "adapted.onnx", "adapters.json"
