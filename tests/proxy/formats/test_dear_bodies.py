"""Reading a body takes a time that grows with its size alone: shapes of 8 MiB, or of as many values as may be."""

import base64
import time
from collections.abc import Callable

import pytest

from accounts.errors import BillingError
from border.strict_json import MOST_NODES
from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.api_format import ApiFormat
from proxy.formats.generated_text import decoded_size
from proxy.formats.images import image_tokens
from proxy.formats.json_body import outline, parse_object
from proxy.formats.members import MOST_TOOLS
from proxy.formats.openai_chat import OpenAiChat
from proxy.formats.openai_responses import OpenAiResponses

BYTES = 8 * 1024 * 1024
MOST_SECONDS = 2.0
"""Of the processor; four times what it is on a machine that is not busy. What grows by the square takes a minute."""
CHAT, MESSAGES, RESPONSES = OpenAiChat(), AnthropicMessages(), OpenAiResponses()


def seconds_of(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def body(messages: bytes, rest: bytes = b"") -> bytes:
    return b'{"messages":[' + messages + b"]" + rest + b',"max_tokens":5,"model":"m","stream":true}'


def many(item: bytes, values: int, *, most: int = MOST_NODES) -> bytes:
    """So many of an item of that many values and names as fit into a body."""
    return b",".join(item % number if b"%" in item else item for number in range(most // values - 20))


def text(piece: bytes) -> bytes:
    part = b'{"type":"text","text":"' + piece * (BYTES // len(piece)) + b'"}'
    return body(b'{"role":"user","content":[' + part + b"]}")


SHAPES: dict[str, bytes] = {
    "empty messages": body(many(b"{}", 2)),
    "messages": body(many(b'{"role":"user","content":"x"}', 6)),
    "parts": body(b'{"content":[' + many(b'{"type":"text","text":"x"}', 6) + b"]}"),
    "unknown members": body(many(b'{"hint%d":1}', 3)),
    "one unknown member": body(many(b'{"hint":1}', 3)),
    "unknown types": body(b'{"content":[' + many(b'{"type":"x%d"}', 3) + b"]}"),
    "a type that is a list": body(b'{"content":[{"type":[' + many(b"[]", 2) + b"]}]}"),
    "members": body(b"{}", b"," + many(b'"x%d":1', 2)),
    "server tools": body(b"{}", b',"tools":[' + many(b'{"type":"web_search"}', 1, most=MOST_TOOLS) + b"]"),
    "letters by number": text(rb"\u1ebf"),
    "pairs by number": text(rb"\ud83d\ude00"),
    "escapes": text(rb"\""),
    "code": text(rb"if (x[1], {y: 2}) { \"z\" }\n"),
    "levels": body(many(b"[" * 500 + b"]" * 500, 501)),
    "integers": body(b'{"role":[' + many(b"9" * 4300, 1, most=1900) + b"]}"),
    "spaces": b'{"messages":[{}],' + b" " * BYTES + b'"model":"m","max_tokens":5}',
}


@pytest.mark.parametrize("api_format", [CHAT, MESSAGES, RESPONSES], ids=["chat", "messages", "responses"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_no_shape_of_a_body_is_dear(shape: bytes, api_format: ApiFormat) -> None:
    if api_format is RESPONSES:
        shape = shape.replace(b'"messages"', b'"input"', 1).replace(b'"type":"text"', b'"type":"input_text"')

    def read() -> None:
        parsed = parse_object(shape)
        try:
            call = api_format.parse(parsed, len(shape))
        except BillingError:
            return
        decoded_size(shape)
        removed = [tool.position for tool in call.asked.server_tools]
        kept = outline(parsed, has_tools=bool(removed))
        api_format.prepare(shape, kept, call, model="other", max_output_tokens=5, removed_tools=removed)

    assert seconds_of(read) < MOST_SECONDS


@pytest.mark.parametrize("piece", [b"\xff", b"\xff\xd0", b"\xff\xe1\x00\x02"])
def test_no_image_is_dear(piece: bytes) -> None:
    """Forty images of 200 kB are a body of 8 MiB. What does not tell its size counts as the largest."""
    image = base64.b64encode(b"\xff\xd8\xff" + piece * (150_000 // len(piece))).decode()
    assert image_tokens(image) == 5000
    assert seconds_of(lambda: [image_tokens(image) for _ in range(40)]) < MOST_SECONDS / 4
