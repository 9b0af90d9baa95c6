"""`POST /v1/responses` by the official SDK: plain, streamed, asynchronous, parsed, with tools, and every end."""

import asyncio
import base64
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.formats.test_images import png
from tests.proxy.requests import MODEL, assert_reconciles
from tests.serving import Server

TOOL: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
CUSTOM: Any = {"type": "custom", "name": "apply", "description": "Applies what it is given."}


class Weather(BaseModel):
    city: str
    sky: str


@pytest.fixture
def client(server: Server, insert_user: InsertUser) -> Any:
    insert_user("alice", creditsNew=1)
    with sdks.openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        yield client


def assert_billed(usage: Any, *, outcome: str = "ok") -> None:
    """The one request was billed by the usage that the client was told, and nothing is left held."""
    log = RequestLog.objects.get()
    assert (log.input_tokens + log.cache_read_tokens, log.output_tokens) == (usage.input_tokens, usage.output_tokens)
    assert (log.usage_source, log.outcome, log.endpoint) == ("upstream", outcome, "/v1/responses")
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert_reconciles()


def test_a_plain_response(client: "sdks.openai.OpenAI", upstream: FakeUpstream) -> None:
    answer = client.responses.create(model=MODEL, input="Say something nice", instructions="Be brief.", store=True)
    assert answer.output_text.startswith("Say something nice")
    assert answer.status == "completed"
    assert_billed(answer.usage)
    sent = upstream.requests[-1].json()
    assert sent["store"] is False
    assert sent["max_output_tokens"] == 64_000
    assert upstream.requests[-1].path == "/v1/responses"


def test_a_conversation_with_every_kind_of_input(client: "sdks.openai.OpenAI", upstream: FakeUpstream) -> None:
    first = client.responses.create(
        model=MODEL,
        input="[[fake tool reasoning]] weather?",
        tools=[TOOL],
        include=["reasoning.encrypted_content"],
        max_output_tokens=50,
    )
    call = first.output[-1]
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    told: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    url = f"data:image/png;base64,{base64.b64encode(png(64, 64)).decode()}"
    image: Any = {"type": "input_image", "detail": "auto", "image_url": url}
    question: Any = {"role": "user", "content": [{"type": "input_text", "text": "And now?"}, image]}
    second = client.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": "weather?"},
            *[item.to_dict() for item in first.output],
            told,
            {**told, "output": [{"type": "input_text", "text": "and warm"}]},
            question,
        ],
        tools=[TOOL],
        text={"verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=50,
    )
    assert second.output_text.startswith("And now?")
    assert [item.get("type") for item in upstream.requests[-1].json()["input"]] == [
        *(None, "reasoning", "function_call", "function_call_output", "function_call_output", None)
    ]
    assert RequestLog.objects.count() == 2
    assert_reconciles()


@pytest.mark.parametrize("tool", [TOOL, CUSTOM], ids=["function", "custom"])
def test_parallel_calls_in_a_stream(client: "sdks.openai.OpenAI", tool: Any) -> None:
    with client.responses.stream(
        model=MODEL, input="[[fake tool calls=3 reasoning]] look", tools=[tool], max_output_tokens=50
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", *[f"{tool['type']}_call".replace("m_", "m_tool_")] * 3]
    assert_billed(final.usage)


def test_a_stream_of_text(client: "sdks.openai.OpenAI") -> None:
    events = list(client.responses.create(model=MODEL, input="Count to ten", stream=True, max_output_tokens=50))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert text == last.response.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert_billed(last.response.usage)


def test_structured_output(client: "sdks.openai.OpenAI") -> None:
    plain = client.responses.parse(model=MODEL, input="[[fake chunks=2]] sunny", text_format=Weather)
    assert plain.output_parsed == Weather(city="sunny sunny", sky="sunny sunny")
    with client.responses.stream(model=MODEL, input="[[fake chunks=2]] sunny", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == plain.output_parsed
    assert_reconciles()


def test_an_asynchronous_client(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)

    async def ask() -> Any:
        async with sdks.openai.AsyncOpenAI(
            base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0
        ) as client:
            plain = await client.responses.create(model=MODEL, input="hello", max_output_tokens=50)
            async with client.responses.stream(model=MODEL, input="hello", max_output_tokens=50) as stream:
                return plain, await stream.get_final_response()

    plain, streamed = asyncio.run(ask())
    assert plain.output_text == streamed.output_text
    assert RequestLog.objects.count() == 2
    assert_reconciles()


def test_a_refusal(client: "sdks.openai.OpenAI") -> None:
    with client.responses.stream(model=MODEL, input="[[fake refusal]] no", max_output_tokens=50) as stream:
        final = stream.get_final_response()
    assert final.output[0].content[0].type == "refusal"
    assert_billed(final.usage)


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_incomplete_response_is_billed(client: "sdks.openai.OpenAI", is_stream: bool) -> None:
    answer = client.responses.create(
        model=MODEL, input="[[fake chunks=40]] go on", stream=is_stream, max_output_tokens=20
    )
    if is_stream:
        answer = list(answer)[-1].response
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert_billed(answer.usage)


def test_a_response_that_fails_in_a_stream_is_an_error_and_billed_as_told(client: "sdks.openai.OpenAI") -> None:
    events: list[Any] = []
    stream = client.responses.create(model=MODEL, input="[[fake failed]] x", stream=True, max_output_tokens=50)
    with pytest.raises(sdks.openai.APIError, match="broke off") as caught:
        events.extend(stream)
    assert caught.value.code == "upstream_error"
    assert "Told to fail" not in str(caught.value)
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
    assert events[-1].response.id == events[0].response.id
    assert RequestLog.objects.get().output_tokens == 16
    assert_reconciles()


@pytest.mark.parametrize("fault", ["stream_error=3", "cut=3"])
def test_a_stream_that_breaks_off_raises(client: "sdks.openai.OpenAI", fault: str) -> None:
    with (
        pytest.raises(sdks.openai.APIError, match="broke off"),
        client.responses.stream(model=MODEL, input=f"[[fake {fault}]] abcd", max_output_tokens=50) as stream,
    ):
        stream.get_final_response()
    log = RequestLog.objects.get()
    assert (log.usage_source, log.outcome, log.output_tokens) == ("estimated", "upstream_error", 4)
    assert_reconciles()


def test_a_plain_response_that_failed_costs_nothing(client: "sdks.openai.OpenAI") -> None:
    with pytest.raises(sdks.openai.InternalServerError) as caught:
        client.responses.create(model=MODEL, input="[[fake failed]] x", max_output_tokens=50)
    assert caught.value.code == "upstream_error"
    assert RequestLog.objects.get().cost == Decimal(0)
    assert_reconciles()
