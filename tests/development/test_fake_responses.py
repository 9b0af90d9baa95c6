"""The fake upstream's `/v1/responses`, as the official SDK reads it without the proxy."""

from collections.abc import Iterator
from typing import Any

import pytest

from development.fake_upstream.server import FakeUpstream
from tests import sdks

TOOL: Any = {"type": "function", "name": "search", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def client() -> "Iterator[sdks.openai.OpenAI]":
    with (
        FakeUpstream(api_key="k") as upstream,
        sdks.openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="k", max_retries=0) as client,
    ):
        yield client


def ask(client: "sdks.openai.OpenAI", text: str, **members: Any) -> Any:
    return client.responses.create(model="m", input=text, **members)


def final(client: "sdks.openai.OpenAI", text: str, **members: Any) -> Any:
    with client.responses.stream(model="m", input=text, **members) as stream:
        return stream.get_final_response()


@pytest.mark.parametrize("get", [ask, final])
def test_text_and_usage(client: "sdks.openai.OpenAI", get: Any) -> None:
    answer = get(client, "hello there", instructions="four")
    assert answer.output_text.split() == ["hello", "there"] * 8
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (4, 16, 20)


@pytest.mark.parametrize("get", [ask, final])
def test_reasoning_and_parallel_calls(client: "sdks.openai.OpenAI", get: Any) -> None:
    answer = get(client, "[[fake tool calls=2 reasoning chunks=2]] hi", tools=[{"type": "web_search"}, TOOL])
    assert [item.type for item in answer.output] == ["reasoning", "function_call", "function_call"]
    assert {item.arguments for item in answer.output[1:]} == {'{"text": "hi hi"}'}
    assert len({item.call_id for item in answer.output[1:]}) == 2


@pytest.mark.parametrize("get", [ask, final])
def test_a_refusal(client: "sdks.openai.OpenAI", get: Any) -> None:
    answer = get(client, "[[fake refusal chunks=2]] no")
    assert answer.output[0].content[0].refusal == "no no"


@pytest.mark.parametrize(("text", "reason"), [("[[fake incomplete]] x", "content_filter"), ("x", "max_output_tokens")])
def test_an_incomplete_response(client: "sdks.openai.OpenAI", text: str, reason: str) -> None:
    limit = {"max_output_tokens": 5} if reason == "max_output_tokens" else {}
    plain, last = ask(client, text, **limit), list(ask(client, text, stream=True, **limit))[-1]
    assert last.type == "response.incomplete"
    for answer in (plain, last.response):
        assert (answer.status, answer.incomplete_details.reason) == ("incomplete", reason)


def test_a_failed_response(client: "sdks.openai.OpenAI") -> None:
    assert ask(client, "[[fake failed]] x").status == "failed"
    assert list(ask(client, "[[fake failed]] x", stream=True))[-1].type == "response.failed"


def test_an_error_in_a_stream(client: "sdks.openai.OpenAI") -> None:
    with pytest.raises(sdks.openai.APIError):
        list(ask(client, "[[fake stream_error=2]] x", stream=True))


def test_no_input_is_a_400(client: "sdks.openai.OpenAI") -> None:
    with pytest.raises(sdks.openai.BadRequestError):
        client.responses.create(model="m")
