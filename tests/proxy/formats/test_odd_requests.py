"""Requests of any member with any value, in all formats: each is read, or refused for a reason that is told."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from proxy.billing.terms import price_call
from proxy.errors import InvalidRequest, UnsupportedParameter
from proxy.formats import anthropic_messages, openai_chat, openai_responses
from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.api_format import ApiFormat
from proxy.formats.json_body import outline, parse_object
from proxy.formats.members import PASSES, SERVER_TOOLS, ByType, Each, Fields, Refused, Rule, Tools, UrlOrObject
from proxy.formats.openai_chat import OpenAiChat
from proxy.formats.openai_responses import OpenAiResponses
from tests.proxy.billing.test_pricing import price

FORMATS: dict[str, tuple[ApiFormat, Mapping[str, Rule], dict[str, Any]]] = {
    "chat": (OpenAiChat(), openai_chat.MEMBERS, {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
    "messages": (
        AnthropicMessages(),
        anthropic_messages.MEMBERS,
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
    ),
    "responses": (OpenAiResponses(), openai_responses.MEMBERS, {"model": "m", "input": "x"}),
}
REQUESTS = 600
"""Of each format; the same in every run."""
SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, -5, 2**40, 0.5, "", "x", "auto", "required", "1h", "data:x")


def anything(random: Random, depth: int = 3) -> Any:
    shape = random.randrange(6 if depth else 4)
    if shape == 4:
        return [anything(random, depth - 1) for _ in range(random.randrange(3))]
    if shape == 5:
        names = random.sample(["id", "type", "role", "text", "url", "\u1ebf"], random.randrange(3))
        return {name: anything(random, depth - 1) for name in names}
    return random.choice(SCALARS)


def value_of(rule: Rule | None, random: Random, depth: int) -> Any:
    """A value that a rule may be asked to read: of its shape, and now and then of none."""
    if depth == 0 or rule is None or random.random() < 0.1:
        return anything(random)
    if isinstance(rule, Each):
        return [value_of(rule.rule, random, depth - 1) for _ in range(random.randrange(3))]
    if isinstance(rule, UrlOrObject | Fields):
        return members_of(rule.members, random, depth)
    if isinstance(rule, ByType):
        return typed(rule.rules, random, depth)
    if isinstance(rule, Tools):
        hosted: dict[str | None, Rule] = dict.fromkeys(SERVER_TOOLS, PASSES)
        return [typed({**rule.described, **hosted}, random, depth) for _ in range(random.randrange(3))]
    return random.choice(SCALARS)


def typed(rules: Mapping[Any, Rule], random: Random, depth: int) -> dict[str, Any]:
    kind = random.choice(list(rules))
    rule = rules[kind]
    members = members_of(rule.members, random, depth) if isinstance(rule, Fields) else {}
    return members | ({"type": kind} if kind else {})


def members_of(members: Mapping[str, Rule], random: Random, depth: int) -> dict[str, Any]:
    names = random.sample(sorted(members), min(len(members), random.randrange(5)))
    return {name: value_of(members[name], random, depth - 1) for name in names}


@pytest.mark.parametrize("name", FORMATS)
def test_any_request_is_read_or_refused(name: str) -> None:
    api_format, members, least = FORMATS[name]
    passing = {member: rule for member, rule in members.items() if not isinstance(rule, Refused)}
    read = 0
    for seed in range(REQUESTS):
        random = Random(seed)
        parsed = {**least, **members_of(members if seed % 10 == 0 else passing, random, 7)}
        read += is_read(name, api_format, parsed)
    assert REQUESTS / 20 < read < REQUESTS, "the requests are neither all good nor all bad"


def is_read(name: str, api_format: ApiFormat, parsed: dict[str, Any]) -> bool:
    """Whether a request is read, which then is forwarded as it must be; False if it is refused."""
    body = json.dumps(parsed).encode()
    try:
        again = parse_object(body)
        call = api_format.parse(again, len(body))
        priced = price_call(call, price())
    except (InvalidRequest, UnsupportedParameter):
        return False
    assert priced.input_bound_tokens >= 0
    assert priced.most_output_tokens >= 1
    removed = [tool.position for tool in priced.removed_tools]
    sent = json.loads(
        api_format.prepare(
            body,
            outline(again, has_tools=bool(removed)),
            call,
            model="real",
            max_output_tokens=priced.most_output_tokens,
            removed_tools=removed,
        )
    )
    assert sent["model"] == "real"
    limits = [sent.get(member) for member in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    assert max(limit for limit in limits if limit is not None) <= priced.most_output_tokens
    if name == "responses":
        assert sent["store"] is False
    return True
