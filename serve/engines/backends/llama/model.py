"""``backend: "llama"``: a language model of any GGUF file on llama.cpp (`llama-cpp-python`), decoupled: a response per
piece of text.

The input ``request`` is a JSON object. With ``messages`` it begins an answer, whose pieces come as ``text``; the last
response has no text, and ``end`` says why it ended: stop, length, cancelled, late, or "error: REASON". With ``stop`` it
ends the answer of that ``id``, whose place is free after the token under way. An empty text is a probe.

Answers are written one after another, as one context of llama.cpp holds one sequence here; ``max_queued`` others wait,
and more are refused. Parameters: ``n_ctx``, ``max_queued``, ``threads`` (0: the server's budget), ``gpu_layers``,
``chat_format``, and ``python_path``: a folder with the packages, where this interpreter has none.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from serve.engines.backends.contract import Contract, read_contract, thread_budget
from serve.engines.backends.parent_watch import exit_with_parent
from serve.engines.gguf_file import BrokenGguf, check_whole

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
MAX_SECONDS = 3600.0
MAX_TOKENS = 32_768


@dataclass
class Answer:
    """One that waits or is under way."""

    id: str
    asked: dict[str, Any]
    sender: Any
    deadline: float
    stopped: threading.Event = field(default_factory=threading.Event)

    def why_over(self) -> str | None:
        if self.stopped.is_set() or self.sender.is_cancelled():
            return "cancelled"
        return "late" if time.monotonic() >= self.deadline else None


class TritonPythonModel:
    """One instance of one engine; Triton finds the class by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        exit_with_parent()
        contract = read_contract(args)
        self._llama = _open(contract)
        self._waiting: queue.Queue[Answer | None] = queue.Queue(contract.int_parameter("max_queued", 16) + 1)
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._worker = threading.Thread(target=self._write, name="llama", daemon=True)
        self._worker.start()

    def execute(self, requests: Sequence[Any]) -> None:
        """Returns at once: probes and stops are answered while a text is being written."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._accept(request, sender)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                _fail(sender, f"the input 'request' cannot be read: {error}")

    def finalize(self) -> None:
        with self._lock:
            for answer in self._answers.values():
                answer.stopped.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _accept(self, request: Any, sender: Any) -> None:
        raw = pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0]
        asked = json.loads(raw) if raw else {}
        if "stop" in asked:
            with self._lock:
                found = self._answers.get(str(asked["stop"]))
            if found is not None:
                found.stopped.set()
            return _end(sender, "stop")
        if "messages" not in asked:
            return _end(sender, "stop")
        seconds = min(float(asked.get("timeout_s", MAX_SECONDS)), MAX_SECONDS)
        answer = Answer(str(asked["id"]), asked, sender, time.monotonic() + seconds)
        with self._lock:
            self._answers[answer.id] = answer
        try:
            self._waiting.put_nowait(answer)
        except queue.Full:
            self._forget(answer)
            _fail(sender, "exceeds maximum queue size")
        return None

    def _forget(self, answer: Answer) -> None:
        with self._lock:
            self._answers.pop(answer.id, None)

    def _write(self) -> None:
        """The thread that writes one answer after another."""
        while (answer := self._waiting.get()) is not None:
            try:
                end = self._written(answer)
            except Exception as error:  # llama.cpp's package raises many kinds; the next answer must be written
                end = f"error: {type(error).__name__}: {error}"[:500]
            self._forget(answer)
            with contextlib.suppress(Exception):  # nobody reads it any more
                _end(answer.sender, end)

    def _written(self, answer: Answer) -> str:
        """Why the answer ended."""
        if (over := answer.why_over()) is not None:
            return over
        asked, end = answer.asked, "stop"
        schema = asked.get("schema")
        chunks = self._llama.create_chat_completion(
            messages=asked["messages"],
            stream=True,
            temperature=float(asked.get("temperature", 0.7)),
            top_p=float(asked.get("top_p", 0.9)),
            top_k=int(asked.get("top_k", 40)),
            repeat_penalty=float(asked.get("repeat_penalty", 1.1)),
            max_tokens=min(int(asked.get("max_tokens", 512)), MAX_TOKENS),
            seed=asked.get("seed"),
            response_format=None if schema is None else {"type": "json_object", "schema": schema},
        )
        with contextlib.closing(chunks):
            for chunk in chunks:
                if (over := answer.why_over()) is not None:
                    return over
                choice = chunk["choices"][0]
                if text := choice.get("delta", {}).get("content"):
                    answer.sender.send(_response(str(text), ""))
                end = choice.get("finish_reason") or end
        return str(end)


def _open(contract: Contract) -> Any:
    try:
        facts = check_whole(contract.model_path)
    except (BrokenGguf, OSError) as error:
        raise contract.load_error(f"{contract.model_path.name} cannot be used: {error}") from error
    folder = contract.parameters.get("python_path", "")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        from llama_cpp import Llama
    except (ImportError, OSError, RuntimeError) as error:
        reason = "llama-cpp-python is not installed: pip install 'atelier[director]', or name its folder in python_path"
        raise contract.load_error(f"{reason} ({error})") from error
    threads = contract.int_parameter("threads", 0) or thread_budget()
    try:
        return Llama(
            model_path=str(contract.model_path),
            n_ctx=contract.int_parameter("n_ctx", 2048),
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=contract.int_parameter("gpu_layers", 0),
            chat_format=contract.parameters.get("chat_format") or None,
            verbose=False,
        )
    except (ValueError, RuntimeError, OSError, AssertionError) as error:
        raise contract.load_error(f"llama.cpp cannot load this file ({facts.architecture}): {error}") from error


def _response(text: str, end: str) -> Any:
    tensors = [pb_utils.Tensor(name, np.array([value.encode()], np.object_)) for name, value in
               (("text", text), ("end", end))]  # fmt: skip
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _end(sender: Any, why: str) -> None:
    sender.send(_response("", why), flags=FINAL)


def _fail(sender: Any, reason: str) -> None:
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(reason)), flags=FINAL)
