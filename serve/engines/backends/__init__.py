"""Python-based Triton backends: ``backend: "onnxruntime"`` and ``backend: "openvino"`` without the C++ ones.

The modules in here run in Triton's Python stub processes, one per model instance; nothing else imports them.
"""

#: The embedded backends: a folder each, with the ``model.py`` that Triton runs.
EMBEDDED = ("onnxruntime", "openvino")

#: Set by ``TritonServer`` for its stubs: the threads that one engine may use when its config names no number.
THREADS_VARIABLE = "ATELIER_ENGINE_THREADS"
