"""A stand-in for the package `llama-cpp-python`, which is an extra: it repeats the last message word by word.

``slow`` in the message makes it write until it is stopped; ``crash`` makes it fail.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any


class Llama:
    def __init__(self, model_path: str, **_options: Any) -> None:
        with open(model_path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError("Failed to load model from file")

    def create_chat_completion(self, messages: list[dict[str, str]], **options: Any) -> Iterator[dict[str, Any]]:
        said = messages[-1]["content"]
        if "crash" in said:
            raise RuntimeError("llama_decode returned -1")
        if options["response_format"] is not None:
            said = json.dumps({name: "x" for name in options["response_format"]["schema"]["properties"]})
        words = said.split(" ")[: options["max_tokens"]]
        yield {"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]}
        while words:
            yield {"choices": [{"delta": {"content": words[0] + " "}, "finish_reason": None}]}
            if "slow" in said:
                time.sleep(0.01)
            else:
                words.pop(0)
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}
