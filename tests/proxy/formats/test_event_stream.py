"""Streams in whatever pieces they arrive: passed through unchanged, usage read, the forced chunk hidden."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.billing.pricing import Usage
from proxy.formats.anthropic_messages import AnthropicMessagesStream
from proxy.formats.event_stream import LARGEST_EVENT_BYTES, EventStreamReader
from proxy.formats.openai_chat import OpenAiChat, OpenAiChatStream

OPENAI = [
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}\n\n',
    b'data: {"choices":[{"delta":{"content":"He\\"llo \xc3\xa9"}}],"usage":null}\n\n',
    b": a comment\n\n",
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n',
    b"data: [DONE]\n\n",
]
ANTHROPIC = [
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}\n\n',
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":15}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]


def run(reader: EventStreamReader, data: bytes, cuts: list[int]) -> bytes:
    positions = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(positions)]
    return b"".join([reader.feed(piece) for piece in pieces] + [reader.flush()])


cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=30)
line_ends = st.sampled_from([b"\n", b"\r\n"])


@given(cuts, line_ends)
def test_openai_usage_is_read_and_hidden_however_it_is_cut(cuts: list[int], end: bytes) -> None:
    parts = [part.replace(b"\n", end) for part in OPENAI]
    reader = OpenAiChatStream(hides_usage=True)
    assert run(reader, b"".join(parts), cuts) == b"".join(parts[:4] + parts[5:])
    assert reader.report().usage == Usage(8, 3, 0, 4)
    assert reader.is_finished
    assert reader.text_bytes == len(b'He\\"llo \xc3\xa9')


@given(cuts)
def test_openai_usage_passes_to_who_asked(cuts: list[int]) -> None:
    reader = OpenAiChatStream(hides_usage=False)
    assert run(reader, b"".join(OPENAI), cuts) == b"".join(OPENAI)
    assert reader.report().usage == Usage(8, 3, 0, 4)


@given(cuts, line_ends)
def test_anthropic_usage_is_the_last_of_each_count(cuts: list[int], end: bytes) -> None:
    data = b"".join(ANTHROPIC).replace(b"\n", end)
    reader = AnthropicMessagesStream()
    assert run(reader, data, cuts) == data
    assert reader.report().usage == Usage(25, 15, 10, 5)
    assert reader.is_finished
    assert reader.text_bytes == 2


def test_an_anthropic_stream_that_broke_off_tells_its_input() -> None:
    reader = AnthropicMessagesStream()
    run(reader, b"".join(ANTHROPIC[:3]), [])
    assert (reader.report().problem, reader.report().usage) == ("incomplete", Usage(25, 1, 10, 5))


def test_anthropic_usage_on_the_last_event_is_final() -> None:
    reader = AnthropicMessagesStream()
    run(reader, b"".join(ANTHROPIC[:3]), [])
    reader.feed(b'event: message_stop\ndata: {"type":"message_stop","usage":{"output_tokens":15}}\n\n')
    assert (reader.report().problem, reader.report().usage) == (None, Usage(25, 15, 10, 5))


def test_a_stream_without_usage_says_so() -> None:
    for reader in (OpenAiChatStream(hides_usage=True), AnthropicMessagesStream()):
        assert (reader.report().usage, reader.report().problem) == (None, "missing")


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens":-1,"completion_tokens":3}',
        b'{"prompt_tokens":5,"completion_tokens":99999999999}',
        b'{"prompt_tokens":"5","completion_tokens":3}',
        b'{"prompt_tokens":5.5,"completion_tokens":3}',
        b'{"prompt_tokens":true,"completion_tokens":3}',
        b'{"prompt_tokens":0,"completion_tokens":0}',
        b'{"prompt_tokens":5}',
        b'{"prompt_tokens":5,"completion_tokens":null}',
        b'{"completion_tokens":5}',
        b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}',
    ],
)
def test_impossible_usage_is_rejected(usage: bytes) -> None:
    reader = OpenAiChatStream(hides_usage=True)
    reader.feed(b'data: {"choices":[],"usage":' + usage + b"}\n\n")
    assert reader.report().usage is None
    assert (reader.report().problem or "").startswith("rejected")


def test_an_endless_event_does_not_grow_the_memory() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    passed = b"".join(reader.feed(b"x" * 65536) for _ in range(64))
    assert len(passed) >= 64 * 65536 - LARGEST_EVENT_BYTES - 65536
    assert passed + reader.flush() == b"x" * 65536 * 64


@pytest.mark.parametrize("text", [b"data: [DONE]", b"event: message_stop", b"\\ndata: [DONE]\\n"])
@pytest.mark.parametrize("reader", [OpenAiChatStream(hides_usage=True), AnthropicMessagesStream()])
def test_what_a_model_writes_does_not_end_a_stream(reader: EventStreamReader, text: bytes) -> None:
    event = b'data: {"delta":{"text":"' + text + b'"}}\n\n'
    assert reader.feed(event) == event
    long = b'data: {"delta":{"text":"' + b"x" * LARGEST_EVENT_BYTES
    assert reader.feed(long) + reader.feed(text + b'"}}\n\n') == long + text + b'"}}\n\n'
    assert not reader.is_finished


@pytest.mark.parametrize(
    ("reader", "last"),
    [
        (OpenAiChatStream(hides_usage=True), b"data:[DONE]\r\n\r\n"),
        (OpenAiChatStream(hides_usage=True), b": x\ndata: [DONE] \n\n"),
        (AnthropicMessagesStream(), b'event:message_stop\ndata:{"type":"message_stop"}\n\n'),
    ],
)
def test_the_last_event_may_be_spaced_otherwise(reader: EventStreamReader, last: bytes) -> None:
    assert reader.feed(last) == last
    assert reader.is_finished


def test_an_error_told_before_the_last_event_is_a_failure() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    data = b'data: {"error":{"message":"overloaded"}}\n\ndata: [DONE]\n\n'
    assert reader.feed(data) == data
    assert (reader.has_failed, reader.is_finished) == (True, True)


def test_the_word_error_in_a_text_is_no_failure() -> None:
    reader = AnthropicMessagesStream()
    reader.feed(b'data: {"delta":{"text":"{\\"error\\": {}}"}, "error": null}\n\n')
    assert not reader.has_failed


def test_garbage_with_a_usage_in_it_passes() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    garbage = b'data: {"usage": {broken\n\n'
    assert reader.feed(garbage) == garbage
    assert reader.report().usage is None


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_creation_tokens"])
def test_tokens_written_to_the_cache_are_told_apart(name: str) -> None:
    details = {"cached_tokens": 3, name: 5}
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": details}
    assert OpenAiChat().read_usage({"usage": usage}).usage == Usage(12, 1, 5, 3)
