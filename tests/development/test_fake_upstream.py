"""The fake upstream over real sockets, by the official SDKs where they apply."""

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from development.fake_upstream.replies import BadRequestError, Directives, build_reply, count_prompt_tokens
from development.fake_upstream.server import FakeUpstream
from tests import sdks
from tests.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
KEY = "upstream-key"
MODEL = "claude-haiku-4-5"

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeUpstream]:
    with FakeUpstream(api_key=KEY) as server:
        yield server


@pytest.fixture
def upstream(server: FakeUpstream) -> FakeUpstream:
    server.clear()
    return server


@pytest.fixture
def openai_client(upstream: FakeUpstream) -> "Iterator[sdks.openai.OpenAI]":
    with sdks.openai.OpenAI(base_url=f"{upstream.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(upstream: FakeUpstream) -> "Iterator[sdks.anthropic.Anthropic]":
    with sdks.anthropic.Anthropic(base_url=upstream.url, auth_token=KEY, api_key=None, max_retries=0) as client:
        yield client


def connect(upstream: FakeUpstream) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)


def send(
    upstream: FakeUpstream, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    connection = connect(upstream)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    connection.request(method, path, data, {"Authorization": f"Bearer {KEY}", **(headers or {})})
    response = connection.getresponse()
    try:
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def chat(upstream: FakeUpstream, text: str, **extra: Any) -> Answer:
    payload = {"model": MODEL, "messages": [{"role": "user", "content": text}], **extra}
    return send(upstream, "POST", "/v1/chat/completions", payload)


def message(upstream: FakeUpstream, text: str, **extra: Any) -> Answer:
    payload = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **extra}
    return send(upstream, "POST", "/v1/messages", payload)


def events(body: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


# The rule of the answer, as values.


@pytest.mark.parametrize(
    ("payload", "tokens"),
    [
        ({"messages": [{"role": "user", "content": ""}]}, 1),
        ({"messages": [{"role": "user", "content": "1234"}]}, 1),
        ({"messages": [{"role": "user", "content": "12345"}]}, 2),
        ({"messages": [{"role": "user", "content": "đđ"}, {"role": "assistant", "content": "x"}]}, 2),
        ({"system": "1234", "messages": [{"role": "user", "content": [{"type": "text", "text": "1234"}]}]}, 2),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"text": "12345678"}]}]}]}, 2),
    ],
)
def test_prompt_tokens_are_a_quarter_of_the_bytes_of_all_text(payload: dict[str, Any], tokens: int) -> None:
    assert count_prompt_tokens(payload) == tokens


@pytest.mark.parametrize(
    ("limits", "words", "is_cut"),
    [
        ({}, 16, False),
        ({"max_tokens": 16}, 16, False),
        ({"max_tokens": 3}, 3, True),
        ({"max_tokens": 9, "max_completion_tokens": 2}, 2, True),
    ],
)
def test_reply_has_sixteen_words_or_the_limit(limits: dict[str, int], words: int, is_cut: bool) -> None:
    payload = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], **limits}
    reply = build_reply(payload, "id")
    assert (len(reply.words), reply.is_cut_by_limit) == (words, is_cut)
    assert reply.words[:2] == ["one", "two"]
    assert reply.completion_tokens == words


def test_only_the_last_user_message_directs() -> None:
    payload = {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": "[[fake status=500]]"},
            {"role": "user", "content": [{"type": "text", "text": "hello [[fake chunks=2]] [[fake delay=0.5]]"}]},
            {"role": "assistant", "content": "[[fake status=400]]"},
        ],
    }
    reply = build_reply(payload, "id")
    assert reply.directives == Directives(chunks=2, delay=0.5)
    assert reply.text == "hello hello"


@pytest.mark.parametrize("directive", ["statos=500", "status=x", "usage=strange"])
def test_mistyped_directive_is_refused(directive: str) -> None:
    with pytest.raises(BadRequestError, match=directive):
        Directives.parse(f"[[fake {directive}]]")


# The OpenAI format.


def test_openai_sdk_lists_models(openai_client: "sdks.openai.OpenAI") -> None:
    assert "claude-haiku-4-5-20251001" in [model.id for model in openai_client.models.list()]


def test_openai_sdk_reads_a_plain_answer(openai_client: "sdks.openai.OpenAI") -> None:
    answer = openai_client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello there"}], max_tokens=5, n=2
    )
    assert [choice.message.content for choice in answer.choices] == ["hello there hello there hello"] * 2
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 10, 13)


def test_openai_sdk_reads_a_stream_with_usage_last(openai_client: "sdks.openai.OpenAI") -> None:
    with openai_client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello [[fake chunks=3]]"}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "hello hello hello"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (6, 3)


def test_openai_stream_without_include_usage_has_none_and_ends_with_done(upstream: FakeUpstream) -> None:
    _, headers, body = chat(upstream, "hello", stream=True)
    assert headers["content-type"].startswith("text/event-stream")
    assert not any("usage" in event for event in events(body))
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("is_stream", [False, True])
def test_openai_tool_call(upstream: FakeUpstream, is_stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
    _, _, body = chat(upstream, 'say "hi" [[fake tool chunks=2]]', tools=tools, stream=is_stream)
    if is_stream:
        deltas = [event["choices"][0]["delta"] for event in events(body)]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        name, arguments = calls[0]["function"]["name"], "".join(call["function"]["arguments"] for call in calls)
        finish = events(body)[-1]["choices"][0]["finish_reason"]
    else:
        choice = json.loads(body)["choices"][0]
        name, arguments = choice["message"]["tool_calls"][0]["function"].values()
        finish = choice["finish_reason"]
    assert (name, json.loads(arguments), finish) == ("search", {"text": 'say "hi"'}, "tool_calls")


# The Anthropic format.


def test_anthropic_sdk_reads_a_plain_answer(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    answer = anthropic_client.messages.create(
        model=MODEL, max_tokens=2, system="1234", messages=[{"role": "user", "content": "hello there"}]
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "hello there"
    assert answer.stop_reason == "max_tokens"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 2)


def test_anthropic_sdk_reads_a_stream(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    directive = "[[fake chunks=4 prompt_tokens=1000 cached_tokens=200 cache_creation_tokens=50]]"
    with anthropic_client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": f"hello {directive}"}]
    ) as stream:
        answer = stream.get_final_message()
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "hello hello hello hello"
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (1000, 4)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (200, 50)


def test_anthropic_stream_reports_cumulative_usage(upstream: FakeUpstream) -> None:
    _, _, body = message(upstream, "hello", stream=True)
    found = events(body)
    assert found[0]["message"]["usage"]["output_tokens"] == 1
    assert found[-2]["usage"]["output_tokens"] == 16
    assert found[-1] == {"type": "message_stop"}


def test_anthropic_sdk_counts_tokens(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    counted = anthropic_client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "12345"}])
    assert counted.input_tokens == 2


def test_anthropic_tool_call(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    with anthropic_client.messages.stream(
        model=MODEL,
        max_tokens=100,
        tools=[{"name": "search", "input_schema": {"type": "object"}}],
        messages=[{"role": "user", "content": "hello [[fake tool chunks=2]]"}],
    ) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    assert answer.content[0].type == "tool_use"
    assert (answer.content[0].name, answer.content[0].input) == ("search", {"text": "hello hello"})


# Directives.


def test_reported_usage_of_chat(upstream: FakeUpstream) -> None:
    directive = "prompt_tokens=1000 completion_tokens=500 cached_tokens=200 cache_creation_tokens=50"
    _, _, body = chat(upstream, f"[[fake {directive}]]", max_tokens=10)
    assert json.loads(body)["usage"] == {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "total_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 200, "cache_creation_tokens": 50},
    }


@pytest.mark.parametrize(
    ("kind", "count"),
    [("zero", 0), ("negative", -5), ("absurd", 10**12), ("fraction", 1.5), ("text", "many"), ("null", None)],
)
def test_distorted_usage(upstream: FakeUpstream, kind: str, count: object) -> None:
    plain = json.loads(chat(upstream, f"[[fake usage={kind}]]")[2])["usage"]
    assert (plain["prompt_tokens"], plain["prompt_tokens_details"]) == (count, {"cached_tokens": count})
    assert json.loads(message(upstream, f"[[fake usage={kind}]]")[2])["usage"]["output_tokens"] == count
    streamed = events(message(upstream, f"[[fake usage={kind}]]", stream=True)[2])
    assert streamed[0]["message"]["usage"]["input_tokens"] == count
    assert streamed[-2]["usage"]["output_tokens"] == count


def test_missing_usage(upstream: FakeUpstream) -> None:
    text, options = "[[fake usage=missing]]", {"stream": True, "stream_options": {"include_usage": True}}
    assert "usage" not in json.loads(chat(upstream, text)[2])
    assert not any(event["usage"] for event in events(chat(upstream, text, **options)[2]))
    assert "usage" not in json.loads(message(upstream, text)[2])
    streamed = events(message(upstream, text, stream=True)[2])
    assert "usage" not in streamed[0]["message"]
    assert "usage" not in streamed[-2]


@pytest.mark.parametrize("is_stream", [False, True])
def test_status(upstream: FakeUpstream, is_stream: bool) -> None:
    status, headers, body = chat(upstream, "[[fake status=429 retry_after=3]]", stream=is_stream)
    assert (status, headers["retry-after"]) == (429, "3")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    status, _, body = message(upstream, "[[fake status=529]]", stream=is_stream)
    assert (status, json.loads(body)["error"]["type"]) == (529, "overloaded_error")
    assert chat(upstream, "[[fake status=302]]")[1]["location"]


@pytest.mark.parametrize(("extra", "seconds"), [("delay=0.3", 0.3), ("chunks=3 chunk_delay=0.1", 0.4)])
def test_delays(upstream: FakeUpstream, extra: str, seconds: float) -> None:
    begun = time.monotonic()
    assert chat(upstream, f"[[fake {extra}]]", stream=True)[0] == 200
    assert seconds <= time.monotonic() - begun < seconds + 1


def test_big(upstream: FakeUpstream) -> None:
    _, _, body = chat(upstream, "[[fake big=20000000 chunks=100]]")
    assert len(json.loads(body)["choices"][0]["message"]["content"]) == 20_000_000 + 99
    _, _, body = chat(upstream, "[[fake big=20000000 chunks=100]]", stream=True)
    assert len(body) > 20_000_000


@pytest.mark.parametrize("is_stream", [False, True])
def test_gzip(upstream: FakeUpstream, is_stream: bool) -> None:
    _, headers, body = chat(upstream, "hello [[fake gzip chunks=2]]", stream=is_stream)
    assert headers["content-encoding"] == "gzip"
    assert b"hello" in gzip.decompress(body)


@pytest.mark.parametrize("is_stream", [False, True])
def test_garbage(upstream: FakeUpstream, is_stream: bool) -> None:
    status, _, body = chat(upstream, "[[fake garbage]]", stream=is_stream)
    assert (status, b"{not json" in body) == (200, True)


def test_stream_error(upstream: FakeUpstream) -> None:
    found = events(chat(upstream, "[[fake stream_error=3]]", stream=True)[2])
    assert len(found) == 1 + 3 + 1
    assert "error" in found[-1]
    assert events(message(upstream, "[[fake stream_error=3]]", stream=True)[2])[-1]["type"] == "error"


@pytest.mark.parametrize("is_stream", [False, True])
def test_cut(upstream: FakeUpstream, is_stream: bool) -> None:
    with pytest.raises(http.client.IncompleteRead) as error:
        chat(upstream, "[[fake cut=3]]", stream=is_stream)
    if is_stream:
        assert len(events(error.value.partial)) == 1 + 3


def test_cut_of_a_shorter_stream_is_before_its_end(upstream: FakeUpstream) -> None:
    with pytest.raises(http.client.IncompleteRead):
        chat(upstream, "[[fake cut=2 chunks=2]]", stream=True)


def test_refuse(upstream: FakeUpstream) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        chat(upstream, "[[fake refuse]]")


@pytest.mark.parametrize("is_stream", [False, True])
def test_stall_lasts_until_the_client_leaves(upstream: FakeUpstream, is_stream: bool) -> None:
    payload = {"model": MODEL, "messages": [{"role": "user", "content": "[[fake stall=3]]"}], "stream": is_stream}
    connection = connect(upstream)
    connection.request("POST", "/v1/chat/completions", json.dumps(payload), {"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    assert response.read(100)
    assert connection.sock is not None
    connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        response.read()
    assert upstream.requests[0].client_connected is None
    response.close()
    connection.close()
    wait_for(lambda: upstream.requests[0].client_connected is False, 5)


# Requests that are refused, and what is recorded.


def test_wrong_key_is_refused_in_the_shape_of_the_api(upstream: FakeUpstream) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    status, _, body = send(upstream, "POST", "/v1/chat/completions", {}, wrong)
    assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
    status, _, body = send(upstream, "POST", "/v1/messages", {}, wrong)
    assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        {},
        {"model": MODEL, "messages": []},
        {"model": MODEL, "messages": ["x"]},
        {"model": 1, "messages": [{"role": "user", "content": "x"}]},
        {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": -1},
        {"model": MODEL, "messages": [{"role": "user", "content": "[[fake nonsense]]"}]},
    ],
)
def test_bad_request_is_answered_400(upstream: FakeUpstream, body: Any) -> None:
    status, _, answer = send(upstream, "POST", "/v1/chat/completions", body)
    assert status == 400
    assert json.loads(answer)["error"]["message"]


def test_messages_need_max_tokens(upstream: FakeUpstream) -> None:
    assert message(upstream, "x", max_tokens=None)[0] == 400


def test_unknown_path_is_answered_404(upstream: FakeUpstream) -> None:
    assert send(upstream, "GET", "/v1/nothing")[0] == 404
    assert send(upstream, "POST", "/v1/models", {})[0] == 404


def test_requests_are_recorded_listed_and_forgotten(upstream: FakeUpstream) -> None:
    chat(upstream, "hello")
    wait_for(lambda: upstream.requests[0].client_connected is not None, 5)
    (recorded,) = upstream.requests
    assert (recorded.method, recorded.path) == ("POST", "/v1/chat/completions")
    assert recorded.headers["authorization"] == f"Bearer {KEY}"
    assert recorded.json()["messages"][0]["content"] == "hello"

    listed = json.loads(send(upstream, "GET", "/_fake/requests", headers={"Authorization": ""})[2])
    assert listed["count"] == 1
    assert json.loads(listed["requests"][0]["body"])["model"] == MODEL
    assert json.loads(send(upstream, "DELETE", "/_fake/requests")[2]) == {"count": 0, "requests": []}
    assert upstream.requests == []


def test_one_connection_serves_many_requests_chunked_bodies_too(upstream: FakeUpstream) -> None:
    connection = connect(upstream)
    payload = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}).encode()
    sockets = set()
    for body in (payload, iter([payload[:10], payload[10:]])):
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["usage"]["prompt_tokens"] == 2
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


@pytest.mark.parametrize("start", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_what_is_not_http_ends_the_connection(upstream: FakeUpstream, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", upstream.port), timeout=5) as client:
        client.sendall(start)
        assert client.recv(100) == b""


def test_stop_cuts_answers_and_frees_the_port() -> None:
    with FakeUpstream() as upstream:
        port = upstream.port
        connection = connect(upstream)
        payload = {"model": MODEL, "messages": [{"role": "user", "content": "[[fake stall=1]]"}], "stream": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(payload))
        response = connection.getresponse()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    connection.close()
    with FakeUpstream(port=port) as again:
        assert chat(again, "hello")[0] == 200


def test_runs_as_a_process_and_ends_cleanly() -> None:
    command = [sys.executable, "-m", "development.fake_upstream.server", "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = urlsplit(process.stdout.readline().split()[-1]).port
        assert port is not None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        assert connection.getresponse().read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        connection.close()
