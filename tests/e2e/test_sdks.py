"""The official SDKs as clients, pointed at the two ports as their users would."""

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from accounts.models import Account
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.proxy.requests import MODEL, assert_reconciles
from tests.serving import Server

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def openai_client(server: Server, insert_user: Callable[..., str]) -> Any:
    insert_user("alice", creditsNew=1)
    with openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(server: Server, insert_user: Callable[..., str]) -> Any:
    insert_user("alice", credits=1)
    with anthropic.Anthropic(base_url=server.ohmygpt, api_key=key_of("alice"), max_retries=0) as client:
        yield client


def test_openai_completion(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "Say something nice"}]
    )
    assert answer.choices[0].message.content
    log = RequestLog.objects.get()
    assert answer.usage is not None
    assert (log.input_tokens, log.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert_reconciles()


def test_openai_stream_with_and_without_usage(openai_client: openai.OpenAI) -> None:
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


def test_openai_tool_call(openai_client: openai.OpenAI) -> None:
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


def test_openai_models(openai_client: openai.OpenAI) -> None:
    assert "claude-haiku-4-5-20251001" in [model.id for model in openai_client.models.list()]


def test_openai_errors_are_the_sdks_own_classes(server: Server, openai_client: openai.OpenAI) -> None:
    def ask(client: openai.OpenAI, **fields: Any) -> Any:
        body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], **fields}
        return client.chat.completions.create(**body)

    with pytest.raises(openai.AuthenticationError):
        ask(openai_client.with_options(api_key="sk-wrong-key"))
    with pytest.raises(openai.NotFoundError):
        ask(openai_client, model="gpt-unknown")
    with pytest.raises(openai.BadRequestError) as bad:
        ask(openai_client, max_tokens=-1)
    assert bad.value.param == "max_tokens"
    with pytest.raises(openai.APIStatusError) as broke:
        ask(openai_client, max_tokens=10_000_000)
    assert (broke.value.status_code, broke.value.code) == (402, "insufficient_credits")


def test_anthropic_message(anthropic_client: anthropic.Anthropic) -> None:
    message = anthropic_client.messages.create(
        model=MODEL, max_tokens=50, system="Be brief.", messages=[{"role": "user", "content": "Hello"}]
    )
    assert message.content[0].type == "text"
    log = RequestLog.objects.get()
    assert (log.input_tokens, log.output_tokens) == (message.usage.input_tokens, message.usage.output_tokens)
    assert (log.credit_type, log.endpoint) == ("ohmygpt", "/v1/messages")
    assert Account.objects.get(pk="alice").credits == 1 - log.cost
    assert_reconciles()


def test_anthropic_stream(anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "Hello, stream"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    log = RequestLog.objects.get()
    assert (log.is_stream, log.output_tokens) == (True, final.usage.output_tokens)
    assert_reconciles()


def test_anthropic_errors_are_the_sdks_own_classes(anthropic_client: anthropic.Anthropic) -> None:
    def ask(client: anthropic.Anthropic, **fields: Any) -> Any:
        body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], **fields}
        return client.messages.create(**body)

    with pytest.raises(anthropic.AuthenticationError):
        ask(anthropic_client.with_options(api_key="sk-wrong-key"))
    with pytest.raises(anthropic.NotFoundError):
        ask(anthropic_client, model="gpt-unknown")
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        ask(anthropic_client, max_tokens=-1)
    with pytest.raises(anthropic.APIStatusError) as broke:
        ask(anthropic_client, model="claude-opus-4-5", messages=[{"role": "user", "content": "x" * 1_000_000}])
    assert broke.value.status_code == 402
