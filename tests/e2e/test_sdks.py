"""The official SDKs as clients, pointed at the two ports as their users would."""

import asyncio
import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.formats.test_images import png
from tests.proxy.requests import MODEL, assert_reconciles
from tests.serving import Server

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def openai_client(server: Server, insert_user: InsertUser) -> Any:
    insert_user("alice", creditsNew=1)
    with sdks.openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(server: Server, insert_user: InsertUser) -> Any:
    insert_user("alice", credits=1)
    with sdks.anthropic.Anthropic(base_url=server.ohmygpt, api_key=key_of("alice"), max_retries=0) as client:
        yield client


def test_openai_completion(openai_client: "sdks.openai.OpenAI") -> None:
    answer = openai_client.chat.completions.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "Say something nice"}]
    )
    assert answer.choices[0].message.content
    log = RequestLog.objects.get()
    assert answer.usage is not None
    assert (log.input_tokens, log.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert_reconciles()


def test_openai_stream_with_and_without_usage(openai_client: "sdks.openai.OpenAI") -> None:
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(
            openai_client.chat.completions.create(
                model=MODEL,
                max_completion_tokens=50,
                messages=[{"role": "user", "content": "Count to ten"}],
                stream=True,
                **options,
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text
        assert any(chunk.usage for chunk in chunks) == bool(options)
    assert {log.usage_source for log in RequestLog.objects.all()} == {"upstream"}
    assert_reconciles()


def test_openai_tool_call(openai_client: "sdks.openai.OpenAI") -> None:
    answer = openai_client.chat.completions.create(
        model=MODEL,
        max_tokens=50,
        messages=[{"role": "user", "content": "[[fake tool]] weather?"}],
        tools=[TOOL],
        tool_choice="auto",
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "get_weather"
    assert_reconciles()


def test_openai_models(openai_client: "sdks.openai.OpenAI") -> None:
    assert "claude-haiku-4-5-20251001" in [model.id for model in openai_client.models.list()]


def test_openai_errors_are_the_sdks_own_classes(server: Server, openai_client: "sdks.openai.OpenAI") -> None:
    def ask(client: "sdks.openai.OpenAI", **fields: Any) -> Any:
        body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], **fields}
        return client.chat.completions.create(**body)

    with pytest.raises(sdks.openai.AuthenticationError):
        ask(openai_client.with_options(api_key="sk-wrong-key"))
    with pytest.raises(sdks.openai.NotFoundError):
        ask(openai_client, model="gpt-unknown")
    with pytest.raises(sdks.openai.BadRequestError) as bad:
        ask(openai_client, max_tokens=-1)
    assert bad.value.param == "max_tokens"
    with pytest.raises(sdks.openai.APIStatusError) as broke:
        ask(openai_client, max_tokens=10_000_000)
    assert (broke.value.status_code, broke.value.code) == (402, "insufficient_credits")


def test_anthropic_message(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    message = anthropic_client.messages.create(
        model=MODEL, max_tokens=50, system="Be brief.", messages=[{"role": "user", "content": "Hello"}]
    )
    assert message.content[0].type == "text"
    log = RequestLog.objects.get()
    assert (log.input_tokens, log.output_tokens) == (message.usage.input_tokens, message.usage.output_tokens)
    assert (log.credit_type, log.endpoint) == ("ohmygpt", "/v1/messages")
    assert Account.objects.get(pk="alice").credits == 1 - log.cost
    assert_reconciles()


def test_anthropic_stream(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    with anthropic_client.messages.stream(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "Hello, stream"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    log = RequestLog.objects.get()
    assert (log.is_stream, log.output_tokens) == (True, final.usage.output_tokens)
    assert_reconciles()


def test_anthropic_errors_are_the_sdks_own_classes(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    def ask(client: "sdks.anthropic.Anthropic", **fields: Any) -> Any:
        body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], **fields}
        return client.messages.create(**body)

    with pytest.raises(sdks.anthropic.AuthenticationError):
        ask(anthropic_client.with_options(api_key="sk-wrong-key"))
    with pytest.raises(sdks.anthropic.NotFoundError):
        ask(anthropic_client, model="gpt-unknown")
    with pytest.raises(sdks.anthropic.BadRequestError, match="max_tokens"):
        ask(anthropic_client, max_tokens=-1)
    with pytest.raises(sdks.anthropic.APIStatusError) as broke:
        ask(anthropic_client, model="claude-opus-4-5", messages=[{"role": "user", "content": "x" * 1_000_000}])
    assert broke.value.status_code == 402


# --- Async, tools, images, and the SDKs' own retries ---------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True])
def test_openai_async(server: Server, insert_user: InsertUser, is_stream: bool) -> None:
    insert_user("alice", creditsNew=1)

    async def ask() -> list[str]:
        async with sdks.openai.AsyncOpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice")) as client:
            calls = [
                client.chat.completions.create(
                    model=MODEL, max_tokens=20, messages=[{"role": "user", "content": f"Hello {n}"}], stream=is_stream
                )
                for n in range(5)
            ]
            answers = await asyncio.gather(*calls)
            if not is_stream:
                return [answer.choices[0].message.content for answer in answers]
            texts = []
            for stream in answers:
                texts.append("".join([chunk.choices[0].delta.content or "" async for chunk in stream]))
            return texts

    texts = asyncio.run(ask())
    assert all(f"Hello {n}" in text for n, text in enumerate(texts))
    assert RequestLog.objects.count() == 5
    assert_reconciles()


def test_anthropic_async_stream(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)

    async def ask() -> int:
        async with (
            sdks.anthropic.AsyncAnthropic(base_url=server.openhands, api_key=key_of("alice")) as client,
            client.messages.stream(
                model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "Hello"}]
            ) as stream,
        ):
            return (await stream.get_final_message()).usage.output_tokens

    assert asyncio.run(ask()) == RequestLog.objects.get().output_tokens
    assert_reconciles()


def test_anthropic_tool_use_and_token_count(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    tool: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
    message = anthropic_client.messages.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "[[fake tool]] weather?"}], tools=[tool]
    )
    assert [block.type for block in message.content if block.type == "tool_use"]
    count = anthropic_client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
    assert count.input_tokens > 0
    assert RequestLog.objects.filter(cost=0).count() == 1
    assert_reconciles()


def test_an_image_is_held_by_its_pixels_not_by_its_bytes(openai_client: "sdks.openai.OpenAI") -> None:
    url = "data:image/png;base64," + base64.b64encode(png(1000, 750) + bytes(1_500_000)).decode()
    content: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    openai_client.chat.completions.create(model=MODEL, max_tokens=50, messages=[{"role": "user", "content": content}])
    log = RequestLog.objects.get()
    assert log.hold < Decimal("0.01")
    assert_reconciles()


def test_openai_streamed_tool_call(openai_client: "sdks.openai.OpenAI") -> None:
    stream = openai_client.chat.completions.create(
        model=MODEL,
        max_tokens=50,
        messages=[{"role": "user", "content": "[[fake tool]] what about the weather?"}],
        tools=[TOOL],
        stream=True,
    )
    calls = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function and call.function.name] == ["get_weather"]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert "weather" in json.loads(arguments)["text"]
    log = RequestLog.objects.get()
    assert (log.outcome, log.usage_source) == ("ok", "upstream")
    assert_reconciles()


def test_anthropic_streamed_tool_use(anthropic_client: "sdks.anthropic.Anthropic") -> None:
    tool: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
    with anthropic_client.messages.stream(
        model=MODEL,
        max_tokens=50,
        messages=[{"role": "user", "content": "[[fake tool]] what about the weather?"}],
        tools=[tool],
    ) as stream:
        (block,) = stream.get_final_message().content
    assert (block.type, block.name) == ("tool_use", "get_weather")
    assert "weather" in block.input["text"]
    log = RequestLog.objects.get()
    assert (log.outcome, log.usage_source) == ("ok", "upstream")
    assert_reconciles()


RETRIES = pytest.mark.parametrize(
    ("directive", "upstream_requests"), [("status=500", 3), ("status=529", 6), ("refuse", 3)]
)


@RETRIES
def test_the_sdks_own_retries_cost_nothing(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, directive: str, upstream_requests: int
) -> None:
    insert_user("alice", creditsNew=1)
    with (
        sdks.openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=2) as client,
        pytest.raises(sdks.openai.InternalServerError),
    ):
        client.chat.completions.create(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": f"[[fake {directive}]] x"}]
        )
    assert len(upstream.requests) == upstream_requests
    assert [log.cost for log in RequestLog.objects.all()] == [0, 0, 0]
    assert Account.objects.get(pk="alice").credits_new == 1
    assert_reconciles()


@RETRIES
def test_the_anthropic_sdks_own_retries_cost_nothing(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, directive: str, upstream_requests: int
) -> None:
    insert_user("alice", creditsNew=1)
    with (
        sdks.anthropic.Anthropic(base_url=server.openhands, api_key=key_of("alice"), max_retries=2) as client,
        pytest.raises(sdks.anthropic.InternalServerError),
    ):
        client.messages.create(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": f"[[fake {directive}]] x"}]
        )
    assert len(upstream.requests) == upstream_requests
    assert [log.cost for log in RequestLog.objects.all()] == [0, 0, 0]
    assert Account.objects.get(pk="alice").credits_new == 1
    assert_reconciles()
