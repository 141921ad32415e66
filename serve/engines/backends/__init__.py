"""Python-based Triton backends that run ``backend: "onnxruntime"`` and ``backend: "openvino"`` without the C++ ones.

These modules run in Triton's Python stub processes, one per model instance, and are copied there
(`serve.engines.triton.installation`). Begin with `batch`.
"""

#: The embedded backends: one folder each, with the ``model.py`` that Triton runs.
EMBEDDED = ("onnxruntime", "openvino")

#: Set by ``TritonServer`` for its stubs: CPU threads of an engine whose config names no number.
THREADS_VARIABLE = "ATELIER_ENGINE_THREADS"
