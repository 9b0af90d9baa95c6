"""Recorded answers of both formats with cached tokens, billed by hand in docs/proxy.md: $0.01117920 each."""

from decimal import Decimal
from pathlib import Path

import pytest

from proxy.billing.pricing import Usage
from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.api_format import ApiFormat, Call
from proxy.formats.json_body import parse_answer
from proxy.formats.openai_chat import OpenAiChat
from proxy.relay.large_answer import LargeAnswerReader
from tests.proxy.billing.test_pricing import price
from tests.serving import ROOT

GOLDEN = Path(__file__).parent / "golden"
BY_HAND = Decimal("0.01117920")
CALL = Call(
    model="m",
    is_stream=True,
    max_output_tokens=1000,
    choices=1,
    text_bytes=4000,
    has_asked_for_usage=True,
)
EACH_FORMAT = pytest.mark.parametrize(
    ("name", "api_format"), [("openai", OpenAiChat()), ("anthropic", AnthropicMessages())]
)


@EACH_FORMAT
def test_a_plain_answer_costs_what_the_table_says(name: str, api_format: ApiFormat) -> None:
    report = api_format.read_usage(parse_answer((GOLDEN / f"{name}.json").read_bytes()))
    assert report.usage == Usage(1000, 500, 200, 700)
    assert price().cost(report.usage) == BY_HAND


@EACH_FORMAT
def test_a_stream_costs_the_same_and_passes_unchanged(name: str, api_format: ApiFormat) -> None:
    data = (GOLDEN / f"{name}.sse").read_bytes()
    reader = api_format.stream_reader(CALL)
    assert reader.feed(data) + reader.flush() == data
    assert reader.is_finished
    usage = reader.report().usage
    assert usage == Usage(1000, 500, 200, 700)
    assert price().cost(usage) == BY_HAND


@EACH_FORMAT
def test_an_answer_too_large_to_hold_is_read_from_its_ends(name: str, api_format: ApiFormat) -> None:
    data = (GOLDEN / f"{name}.json").read_bytes().replace(b"Hello!", b"Hello! " * 200_000)
    reader = LargeAnswerReader(api_format)
    passed = b"".join(reader.feed(data[start : start + 50_000]) for start in range(0, len(data), 50_000))
    assert passed + reader.flush() == data
    assert reader.is_finished
    assert reader.report().usage == Usage(1000, 500, 200, 700)


def test_the_table_in_the_docs_is_the_same() -> None:
    assert f"${BY_HAND}" in (ROOT / "docs/proxy.md").read_text()
