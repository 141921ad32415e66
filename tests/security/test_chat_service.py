"""The client of OpenAI-compatible chat APIs, against a scripted server that hangs, lies and streams garbage."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import pytest

from serve.ensembles.director.chat_model import ChatFailed, ChatOptions, Message
from serve.errors import Overloaded
from serve.security.fetching.chat_service import OpenAIChat
from serve.settings import DirectorSettings

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def chunk(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


class Scripted:
    """Sends ``script`` after a request; text is sent, a number is a pause in seconds."""

    def __init__(self, *script: str | float | bytes) -> None:
        self.script = script
        self.requests: list[tuple[str, dict[str, object]]] = []
        self.gone = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
            self.requests.append((head, json.loads(await reader.readexactly(length))))
            for part in self.script:
                if isinstance(part, float):
                    await asyncio.wait_for(reader.read(1), part)  # ends when the client goes
                else:
                    writer.write(part if isinstance(part, bytes) else part.encode())
                    await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()


@contextlib.asynccontextmanager
async def serving(script: Scripted, **settings: object) -> AsyncIterator[OpenAIChat]:
    server = await asyncio.start_server(script.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    values = {"timeout_s": 60.0, "idle_timeout_s": 60.0, "max_bytes": 4096, "api_key": "sesame", **settings}
    yield OpenAIChat(DirectorSettings(base_url=f"http://127.0.0.1:{port}/v1/", model="tiny", **values))  # type: ignore[arg-type]
    server.close()


async def said(chat: OpenAIChat) -> list[str]:
    return [piece async for piece in chat.stream([Message("user", "hello")], ChatOptions())]


async def test_stream_of_pieces() -> None:
    script = Scripted(
        HEAD, ": comment\n\n", chunk("A fo"), chunk("x\x07."), 'data: {"choices": []}\n\n', "data: [DONE]\n\n"
    )
    async with serving(script) as chat:
        assert await said(chat) == ["A fo", "x."]
    head, body = script.requests[0]
    assert head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert "Authorization: Bearer sesame" in head
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    options = ("model", "temperature", "top_p", "top_k", "repeat_penalty", "max_tokens", "stream")
    assert [body[name] for name in options] == ["tiny", 0.7, 0.9, 40, 1.1, 512, True]


async def test_time_limit_is_around_the_reads_alone() -> None:
    script = Scripted(HEAD, chunk("A"), 60.0, "data: [DONE]\n\n")
    async with serving(script, timeout_s=2.0) as chat:
        pieces = chat.stream([Message("user", "hello")], ChatOptions())
        assert await anext(pieces) == "A"
        await asyncio.sleep(2.2)  # the caller's own work is not cancelled
        with pytest.raises(ChatFailed):
            await anext(pieces)


async def test_answer_without_a_stream() -> None:
    body = json.dumps({"choices": [{"message": {"content": "A fox."}}]})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    async with serving(Scripted(head, body)) as chat:
        assert await said(chat) == ["A fox."]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda: [600.0], id="hangs before the head"),
        pytest.param(lambda: [HEAD, 600.0], id="hangs before the first piece"),
        pytest.param(lambda: [HEAD, chunk("a"), 600.0], id="hangs after a piece"),
        pytest.param(lambda: [HEAD, chunk("a")], id="ends too early"),
        pytest.param(
            lambda: [HEAD.replace("Connection", "Content-Length: 9000\r\nConnection"), chunk("a")], id="longer"
        ),
        pytest.param(lambda: [HEAD, "data: garbage\n\n"], id="no JSON"),
        pytest.param(lambda: [HEAD, 'data: {"choices": [{"delta": {"content": [1]}}]}\n\n'], id="no text"),
        pytest.param(lambda: [HEAD, 'data: {"choices": 5}\n\n'], id="no choices"),
        pytest.param(lambda: [HEAD, 'data: {"error": {"message": "send your key"}}\n\n'], id="error"),
        pytest.param(lambda: [HEAD, "data: " + "[" * 4000 + "\n\n"], id="deep"),
        pytest.param(lambda: [HEAD, b"\x00\xff" * 4000], id="bytes"),
        pytest.param(lambda: [HEAD, *[chunk("abc")] * 200, "data: [DONE]\n\n"], id="too much"),
        pytest.param(lambda: ["HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"], id="redirect"),
        pytest.param(
            lambda: ["HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"], id="asks for a key"
        ),
        pytest.param(
            lambda: [HEAD.replace("Connection", "Content-Encoding: gzip\r\nConnection"), "x"], id="compressed"
        ),
        pytest.param(lambda: ["GARBAGE\r\n\r\n"], id="no HTTP"),
        pytest.param(lambda: [], id="closes"),
    ],
)
async def test_misbehaving_server_fails_the_call(script: Callable[[], list[str | float | bytes]]) -> None:
    scripted = Scripted(*script())
    idle_timeout_s = 0.3 if 600.0 in scripted.script else 60.0
    async with asyncio.timeout(60), serving(scripted, idle_timeout_s=idle_timeout_s) as chat:
        with pytest.raises(ChatFailed) as caught:
            await said(chat)
    assert "sesame" not in str(caught.value)
    assert "key" not in str(caught.value)
    assert len(scripted.requests) == 1


async def test_nothing_listens() -> None:
    chat = OpenAIChat(DirectorSettings(base_url="http://127.0.0.1:9/v1", model="tiny"))
    with pytest.raises(ChatFailed):
        await said(chat)


async def test_closing_the_stream_ends_the_call_and_frees_its_place() -> None:
    script = Scripted(HEAD, chunk("a"), 600.0)
    async with serving(script, max_concurrency=1, max_queued=0) as chat:
        stream = chat.stream([Message("user", "hello")], ChatOptions())
        assert await anext(stream) == "a"
        with pytest.raises(Overloaded):
            await said(chat)
        await stream.aclose()
        async with asyncio.timeout(60):
            await script.gone.wait()
        script.script = (HEAD, chunk("b"), "data: [DONE]\n\n")
        assert await said(chat) == ["b"]


async def test_a_picture_is_sent_as_a_part_of_its_message() -> None:
    script = Scripted(HEAD, chunk("red"), "data: [DONE]\n\n")
    async with serving(script) as chat:
        messages = [Message("system", "be true"), Message("user", "what is it?", picture=b"PNG")]
        assert [piece async for piece in chat.stream(messages, ChatOptions())] == ["red"]
    assert script.requests[0][1]["messages"] == [
        {"role": "system", "content": "be true"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,UE5H"}},
            ],
        },
    ]
