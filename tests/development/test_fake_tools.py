"""The fake upstream's directive `tools`: an agent's dialogue in each format, with arguments that its tools accept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from development.fake_upstream.server import FakeUpstream
from development.fake_upstream.tool_calls import example

MODEL = "claude-haiku-4-5-20251001"
ASKED = "[[fake tools=3 call=look,add cached_tokens=1]] go on"
SCHEMAS: dict[str, Any] = {
    "add": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]},
    "look": {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
}
CALLS = [("look", {"where": "echo 1"}), ("add", {"a": 2}), ("look", {"where": "echo 3"})]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as running:
        yield running


def ask(upstream: FakeUpstream, path: str, **fields: Any) -> Any:
    response = urllib3.request("POST", upstream.url + path, json={"model": MODEL, "max_tokens": 50, **fields})
    assert response.status == 200
    return response.json()


def test_chat(upstream: FakeUpstream) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMAS[name]}} for name in SCHEMAS]
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    called = []
    for _ in CALLS:
        answer = ask(upstream, "/v1/chat/completions", messages=messages, tools=tools)["choices"][0]["message"]
        call = answer["tool_calls"][0]
        called.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
        messages += [answer, {"role": "tool", "tool_call_id": call["id"], "content": "done"}]
    assert called == CALLS
    answer = ask(upstream, "/v1/chat/completions", messages=messages, tools=tools)["choices"][0]["message"]
    assert answer["content"].startswith("go on")


def test_messages_whose_results_come_as_the_user(upstream: FakeUpstream) -> None:
    tools = [{"name": name, "input_schema": SCHEMAS[name]} for name in SCHEMAS]
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    called = []
    for _ in CALLS:
        answer = ask(upstream, "/v1/messages", messages=messages, tools=tools)
        call = answer["content"][0]
        called.append((call["name"], call["input"]))
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
        messages += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
        messages.append({"role": "user", "content": "a reminder of the agent's own"})
    assert called == CALLS
    answer = ask(upstream, "/v1/messages", messages=messages, tools=tools)
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["cache_read_input_tokens"] == 1


def test_responses(upstream: FakeUpstream) -> None:
    tools = [{"type": "function", "name": name, "parameters": SCHEMAS[name]} for name in SCHEMAS]
    items: list[Any] = [{"role": "user", "content": ASKED}]
    called = []
    for _ in CALLS:
        call = ask(upstream, "/v1/responses", input=items, tools=tools)["output"][0]
        called.append((call["name"], json.loads(call["arguments"])))
        items += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}]
    assert called == CALLS
    assert ask(upstream, "/v1/responses", input=items, tools=tools)["output"][0]["type"] == "message"


def test_without_the_tool_it_answers_with_text(upstream: FakeUpstream) -> None:
    tools = [{"name": "other", "input_schema": {"type": "object"}}]
    answer = ask(upstream, "/v1/messages", messages=[{"role": "user", "content": ASKED}], tools=tools)
    assert answer["stop_reason"] == "end_turn"


def test_what_was_counted_is_recorded(upstream: FakeUpstream) -> None:
    text = "[[fake prompt_tokens=100 completion_tokens=7 cached_tokens=5 cache_creation_tokens=3]]"
    ask(upstream, "/v1/chat/completions", messages=[{"role": "user", "content": text}])
    counted = {"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 5, "cache_creation_tokens": 3}
    assert upstream.requests[-1].counted == counted


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "echo 4"),
        ({"type": "array", "items": {"type": "string"}}, ["echo", "4"]),
        ({"type": "array", "items": {"enum": ["x", "y"], "type": "string"}}, ["x"]),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 4),
        ({"type": ["boolean", "null"]}, False),
        ({"const": "this"}, "this"),
        ({"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
    ],
)
def test_examples_of_schemas(schema: dict[str, Any], value: object) -> None:
    assert example(schema, 4) == value
