"""What an answer is, by its first bytes."""

import json

import pytest

from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.openai_chat import OpenAiChat
from proxy.relay.body_kind import BodyKind, kind_of_body
from proxy.relay.large_answer import begins_like_an_answer

KINDS = [
    (b'{"a":1}', BodyKind.OBJECT),
    (b" \n\t{", BodyKind.OBJECT),
    (b"\xef\xbb\xbf{", BodyKind.OBJECT),
    (b"data: x", BodyKind.EVENTS),
    (b"data:x", BodyKind.EVENTS),
    (b"data\n", BodyKind.EVENTS),
    (b"event: x", BodyKind.EVENTS),
    (b"id: 1", BodyKind.EVENTS),
    (b"retry: 10", BodyKind.EVENTS),
    (b": a comment", BodyKind.EVENTS),
    (b"\n\n: a comment", BodyKind.EVENTS),
    (b"\xef\xbb\xbfdata: x", BodyKind.EVENTS),
    (b"", None),
    (b" \n", None),
    (b"da", None),
    (b"event", None),
    (b"<html>", BodyKind.OTHER),
    (b"[1]", BodyKind.OTHER),
    (b"database", BodyKind.OTHER),
    (b'"data: x"', BodyKind.OTHER),
    (b"\x1f\x8b\x08", BodyKind.OTHER),
    (b"\0\0", BodyKind.OTHER),
]


@pytest.mark.parametrize(("start", "kind"), KINDS)
def test_the_first_bytes_tell(start: bytes, kind: BodyKind | None) -> None:
    assert kind_of_body(start) is kind


LONG = "x" * 1_500_000
LARGE = [
    ({"id": "1", "choices": [{"message": {"content": LONG}}]}, True),
    ({"usage": {}, "choices": [{"message": {"content": LONG}}], "error": None}, True),
    ({"choices": [{"a": 1}], "pad": LONG}, True),
    ({"error": {"message": LONG}}, False),
    ({"error": LONG, "choices": [1]}, False),
    ({"choices": [{"a": 1}], "error": LONG}, False),
    ({"choices": [], "pad": LONG}, False),
    ({"choices": LONG}, False),
    ({"choices": {"a": LONG}}, False),
    ({"detail": LONG}, False),
    ({LONG: 1}, False),
    ([{"choices": [LONG]}], False),
    (LONG, False),
]


@pytest.mark.parametrize(("answer", "is_answer"), LARGE, ids=lambda value: str(value)[:40])
def test_a_large_answer_is_known_by_its_beginning(answer: object, is_answer: bool) -> None:
    data = json.dumps(answer).encode()
    assert begins_like_an_answer(data, OpenAiChat()) == is_answer
    other = data.replace(b'"choices"', b'"content"', 1)
    assert begins_like_an_answer(other, AnthropicMessages()) == is_answer


def test_a_large_answer_that_is_nested_too_deeply_is_none() -> None:
    assert not begins_like_an_answer(b'{"a":' * 200_000, OpenAiChat())
    assert not begins_like_an_answer(b'{"a":' + b"[" * 200_000, OpenAiChat())
