"""Responses and their streams: what is an answer, what it used, what it wrote, and how a stream ends in an error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.billing.pricing import Usage
from proxy.formats.event_stream import LARGEST_EVENT_BYTES
from proxy.formats.openai_responses import OpenAiResponses
from proxy.formats.openai_responses_answer import OpenAiResponsesStream
from proxy.relay.large_answer import LargeAnswerReader, begins_like_an_answer
from tests.proxy.formats.test_event_stream import cuts, line_ends, run

FORMAT = OpenAiResponses()
USAGE = {
    "input_tokens": 1900,
    "input_tokens_details": {"cached_tokens": 700, "cache_write_tokens": 200},
    "output_tokens": 500,
    "output_tokens_details": {"reasoning_tokens": 400},
    "total_tokens": 2400,
}
USED = Usage(1000, 500, 200, 700)
TEXT: dict[str, Any] = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": 'He"llo é'}]}
CALL: dict[str, Any] = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"a": 1}'}


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    frame = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": None}
    return {**frame, "model": "m-1", "output": [TEXT], "tools": [], "usage": USAGE, **members}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, ensure_ascii=False)}\n\n".encode()


BEGUN = event("response.created", response=response("in_progress", output=[], usage=None), sequence_number=0)
DELTAS = [
    event("response.reasoning_summary_text.delta", delta="Hm", sequence_number=1),
    event("response.reasoning_text.delta", delta="well", sequence_number=2),
    event("response.output_text.delta", delta='He"llo é', sequence_number=3),
    event("response.refusal.delta", delta="no", sequence_number=4),
    event("response.function_call_arguments.delta", delta='{"a"', sequence_number=5),
    event("response.custom_tool_call_input.delta", delta="patch", sequence_number=6),
]
DELTA_BYTES = len('HmwellHe"llo éno{"a"patch'.encode())


# --- Streams -----------------------------------------------------------------------------------------------------


@given(cuts, line_ends, st.sampled_from(["completed", "incomplete", "cancelled"]))
def test_the_usage_of_any_end_is_read_however_the_stream_is_cut(cuts: list[int], end: bytes, status: str) -> None:
    last = event(f"response.{status}", response=response(status), sequence_number=7)
    data = b"".join([BEGUN, *DELTAS, last]).replace(b"\n", end)
    reader = OpenAiResponsesStream()
    assert run(reader, data, cuts) == data
    assert (reader.report().usage, reader.is_finished, reader.answered_model) == (USED, True, "m-1")
    assert reader.text_bytes == DELTA_BYTES


@pytest.mark.parametrize("error", [None, {"code": "server_error", "message": "The organization broke."}])
def test_a_response_that_failed_is_an_error_and_its_usage_counts(error: Any) -> None:
    reader = OpenAiResponsesStream()
    failed = event("response.failed", response=response("failed", output=[], error=error))
    assert run(reader, BEGUN + failed, []) == BEGUN
    assert reader.error
    assert reader.report().usage == USED


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "server_error", "message": "x", "param": None, "sequence_number": 1},
        {"type": "error", "error": {"type": "server_error", "message": "x"}, "sequence_number": 1},
        {"error": {"message": "x"}},
        {"detail": "x"},
    ],
)
def test_an_error_is_not_passed_on_and_its_usage_counts(error: dict[str, Any]) -> None:
    reader = OpenAiResponsesStream()
    data = BEGUN + DELTAS[0] + b"data: " + json.dumps({**error, "usage": USAGE}).encode() + b"\n\n" + DELTAS[1]
    assert run(reader, data, []) == BEGUN + DELTAS[0]
    assert reader.error
    assert reader.report().usage == USED


@given(cuts)
def test_a_stream_that_is_cut_is_not_finished_and_its_pieces_count(cuts: list[int]) -> None:
    reader = OpenAiResponsesStream()
    run(reader, b"".join([BEGUN, *DELTAS]), cuts)
    assert not reader.is_finished
    assert (reader.text_bytes, reader.report().usage) == (DELTA_BYTES, None)


def test_what_no_piece_told_counts_by_the_items_and_by_the_whole() -> None:
    written = len('He"llo é'.encode()) + len('{"a": 1}')
    items = [event("response.output_item.done", output_index=0, item=item) for item in (TEXT, CALL)]
    reader = OpenAiResponsesStream()
    run(reader, b"".join([BEGUN, *items]), [])
    assert reader.text_bytes == written
    whole = OpenAiResponsesStream()
    run(whole, BEGUN + event("response.completed", response=response(output=[TEXT, CALL], usage=None)), [])
    assert whole.text_bytes == written


def test_what_the_client_said_is_no_output() -> None:
    said = {"instructions": "x" * 1000, "tools": [{"type": "function", "name": "f", "description": "x" * 1000}]}
    reader = OpenAiResponsesStream()
    run(reader, event("response.created", response=response("in_progress", output=[], usage=None, **said)), [])
    assert reader.text_bytes == 0
    answer = response(**said)
    assert FORMAT.output_text_bytes(json.dumps(answer).encode(), answer) == len('He"llo é'.encode())


@pytest.mark.parametrize(
    "first", [b"data: {not json\n\n", b'data: {"choices":[],"object":"chat.completion.chunk"}\n\n', b"data: [DONE]\n\n"]
)
def test_a_stream_that_does_not_begin_like_one_is_garbage(first: bytes) -> None:
    reader = OpenAiResponsesStream()
    reader.feed(first)
    assert reader.is_garbage or reader.error


def test_a_stream_that_says_nothing_says_so() -> None:
    reader = OpenAiResponsesStream()
    run(reader, BEGUN + event("response.completed", response=response(output=[], usage=None)), [])
    assert (reader.is_finished, reader.says_nothing()) == (True, True)
    incomplete = OpenAiResponsesStream()
    run(incomplete, BEGUN + event("response.incomplete", response=response("incomplete", output=[], usage=None)), [])
    assert not incomplete.says_nothing()


def test_what_the_operator_pays_is_not_passed_on() -> None:
    reader = OpenAiResponsesStream()
    passed = run(reader, BEGUN + event("response.completed", response=response(usage={**USAGE, "cost": 0.5})), [])
    assert b"cost" not in passed
    assert passed == BEGUN + event("response.completed", response=response())
    assert str(reader.report().told_cost) == "0.500000000000"


# --- Events that are too long to be read ---------------------------------------------------------------------------

LONG = "é " * (LARGEST_EVENT_BYTES // 3)
SCHEMA = {"usage": {"input_tokens": 1, "output_tokens": 1}}


@pytest.mark.parametrize("size", [50_000, 65_536, 3_000_000])
@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
@pytest.mark.parametrize("is_usage_first", [False, True])
def test_a_response_that_repeats_long_instructions_is_billed(kind: str, size: int, is_usage_first: bool) -> None:
    said = {"instructions": LONG * 2, "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}
    told = {"id": "resp_1", **said, **response(usage=USAGE | {"cost": 0.5}), "metadata": {"a": "b"}}
    if is_usage_first:
        told = response(usage=USAGE | {"cost": 0.5}, **said)
    begun = event("response.created", response=response("in_progress", usage=None, **said), sequence_number=0)
    data = begun + DELTAS[2] + event(kind, response=told, sequence_number=4)
    reader = OpenAiResponsesStream()
    passed = run(reader, data, list(range(size, len(data), size)))
    assert (reader.report().usage, reader.is_finished, reader.is_garbage) == (USED, True, False)
    assert passed == data.replace(b', "cost": 0.5', b"")
    assert not reader.says_nothing()


def test_a_member_of_a_tool_is_no_usage() -> None:
    tools = [{"type": "function", "name": "f", "parameters": SCHEMA, "description": LONG * 2}]
    told = response(usage=None) | {"tools": [*tools, {"type": "function", "name": "g", "parameters": SCHEMA}]}
    reader = OpenAiResponsesStream()
    data = BEGUN + event("response.completed", response=told)
    run(reader, data, list(range(60_000, len(data), 60_000)))
    assert (reader.report().usage, reader.is_finished) == (None, True)


@pytest.mark.parametrize("cut", [1, 2, 200, 60_000])
def test_a_long_end_that_is_cut_is_none(cut: int) -> None:
    data = BEGUN + event("response.completed", response={"instructions": LONG * 2, **response()}).rstrip()
    reader = OpenAiResponsesStream()
    run(reader, data[:-cut], list(range(60_000, len(data), 60_000)))
    assert not reader.is_finished
    whole = OpenAiResponsesStream()
    run(whole, data, list(range(60_000, len(data), 60_000)))
    assert (whole.is_finished, whole.report().usage) == (True, USED)


def test_a_long_failure_is_not_passed_on() -> None:
    error = {"code": "server_error", "message": "organization org-1"}
    failed = event("response.failed", response=response("failed", error=error, instructions=LONG * 2))
    reader = OpenAiResponsesStream()
    passed = run(reader, BEGUN + failed, list(range(60_000, len(failed), 60_000)))
    assert (passed, reader.error) == (BEGUN, {"error": error})


# --- Errors of ours ------------------------------------------------------------------------------------------------


def test_a_stream_ends_in_a_failed_response_and_an_error() -> None:
    reader = OpenAiResponsesStream()
    run(reader, b"".join([BEGUN, *DELTAS[:3]]), [])
    body = FORMAT.error_body(status=502, code="upstream_error", message="It broke off.", details={})
    events = [json.loads(part.partition(b"data: ")[2]) for part in FORMAT.error_event(body, reader).split(b"\n\n")[:-1]]
    assert [found["type"] for found in events] == ["response.failed", "error"]
    assert [found["sequence_number"] for found in events] == [4, 5]
    told = events[0]["response"]
    assert (told["id"], told["status"], told["error"]["code"]) == ("resp_1", "failed", "upstream_error")
    assert (events[1]["code"], events[1]["message"], events[1]["error"]) == (
        "upstream_error",
        "It broke off.",
        body["error"],
    )


def test_before_a_response_has_begun_there_is_an_error_alone() -> None:
    body = FORMAT.error_body(status=400, code="invalid_prompt", message="x", details={"param": "input"})
    told = FORMAT.error_event(body, OpenAiResponsesStream())
    assert told.startswith(b"event: error\ndata: ")
    assert json.loads(told.partition(b"data: ")[2])["param"] == "input"


# --- Plain answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "is_answer"),
    [
        (response(), True),
        (response(usage=None), True),
        (response(output=[]), True),
        (response("incomplete", output=[], usage=None), True),
        (response("completed", output=[], usage=None), False),
        (response("queued", output=[], usage=None), False),
        (response("failed"), False),
        (response(error={"code": "server_error"}), False),
        ({"output": None}, False),
        ({"output": {}}, False),
        ({}, False),
        ({"choices": [{"message": {"content": "x"}}]}, False),
    ],
)
def test_what_is_an_answer(answer: dict[str, Any], is_answer: bool) -> None:
    assert FORMAT.is_answer(answer) == is_answer


def uses(*kinds: str) -> list[dict[str, Any]]:
    return [{"type": kind, "id": f"x_{number}"} for number, kind in enumerate(kinds)]


SEARCHES = uses(
    "web_search_call", "code_interpreter_call", "web_search_call", "image_generation_call", "local_shell_call"
)
USES = (("code_execution", 1), ("image_generation", 1), ("web_search", 2))


def test_uses_of_tools_are_counted_once() -> None:
    answer = response(output=[*SEARCHES, TEXT])
    usage = FORMAT.read_usage(answer).usage
    assert usage is not None
    assert usage.tool_uses == USES
    done = [event("response.output_item.done", item=item) for item in answer["output"]]
    reader = OpenAiResponsesStream()
    run(reader, b"".join([BEGUN, *done, event("response.completed", response=answer)]), [])
    usage = reader.report().usage
    assert usage is not None
    assert usage.tool_uses == USES


def test_uses_of_tools_alone_are_no_usage() -> None:
    assert FORMAT.read_usage(response(output=SEARCHES, usage=None)).usage is None


@pytest.mark.parametrize("size", [1000, 65_537, 400_000])
def test_a_large_answer_is_read_as_it_passes(size: int) -> None:
    image = {"type": "image_generation_call", "id": "ig", "result": "A" * 1_500_000}
    answer = response(output=[*SEARCHES[:3], image, TEXT]) | {"usage": USAGE}
    data = json.dumps(answer, ensure_ascii=False).encode()
    assert begins_like_an_answer(data, FORMAT)
    reader = LargeAnswerReader(FORMAT)
    passed = b"".join(reader.feed(data[start : start + size]) for start in range(0, len(data), size)) + reader.flush()
    usage = reader.report().usage
    assert usage is not None
    assert (passed, reader.is_finished, usage.tool_uses) == (data, True, USES)
    assert reader.text_bytes == len('He"llo é'.encode())
