"""How much text a model wrote: decoded, wherever it stands, each once, however the bytes are cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.api_format import ApiFormat
from proxy.formats.generated_text import TextMeter, decoded_size
from proxy.formats.openai_chat import OpenAiChat

OPENAI: ApiFormat = OpenAiChat()
ANTHROPIC: ApiFormat = AnthropicMessages()
VIETNAMESE = "Tiếng Việt có dấu"


@given(st.text())
def test_escapes_count_as_what_they_say(text: str) -> None:
    for is_ascii in (True, False):
        spelled = json.dumps(text, ensure_ascii=is_ascii)[1:-1].encode()
        assert decoded_size(spelled) == len(text.encode())


def test_a_letter_is_a_letter_however_it_is_spelled() -> None:
    assert decoded_size(rb"\u1ebf") == decoded_size("ế".encode()) == 3
    assert decoded_size(rb"\ud83d\ude00") == decoded_size("😀".encode()) == 4
    assert decoded_size(rb"C:\\users\\u1\n\"") == len('C:\\users\\u1\n"')


def size(api_format: ApiFormat, answer: dict[str, Any], *, is_ascii: bool = True) -> int:
    return api_format.output_text_bytes(json.dumps(answer, ensure_ascii=is_ascii).encode(), answer)


def said(**members: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **members}}]}


MESSAGES = [
    (said(content=VIETNAMESE), VIETNAMESE),
    (said(content=None, refusal="No."), "No."),
    (said(content="a", reasoning_content="bcd"), "abcd"),
    (said(content="a", reasoning="bcd", reasoning_content="bcd"), "abcd"),
    (said(content="a", reasoning="bcd", reasoning_details=[{"type": "reasoning.text", "text": "bcd"}]), "abcd"),
    (said(content="a", reasoning_details=[{"type": "reasoning.text", "text": "bcd"}]), "abcd"),
    (said(content="a", reasoning_content="bcd", thinking_blocks=[{"type": "thinking", "thinking": "bcd"}]), "abcd"),
    (said(content=[{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]), "abcd"),
    (said(content=[{"type": "text", "text": "a"}], reasoning_content="bcd"), "abcd"),
    (said(tool_calls=[{"function": {"name": "f", "arguments": '{"a": "b"}'}}]), '{"a": "b"}'),
    (said(tool_calls=[{"type": "custom", "custom": {"name": "f", "input": "abc"}}]), "abc"),
    (said(content=None, audio={"data": "AAAA" * 1000, "transcript": "abc"}), "abc"),
    (said(images=[{"image_url": {"url": "data:image/png;base64," + "A" * 9000}}], content="abc"), "abc"),
]


@pytest.mark.parametrize(("answer", "text"), MESSAGES)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_every_field_of_a_completion_that_holds_text(answer: dict[str, Any], text: str, is_ascii: bool) -> None:
    assert size(OPENAI, answer, is_ascii=is_ascii) == len(text.encode())


def test_every_choice_counts() -> None:
    assert size(OPENAI, {"choices": [*said(content="abc")["choices"], *said(content="de")["choices"]]}) == 5


BLOCKS = [
    ([{"type": "text", "text": VIETNAMESE}], VIETNAMESE),
    ([{"type": "thinking", "thinking": "abc", "signature": "A" * 500}], "abc"),
    ([{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "ế"}}], '{"a": "ế"}'),
    ([{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}], "abcd"),
]


@pytest.mark.parametrize(("content", "text"), BLOCKS)
def test_every_block_of_a_message_that_holds_text(content: list[dict[str, Any]], text: str) -> None:
    assert size(ANTHROPIC, {"type": "message", "content": content}) == len(text.encode())


ANSWER = json.dumps(
    {
        "content": f'a "quoted" \\ {VIETNAMESE}\n',
        "name": "content",
        "reasoning": "abc",
        "reasoning_content": "abcdef",
        "other": '"content":"not this"',
        "arguments": '{"content": "but this"}',
    },
    ensure_ascii=False,
).encode()
TEXT = f'a "quoted" \\ {VIETNAMESE}\n' + "abcdef" + '{"content": "but this"}'


@given(st.lists(st.integers(0, len(ANSWER)), max_size=20))
def test_the_pieces_in_which_an_answer_comes_do_not_matter(cuts: list[int]) -> None:
    meter = TextMeter(("content", "arguments"), copies=("reasoning", "reasoning_content"))
    for start, end in pairwise([0, *sorted(cuts), len(ANSWER)]):
        meter.feed(ANSWER[start:end])
    assert meter.size == len(TEXT.encode())


def test_a_text_that_was_cut_counts_as_far_as_it_came() -> None:
    meter = TextMeter(("content",))
    meter.feed(b'{"content": "abc')
    assert meter.size == 3
    meter.feed(b"def")
    assert meter.size == 6
