"""Streams of all formats as vendors send them: cut wherever they may be, they reach the official SDKs as they are.

`recorded` has text, reasoning, parallel calls of tools and refusals, with line ends of either kind.
"""

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.billing.pricing import Usage
from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.api_format import ApiFormat
from proxy.formats.openai_chat import OpenAiChat
from proxy.formats.openai_responses import OpenAiResponses
from proxy.models import RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.formats.test_golden import CALL
from tests.proxy.raw_upstream import Piece, RawUpstream, http_answer
from tests.proxy.requests import MODEL, assert_reconciles
from tests.serving import Server

RECORDED = Path(__file__).parent / "recorded"
FORMATS: dict[str, ApiFormat] = {
    "chat": OpenAiChat(),
    "messages": AnthropicMessages(),
    "responses": OpenAiResponses(),
}
KINDS = ("text", "reasoning", "tools", "refusal")
EACH = pytest.mark.parametrize("name", [f"{name}_{kind}" for name in FORMATS for kind in KINDS])
CUTS = 6
"""Of each stream on its way through the whole proxy; the reader is cut at every byte."""
PAUSE_SECONDS = 0.003


def recorded(name: str) -> bytes:
    return (RECORDED / f"{name}.sse").read_bytes()


def ends_of_events(data: bytes) -> list[int]:
    """The positions behind the events of a stream, and its beginning."""
    end = b"\r\n\r\n" if b"\r\n" in data else b"\n\n"
    return [0, *(start + len(end) for start in range(len(data)) if data.startswith(end, start))]


@EACH
def test_the_reader_passes_whole_events_wherever_the_bytes_are_cut(name: str) -> None:
    data, reader = recorded(name), FORMATS[name.partition("_")[0]].stream_reader(CALL)
    ends = ends_of_events(data)
    assert ends[-1] == len(data)
    for start, end in pairwise(ends):
        for cut in range(start, end):
            fresh = copy.deepcopy(reader)
            assert fresh.feed(data[start:cut]) == b"", cut
            assert fresh.feed(data[cut:end]) == data[start:end], cut
            if end == len(data):
                assert (fresh.flush(), fresh.is_finished, fresh.report().usage) == (b"", True, Usage(21, 34)), cut
        reader.feed(data[start:end])


@EACH
def test_the_reader_passes_the_same_byte_by_byte(name: str) -> None:
    data, reader = recorded(name), FORMATS[name.partition("_")[0]].stream_reader(CALL)
    passed = [reader.feed(data[start : start + 1]) for start in range(len(data))]
    assert b"".join([*passed, reader.flush()]) == data
    assert (reader.is_finished, reader.report().usage) == (True, Usage(21, 34))


# --- As the SDKs see it ----------------------------------------------------------------------------------------------


def client_of(name: str, url: str) -> Any:
    key = key_of("alice")
    if name == "messages":
        return sdks.anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
    return sdks.openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def ask(name: str, client: Any) -> Any:
    """The events of a stream, and what the SDK makes of them."""
    said: Any = {"messages": [{"role": "user", "content": "Xin"}], "max_tokens": 100}
    if name == "chat":
        manager = client.chat.completions.stream(model=MODEL, stream_options={"include_usage": True}, **said)
    elif name == "messages":
        manager = client.messages.stream(model=MODEL, **said)
    else:
        manager = client.responses.stream(model=MODEL, max_output_tokens=100, input="Xin", store=False)
    with manager as stream:
        events = [event.to_dict(warnings=False) for event in stream]
        final = {
            "chat": "get_final_completion",
            "messages": "get_final_message",
            "responses": "get_final_response",
        }[name]
        return events, getattr(stream, final)().to_dict(warnings=False)


@EACH
def test_an_sdk_gets_what_it_gets_without_the_proxy(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, name: str
) -> None:
    insert_user("alice", creditsNew=5)
    kind = name.partition("_")[0]
    answer = http_answer(recorded(name), content_type="text/event-stream")
    raw_upstream.play(answer)
    with client_of(kind, raw_upstream.url) as client:
        direct = ask(kind, client)
    assert len(json.dumps(direct[1])) > 200
    body = len(answer) - len(recorded(name))
    step = -(-len(recorded(name)) // CUTS)
    ways: list[tuple[Piece, ...]] = [
        (answer[:cut], PAUSE_SECONDS, answer[cut:]) for cut in range(body + step // 2, len(answer), step)
    ]
    ways.append(tuple(answer[start : start + 1] for start in range(len(answer))))
    with client_of(kind, raw_server.openhands) as client:
        for pieces in ways:
            raw_upstream.play(*pieces)
            assert ask(kind, client) == direct
    logs = list(RequestLog.objects.all())
    assert len(logs) == len(ways)
    assert {(log.outcome, log.usage_source, log.input_tokens, log.output_tokens) for log in logs} == {
        ("ok", "upstream", 21, 34)
    }
    assert_reconciles()
