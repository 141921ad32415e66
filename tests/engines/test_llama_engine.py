"""The backend llama in a real Triton with a GGUF file made here: on a stand-in for the package, and where
``LLAMA_PACKAGES`` names its folder on llama.cpp itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import write_gguf
from typer.testing import CliRunner

from build_engines.cli import app
from serve.engines.client import EngineClient
from serve.engines.gguf_file import BrokenGguf, check_whole
from serve.engines.streaming import stream_infer
from serve.engines.triton.server import TritonServer
from serve.ensembles.director.art_director import Answered, ArtDirector
from serve.ensembles.director.chat_model import ChatOptions
from serve.ensembles.director.conversation import ConversationManager
from serve.ensembles.director.llama_chat import EngineChat, chat_pieces
from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.errors import EngineFailure, EngineUnavailable, Overloaded

STANDIN = Path(__file__).parent / "llama_standin"
REAL = os.environ.get("LLAMA_PACKAGES", "")
PACKAGES = [pytest.param(STANDIN, id="stand-in")]
PACKAGES += [pytest.param(Path(REAL), id="llama.cpp")] if REAL else []


def build(folder: Path, packages: Path, **more: str) -> Path:
    source = write_gguf(folder / "tiny.gguf")
    options = {"source": str(source), "repository": str(folder / "engines"), "packages": str(packages),
               "context": "8192", "threads": "1", "queued": "1", **more}  # fmt: skip
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    done = CliRunner().invoke(app, ["director", *arguments])
    assert done.exit_code == 0, done.output
    return folder / "engines"


@pytest.fixture(scope="module", params=PACKAGES)
def triton(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = build(tmp_path_factory.mktemp("director"), request.param)
    with TritonServer(repository, ["director"], threads=1, start_timeout_s=300) as server:
        yield server


def asked(**document: Any) -> dict[str, Any]:
    return {"request": np.array([json.dumps(document).encode()], np.object_)}


async def said(client: EngineClient, answer_id: str, text: str, **more: Any) -> tuple[list[str], str]:
    """The pieces of an answer, and why it ended."""
    document = {"id": answer_id, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "seed": 1, **more}
    pieces, end = [], ""
    stream = stream_infer(client, "director", asked(**document), timeout_s=60, stop=asked(stop=answer_id))
    async for response in stream:
        pieces.append(response["text"][0].decode())
        end = response["end"][0].decode()
    return [piece for piece in pieces if piece], end


@pytest.mark.triton
async def test_pieces_come_one_by_one_and_a_schema_is_kept(triton: TritonServer) -> None:
    client = EngineClient(triton.url)
    assert (await client.probe("director", timeout_s=60))["end"][0] == b"stop"
    pieces, end = await said(client, "a", "a fox in the snow at dawn, painted in oil")
    assert len(pieces) > 1
    assert end in ("stop", "length")
    schema = {"type": "object", "properties": {"prompt": {"type": "string", "maxLength": 9}}, "required": ["prompt"]}
    pieces, _ = await said(client, "b", "refine", schema=schema, max_tokens=200)
    assert list(json.loads("".join(pieces), strict=False)) == ["prompt"]
    await client.close()


@pytest.mark.triton
async def test_an_answer_that_nobody_reads_frees_its_place(triton: TritonServer) -> None:
    """A slow one is under way, one waits, the third is refused; when the first is left, the second is written."""
    client = EngineClient(triton.url)
    document = {"id": "slow", "messages": [{"role": "user", "content": "slow slow"}], "max_tokens": 10_000, "seed": 1}
    first = stream_infer(client, "director", asked(**document), timeout_s=60, stop=asked(stop="slow"))
    async for response in first:
        if response["text"][0]:
            break
    waiting = asyncio.create_task(said(client, "next", "hello you"))
    if triton_is_standin(triton):
        await asyncio.sleep(0)
        others = [asyncio.create_task(said(client, f"other{i}", "hello you")) for i in range(3)]
        done, _ = await asyncio.wait(others, timeout=60, return_when=asyncio.FIRST_EXCEPTION)
        assert any(isinstance(one.exception(), Overloaded) for one in done)
        for one in others:
            one.cancel()
    await first.aclose()
    async with asyncio.timeout(60):
        pieces, _ = await waiting
    assert pieces
    await client.close()


def triton_is_standin(triton: TritonServer) -> bool:
    return str(STANDIN) in (triton._repository / "director" / "config.pbtxt").read_text()


@pytest.mark.triton
async def test_bad_requests_and_failures_leave_the_engine_working(triton: TritonServer) -> None:
    client = EngineClient(triton.url)
    for request in (b"no json", b"[]", b'{"messages": []}', b'{"id": "x", "messages": 3}'):
        try:
            async for response in stream_infer(
                client, "director", {"request": np.array([request], np.object_)}, timeout_s=60
            ):
                assert response["end"][0].startswith(b"error") or not response["end"][0] or request == b"[]"
        except EngineFailure:
            pass
    if triton_is_standin(triton):
        assert (await said(client, "c", "crash"))[1].startswith("error: RuntimeError")
    assert (await said(client, "d", "hello you"))[0]
    await client.close()


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf")
    facts = check_whole(whole)
    assert (facts.architecture, facts.bytes) == ("llama", whole.stat().st_size)
    data = whole.read_bytes()
    for size in (0, 3, 20, 200, 4_000, len(data) // 2, len(data) - 40):
        (tmp_path / "cut.gguf").write_bytes(data[:size])
        with pytest.raises(BrokenGguf, match=r"cut short|no GGUF"):
            check_whole(tmp_path / "cut.gguf")
    done = CliRunner().invoke(app, ["director", "--source", str(tmp_path / "cut.gguf"), "--repository", str(tmp_path)])
    assert done.exit_code == 1
    assert "cut short" in done.output
    (tmp_path / "other.gguf").write_bytes(b"PK\x03\x04" + data[4:])
    with pytest.raises(BrokenGguf, match="no GGUF"):
        check_whole(tmp_path / "other.gguf")


@pytest.mark.triton
def test_triton_says_why_it_does_not_start(tmp_path: Path) -> None:
    """A file that was damaged after it was added."""
    repository = build(tmp_path, STANDIN)
    file = repository / "director" / "1" / "model.gguf"
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(EngineUnavailable, match="cut short"):
        TritonServer(repository, ["director"], start_timeout_s=300).start()


@pytest.mark.triton
async def test_the_art_director_speaks_by_the_engine(triton: TritonServer) -> None:
    """Through the Illustrator's `chat`: refine is held to its form, a client that leaves ends the answer, and an engine
    that is away leaves the rules."""
    client = EngineClient(triton.url)
    model = EngineChat(OnlyChat(client), "director", 60.0)
    director = ArtDirector(PromptAnalyser(), model, ChatOptions(max_tokens=200))
    answered = await director.explain_concepts("bokeh")
    assert spoke(answered)
    refined = await director.refine_prompt("xyzzy", "make it calm")
    assert refined.served_by == "llm" or "context" in str(refined.degraded) or "form" in str(refined.degraded)
    talking = director.chat(ConversationManager(2048), "hello", None)
    async with contextlib.aclosing(talking) as pieces:
        async for piece in pieces:
            assert piece
            break
    assert spoke(await director.explain_concepts("impasto"))
    gone = EngineChat(OnlyChat(client), "nothing", 60.0)
    away = await ArtDirector(PromptAnalyser(), gone).explain_concepts("bokeh")
    assert (away.served_by, away.degraded) == ("rules", "the language model is not there")
    await client.close()


def spoke(answered: Answered) -> bool:
    """Random weights may end an answer at once."""
    if answered.degraded == "the language model answered nothing":
        return True
    return (answered.served_by, answered.model) == ("llm", "director") and bool(answered.value.text)


class OnlyChat:
    """The part of an Illustrator that the art director calls."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def chat(self, engine: str, asked: dict[str, Any], timeout_s: float) -> AsyncGenerator[str]:
        return chat_pieces(self._client, engine, asked, timeout_s)
