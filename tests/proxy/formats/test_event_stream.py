"""Streams in whatever pieces they arrive: passed through unchanged, usage read, the forced chunk hidden."""

from decimal import Decimal
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
    assert reader.text_bytes == len('He"llo é'.encode())


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


def test_an_error_and_what_follows_it_is_not_passed_on() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    data = b'data: {"error":{"message":"overloaded"}}\n\ndata: [DONE]\n\n'
    assert reader.feed(OPENAI[0] + data) == OPENAI[0]
    assert (reader.error, reader.is_finished) == ({"error": {"message": "overloaded"}}, False)
    assert reader.feed(OPENAI[1]) + reader.flush() == b""


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        b'data: {"detail":"no budget left for key sk-123"}\n\n',
        b'data: {"message":"no budget left for key sk-123","code":500}\n\n',
        b'data: {"object":"error","message":"no budget left for key sk-123"}\n\n',
        b"event: error\ndata: no budget left for key sk-123\n\n",
        b'{"error":{"message":"no budget left for key sk-123"}}\n\n',
    ],
)
@pytest.mark.parametrize("format_name", ["openai", "anthropic"])
def test_an_error_is_known_in_whatever_shape_it_comes(format_name: str, event: bytes) -> None:
    first = OPENAI[0] if format_name == "openai" else ANTHROPIC[0]
    reader = OpenAiChatStream(hides_usage=True) if format_name == "openai" else AnthropicMessagesStream()
    assert reader.feed(first) + reader.feed(event) + reader.flush() == first
    assert reader.error
    assert not reader.is_garbage


def test_an_error_of_one_choice_is_an_error_of_the_stream() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    event = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"code":502}}]}\n\n'
    assert reader.feed(OPENAI[0] + event) == OPENAI[0]
    assert reader.error


def test_the_word_error_in_a_text_is_no_failure() -> None:
    reader = AnthropicMessagesStream()
    reader.feed(b'data: {"delta":{"text":"{\\"error\\": {}}"}, "error": null}\n\n')
    assert reader.error is None


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


@pytest.mark.parametrize(
    "chunk",
    [
        b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":12,"completion_tokens":3,"cost":1}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],'
        b'"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\n',
        b'data: {"choices":[],"usage":{}}\n\n',
        b'data: {"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\n',
    ],
)
def test_a_chunk_that_only_reports_usage_is_hidden_from_a_client_that_did_not_ask(chunk: bytes) -> None:
    parts = [*OPENAI[:4], chunk, OPENAI[5]]
    assert run(OpenAiChatStream(hides_usage=True), b"".join(parts), []) == b"".join(OPENAI[:4] + OPENAI[5:])


def test_the_operators_cost_is_hidden_from_a_client_that_asked_for_usage() -> None:
    chunk = (
        b'data: {"choices":[] , "usage":{"prompt_tokens": 12,"cost" : 3.5e-05 ,"completion_tokens":3,"is_byok":1}}\n\n'
    )
    reader = OpenAiChatStream(hides_usage=False)
    passed = run(reader, b"".join([*OPENAI[:4], chunk, OPENAI[5]]), [])
    clean = b'data: {"choices":[] , "usage":{"prompt_tokens": 12,"completion_tokens":3}}\n\n'
    assert passed == b"".join([*OPENAI[:4], clean, OPENAI[5]])
    assert reader.report().told_cost == Decimal("0.000035")


def test_a_cost_in_data_of_several_lines_is_hidden_too() -> None:
    chunk = b'id: 7\ndata: {"choices":[],\ndata: "usage":{"cost":1,"prompt_tokens":12}}\n\n'
    reader = OpenAiChatStream(hides_usage=False)
    assert (
        reader.feed(OPENAI[0] + chunk) == OPENAI[0] + b'id: 7\ndata: {"choices":[], "usage":{"prompt_tokens":12}}\n\n'
    )


def test_a_stream_that_ends_after_its_reason_to_stop_is_whole_without_its_last_event() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    run(reader, b"".join(OPENAI[:5]), [])
    assert reader.is_finished
    cut = OpenAiChatStream(hides_usage=True)
    run(cut, b"".join(OPENAI[:3]), [])
    assert not cut.is_finished


def test_all_choices_must_have_stopped() -> None:
    stop = b'data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}\n\n'
    reader = OpenAiChatStream(hides_usage=True, choices=2)
    reader.feed(OPENAI[0] + stop % 0)
    assert not reader.has_stopped()
    reader.feed(stop % 1)
    assert reader.has_stopped()


def test_an_anthropic_stream_is_known_by_its_data_alone() -> None:
    data = b"".join(part[part.index(b"data:") :] for part in ANTHROPIC)
    reader = AnthropicMessagesStream()
    assert run(reader, data, []) == data
    assert (reader.is_finished, reader.report().usage) == (True, Usage(25, 15, 10, 5))


def test_an_event_that_was_cut_is_not_passed_on() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    assert reader.feed(OPENAI[0] + OPENAI[1][:20]) + reader.flush() == OPENAI[0]
    whole = OpenAiChatStream(hides_usage=True)
    assert whole.feed(OPENAI[0] + b"data: [DONE]") + whole.flush() == OPENAI[0] + b"data: [DONE]"
    assert whole.is_finished


@pytest.mark.parametrize("first", [b"data: {not json\n\n", b'data: {"detail":"x"}\n\n', b"data: hello\n\n"])
def test_a_stream_that_does_not_begin_like_one_is_garbage(first: bytes) -> None:
    reader = OpenAiChatStream(hides_usage=True)
    reader.feed(b": waiting\n\n" + first)
    assert reader.is_garbage


def test_a_stream_that_says_nothing_says_so() -> None:
    reader = OpenAiChatStream(hides_usage=True)
    reader.feed(b'data: {"choices":[],"usage":null}\n\ndata: [DONE]\n\n')
    assert (reader.is_finished, reader.says_nothing()) == (True, True)


def test_the_usage_of_thousands_of_chunks_takes_no_memory() -> None:
    reader = OpenAiChatStream(hides_usage=False)
    chunk = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":9,"completion_tokens":%d}}\n\n'
    for count in range(2000):
        reader.feed(chunk % count)
    reader.feed(chunk % 0)
    assert reader.report().usage == Usage(9, 1999)


def test_the_model_that_answered_is_known() -> None:
    openai, anthropic = OpenAiChatStream(hides_usage=True), AnthropicMessagesStream()
    openai.feed(b'data: {"model":"gpt-x","choices":[]}\n\n')
    anthropic.feed(b'data: {"type":"message_start","message":{"model":"claude-x","usage":{}}}\n\n')
    assert (openai.answered_model, anthropic.answered_model) == ("gpt-x", "claude-x")
