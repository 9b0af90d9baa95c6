"""`POST /v1/completions`: prompts of text and of tokens, plain and streamed, every candidate billed."""

import re
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.formats.members import GATEWAY_MEMBERS, Refused
from proxy.formats.openai_completions import MEMBERS
from proxy.models import RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, http_answer
from tests.proxy.raw_upstream import events as raw_events
from tests.proxy.requests import MODEL, assert_reconciles, events, post
from tests.serving import Server

COMPLETIONS = "/v1/completions"
EACH_WAY = pytest.mark.parametrize("is_stream", [False, True])


def body(prompt: Any = "Once upon a time", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, **fields}


def cost(prompt: int, output: int) -> Decimal:
    """Of Haiku, in USD."""
    return ((prompt * Decimal(1) + output * Decimal(5)) * Decimal("1.05") / 10**6).quantize(Decimal("1e-8"))


@pytest.fixture
def client(server: Server, insert_user: InsertUser) -> Any:
    insert_user("alice", creditsNew=1)
    with sdks.openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("prompt", "prompts", "tokens"),
    [("Once upon a time", 1, 4), (["One day", "One night"], 2, 5), ([15339, 1070], 1, 2), ([[1, 2, 3], [4]], 2, 4)],
)
@EACH_WAY
def test_the_sdk_gets_its_text_and_pays_for_each_prompt(
    client: "sdks.openai.OpenAI", prompt: Any, prompts: int, tokens: int, is_stream: bool
) -> None:
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=5, n=2, stream=is_stream)
    if is_stream:
        chunks = list(answer)
        assert not any(chunk.usage for chunk in chunks)
        texts = ["".join(c.text for chunk in chunks for c in chunk.choices if c.index == n) for n in range(2 * prompts)]
    else:
        texts = [choice.text for choice in answer.choices]
        assert answer.usage.prompt_tokens == tokens
    assert len(texts) == 2 * prompts
    assert all(len(text.split()) == 5 for text in texts)
    log = RequestLog.objects.get()
    assert (log.input_tokens, log.output_tokens, log.endpoint) == (tokens, 10 * prompts, COMPLETIONS)
    assert (log.usage_source, log.outcome, log.uncollected) == ("upstream", "ok", 0)
    assert log.cost == cost(tokens, 10 * prompts) <= log.hold
    assert_reconciles()


def test_usage_of_a_stream_is_told_to_who_asks(client: "sdks.openai.OpenAI") -> None:
    chunks = list(
        client.completions.create(model=MODEL, prompt="x", stream=True, stream_options={"include_usage": True})
    )
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [16]


@EACH_WAY
def test_without_a_limit_it_is_the_16_tokens_of_the_api(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1)
    for fields in ({}, {"max_tokens": None}):
        assert post(server, body("[[fake chunks=50]] x", stream=is_stream, **fields), path=COMPLETIONS).status == 200
        assert upstream.requests[-1].json()["max_tokens"] == 16
    assert [log.output_tokens for log in RequestLog.objects.all()] == [16, 16]


def test_the_body_passes_byte_for_byte(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    sent = b'{ "max_tokens" : 7 ,"prompt":"\\u1ebf", "model" : "claude-haiku-4-5-20251001","suffix":"x","echo":true }'
    assert post(server, sent, path=COMPLETIONS).status == 200
    assert upstream.requests[-1].body == sent


def test_every_candidate_is_held_for_and_billed(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, body(["a", "b"], n=1, best_of=5, max_tokens=8), path=COMPLETIONS)
    assert len(response.json()["choices"]) == 2
    log = RequestLog.objects.get()
    assert (log.output_tokens, log.uncollected) == (2 * 5 * 8, 0)
    assert log.hold >= cost(0, 80)
    assert_reconciles()


def test_what_the_balance_does_not_cover_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.001)
    response = post(server, body(["a"] * 10, n=10, max_tokens=100), path=COMPLETIONS)
    error = response.json()["error"]
    assert (response.status, error["code"]) == (402, "insufficient_credits")
    assert not upstream.requests
    most = error["affordable_max_tokens"]
    assert most == 1
    assert post(server, body(["a"] * 10, n=10, max_tokens=most), path=COMPLETIONS).status == 200
    assert_reconciles()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": None}, "prompt", "invalid_request"),
        ({"prompt": []}, "prompt", "invalid_request"),
        ({"prompt": {"text": "x"}}, "prompt", "invalid_request"),
        ({"prompt": ["a", 5]}, "prompt", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"best_of": 1000}, "best_of", "invalid_request"),
        ({"best_of": 2, "stream": True}, "best_of", "invalid_request"),
        ({"Best_Of": 20}, "Best_Of", "invalid_request"),
        ({"use_beam_search": True}, "use_beam_search", "unsupported_parameter"),
        ({"prompt_embeds": "x"}, "prompt_embeds", "unsupported_parameter"),
        ({"service_tier": "priority"}, "service_tier", "unsupported_parameter"),
        ({"max_completion_tokens": 5}, "max_completion_tokens", "unsupported_parameter"),
        ({"tools": []}, "tools", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
        ({"stream_options": {"x": True}, "stream": True}, "stream_options.x", "unsupported_parameter"),
    ],
)
def test_what_cannot_be_billed_is_refused_by_name(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, fields: dict[str, Any], param: str, code: str
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, body() | fields, path=COMPLETIONS)
    error = response.json()["error"]
    assert (response.status, error["code"], error["param"]) == (400, code, param)
    assert not upstream.requests


def test_no_member_that_is_refused_reaches_the_upstream(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=100_000)
    for name in [name for name, rule in MEMBERS.items() if isinstance(rule, Refused)]:
        response = post(server, body(**{name: "x"}), path=COMPLETIONS)
        assert (response.status, response.json()["error"]["param"]) == (400, name)
    assert not upstream.requests
    assert Account.objects.get().credits_new == 1


def test_every_member_of_the_sdk_is_classified() -> None:
    from openai.types.completion_create_params import CompletionCreateParamsStreaming

    assert typing.get_type_hints(CompletionCreateParamsStreaming).keys() <= MEMBERS.keys()


def test_the_documentation_lists_every_member() -> None:
    page = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `/v1/completions` |"))
    passing, refused = (set(re.findall(r"`([^`]+)`", cell)) for cell in row.split("|")[2:4])
    own = {name: isinstance(rule, Refused) for name, rule in MEMBERS.items() if name not in GATEWAY_MEMBERS}
    assert passing == {name for name, is_refused in own.items() if not is_refused}
    assert refused == {name for name, is_refused in own.items() if is_refused}


# --- What upstreams answer --------------------------------------------------------------------------------------------


def choice(text: str = "", reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"object": "text_completion", "choices": [{"text": text, "index": index, "finish_reason": reason}], **more}


@pytest.mark.parametrize(
    "sent",
    [
        {"error": {"message": "no"}},
        {"choices": []},
        {"choices": [{"message": {"content": "a chat"}}]},
        {"choices": [{"text": None}]},
        [],
    ],
)
def test_what_is_no_answer_costs_nothing(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, sent: Any
) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(sent))
    response = post(raw_server, body(), path=COMPLETIONS)
    assert (response.status, response.json()["error"]["code"]) == (502, "upstream_error")
    assert Account.objects.get().credits_new == 1


@EACH_WAY
def test_usage_that_is_missing_is_estimated_within_the_hold(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1)
    stream = raw_events(choice("word " * 16), choice("", "stop"), "[DONE]")
    raw_upstream.play(http_answer(stream if is_stream else choice("word " * 16, "stop")))
    assert post(raw_server, body(max_tokens=50, stream=is_stream), path=COMPLETIONS).status == 200
    log = RequestLog.objects.get()
    assert (log.usage_source, log.output_tokens, log.uncollected) == ("estimated", 20, 0)
    assert_reconciles()


@pytest.mark.parametrize("end", ["cut", "error", "without its last event"])
def test_a_stream_that_ends_otherwise(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, end: str
) -> None:
    insert_user("alice", creditsNew=1)
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    last = {
        "cut": (),
        "error": ({"error": {"message": "Budget has been exceeded!"}},),
        "without its last event": (choice("", "stop"), {"choices": [], "usage": usage}),
    }
    raw_upstream.play(http_answer(raw_events(choice("Once"), choice(" upon"), *last[end])))
    response = post(raw_server, body(stream=True), path=COMPLETIONS)
    assert b" upon" in response.data
    assert b"Budget" not in response.data
    assert (b"broke off" in response.data) == (end != "without its last event")
    assert [event["choices"][0]["text"] for event in events(response)[:2]] == ["Once", " upon"]
    log = RequestLog.objects.get()
    assert log.outcome == ("ok" if end == "without its last event" else "upstream_error")
    assert 0 < log.cost <= log.hold
    assert_reconciles()
