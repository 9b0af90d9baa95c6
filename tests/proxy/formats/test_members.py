"""The tables of what a request may ask for: complete by the official SDKs' types, strict, and kind to real clients."""

import json
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import InvalidRequest, UnsupportedParameter
from proxy.formats import anthropic_messages, openai_chat, openai_responses
from proxy.formats.anthropic_betas import class_of_beta
from proxy.formats.json_body import parse_object
from proxy.formats.members import (
    CLIENT_TOOLS,
    GATEWAY_MEMBERS,
    PASSES,
    SERVER_TOOLS,
    Asked,
    ByType,
    Each,
    Fields,
    Modalities,
    Option,
    Presence,
    Refused,
    Rule,
    Tools,
    UrlOrObject,
    read_members,
)

CLIENTS = Path(__file__).parent / "clients"
OPENAI, ANTHROPIC, RESPONSES = openai_chat.MEMBERS, anthropic_messages.MEMBERS, openai_responses.MEMBERS


# --- The official SDKs' request types ----------------------------------------------------------------------------


def request_types() -> list[tuple[type, Mapping[str, Rule]]]:
    from anthropic.types import message_create_params
    from anthropic.types.beta import message_create_params as beta_create_params
    from openai.types.chat import completion_create_params
    from openai.types.responses import response_create_params

    return [
        (completion_create_params.CompletionCreateParamsNonStreaming, OPENAI),
        (response_create_params.ResponseCreateParamsNonStreaming, RESPONSES),
        (message_create_params.MessageCreateParamsNonStreaming, ANTHROPIC),
        (beta_create_params.MessageCreateParamsNonStreaming, ANTHROPIC),
    ]


def is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def objects_in(hint: Any) -> Iterator[type]:
    """The typed dictionaries that a hint allows, through unions, optionals and lists."""
    if is_typed_dict(hint):
        yield hint
        return
    for inner in typing.get_args(hint):
        yield from objects_in(inner)


def literals_in(hint: Any) -> set[Any]:
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return {value for inner in typing.get_args(hint) for value in literals_in(inner)}


def unclassified(rule: Rule | None, hint: Any, path: str) -> Iterator[str]:
    """The members below a rule that the SDK knows and the table does not."""
    if isinstance(rule, Each):
        yield from unclassified(rule.rule, hint, path)
    elif isinstance(rule, UrlOrObject):
        yield from unclassified(Fields(rule.members), hint, path)
    elif isinstance(rule, Fields):
        for found in objects_in(hint):
            yield from unclassified_fields(rule, found, path)
    elif isinstance(rule, ByType | Tools):
        for found in objects_in(hint):
            yield from unclassified_kinds(rule, found, path)


def unclassified_fields(rule: Fields, found: type, path: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(found).items():
        if name in rule.members:
            yield from unclassified(rule.members[name], hint, f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def unclassified_kinds(rule: ByType | Tools, found: type, path: str) -> Iterator[str]:
    rules = rule.rules if isinstance(rule, ByType) else rule.described
    for kind in literals_in(typing.get_type_hints(found).get("type")) or {None}:
        if kind in rules:
            yield from unclassified(rules[kind], found, f"{path}({kind})")
        elif isinstance(rule, ByType) or not is_known_tool(str(kind)):
            yield f"{path}.type={kind}"


def is_known_tool(kind: str) -> bool:
    return kind.startswith(tuple(SERVER_TOOLS)) or CLIENT_TOOLS.fullmatch(kind) is not None


# `betas` travels in a header.
NOT_IN_THE_BODY = {"betas"}


def test_every_member_of_the_sdks_is_classified() -> None:
    for request_type, members in request_types():
        hints = typing.get_type_hints(request_type)
        assert hints.keys() - members.keys() - NOT_IN_THE_BODY == set(), request_type
        found = [name for member, hint in hints.items() for name in unclassified(members.get(member), hint, member)]
        assert found == [], request_type


def test_every_beta_of_the_sdk_is_classified() -> None:
    from anthropic.types.beta import message_create_params

    hint = typing.get_type_hints(message_create_params.MessageCreateParamsBase)["betas"]
    assert [beta for beta in literals_in(hint) if class_of_beta(beta) is None] == []


# --- What real clients send --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CLIENTS.glob("*.json")), ids=lambda path: path.stem)
def test_what_real_clients_send_passes(path: Path) -> None:
    members = {"chat": OPENAI, "messages": ANTHROPIC, "responses": RESPONSES}[path.stem.rpartition("_")[2]]
    asked = read_members(json.loads(path.read_text()), members)
    assert asked.unknown == []
    assert asked.options == []
    assert asked.attachments == []


# --- What is refused ---------------------------------------------------------------------------------------------

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("members", [OPENAI, ANTHROPIC, RESPONSES], ids=["openai", "anthropic", "responses"])
def test_what_steers_a_gateway_is_refused_by_name(members: Mapping[str, Rule]) -> None:
    for name in GATEWAY_MEMBERS:
        with pytest.raises(UnsupportedParameter) as caught:
            read_members({**CHAT, name: "x"}, members)
        assert caught.value.param == name


@pytest.mark.parametrize("members", [OPENAI, ANTHROPIC, RESPONSES], ids=["openai", "anthropic", "responses"])
def test_every_refused_member_says_why(members: Mapping[str, Rule]) -> None:
    refused = {name: rule for name, rule in members.items() if isinstance(rule, Refused)}
    assert {"fallbacks", "api_base", "mock_response", "mcp_servers"} <= refused.keys()
    for name in refused:
        with pytest.raises(UnsupportedParameter, match=r"is not supported here\. "):
            read_members({name: {"any": "value"}}, members)
        assert read_members({name: None}, members) == Asked(), "null asks for nothing"


@pytest.mark.parametrize("members", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ({"shiny_new_option": 1}, "shiny_new_option"),
        ({"messages": [{"role": "user", "content": "x", "hint": 1}]}, "messages.hint"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages.content.type=hologram"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "", "x": 1}]}]}, "messages.content.x"),
        ({"tools": [{"type": "time_machine_20300101"}]}, "tools.type=time_machine_20300101"),
        ({"thinking": {"type": "enabled", "depth": 3}}, "thinking.depth"),
    ],
)
def test_what_no_table_knows_is_named(members: Mapping[str, Rule], body: dict[str, Any], unknown: str) -> None:
    assert read_members({**CHAT, **body}, members).unknown == [unknown]


@pytest.mark.parametrize("members", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    "body",
    [
        {"messages": "hi"},
        {"messages": ["hi"]},
        {"messages": [{"role": "user", "content": {"type": "text"}}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"tools": {"type": "function"}},
        {"tools": ["web_search"]},
        {"tools": [{"type": 5}]},
        {"thinking": True},
        {"service_tier": 1},
    ],
)
def test_a_wrong_type_is_an_invalid_request(members: Mapping[str, Rule], body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        read_members({**CHAT, **body}, members)


@pytest.mark.parametrize(
    ("members", "body", "options"),
    [
        (OPENAI, {"service_tier": "priority"}, ["service_tier=priority"]),
        (OPENAI, {"service_tier": "auto"}, []),
        (OPENAI, {"prediction": {"type": "content", "content": "x"}}, ["prediction"]),
        (OPENAI, {"moderation": {"model": "x"}}, ["moderation"]),
        (ANTHROPIC, {"speed": "fast"}, ["speed=fast"]),
        (ANTHROPIC, {"speed": "standard"}, []),
        (ANTHROPIC, {"inference_geo": "us"}, ["inference_geo=us"]),
        (ANTHROPIC, {"service_tier": "standard_only"}, []),
        (ANTHROPIC, {"compaction": {"type": "summarize"}}, ["compaction"]),
    ],
)
def test_options_that_change_the_price_are_found(
    members: Mapping[str, Rule], body: dict[str, Any], options: list[str]
) -> None:
    assert [option for _, option in read_members({**CHAT, **body}, members).options] == options


def test_a_cache_of_an_hour_is_found_wherever_it_is_asked_for() -> None:
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    text = {"type": "text", "text": "x"}
    for body in (
        {"system": [text | hour]},
        {"messages": [{"role": "user", "content": [text | hour]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [text | hour]}]}]},
        {"tools": [{"name": "t", "input_schema": {}} | hour]},
        hour,
    ):
        assert read_members({**CHAT, **body}, ANTHROPIC).has_1h_cache
    assert not read_members({**CHAT, "cache_control": {"type": "ephemeral", "ttl": "5m"}}, ANTHROPIC).has_1h_cache
    with pytest.raises(UnsupportedParameter):
        read_members({**CHAT, "cache_control": {"type": "ephemeral", "ttl": "24h"}}, ANTHROPIC)


def test_server_tools_are_found_with_their_bounds() -> None:
    tools = [
        {"name": "mine", "input_schema": {}},
        {"type": "web_search_20990101", "name": "web_search", "max_uses": 3},
        {"type": "code_execution_20260521", "name": "code_execution"},
        {"type": "bash_20250124", "name": "bash"},
    ]
    asked = read_members({**CHAT, "tools": tools}, ANTHROPIC)
    assert [(tool.name, tool.position, tool.most_uses) for tool in asked.server_tools] == [
        ("web_search", 1, 3),
        ("code_execution", 2, None),
    ]
    assert asked.tools == 4
    assert asked.input_tokens > 0  # The vendor's description of `bash` is not in the body.


def test_names_that_differ_by_case_are_not_known() -> None:
    body = parse_object(json.dumps({**CHAT, "Max_Tokens": 5}).encode())
    assert read_members(body, OPENAI).unknown == ["Max_Tokens"]


# --- The documentation -------------------------------------------------------------------------------------------


def class_of(rule: Rule) -> str:
    if isinstance(rule, Refused):
        return "refused"
    if isinstance(rule, Option | Presence | Modalities):
        return "priced"
    return "passes" if rule is PASSES else "passes by what is in it"


def documented(first: str, column: int) -> set[str]:
    """The names in a column of the row of docs/proxy.md that begins with `first`."""
    page = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {first} |"))
    return set(re.findall(r"`([^`]+)`", row.split("|")[column]))


@pytest.mark.parametrize(("table", "column"), [(OPENAI, 2), (ANTHROPIC, 3), (RESPONSES, 4)])
@pytest.mark.parametrize("kind", ["passes", "passes by what is in it", "priced", "refused"])
def test_the_documentation_lists_every_member(table: Mapping[str, Rule], column: int, kind: str) -> None:
    own = {name for name, rule in table.items() if class_of(rule) == kind and name not in GATEWAY_MEMBERS}
    assert documented(kind, column) == own


def test_the_documentation_lists_what_is_refused_in_all_formats() -> None:
    assert all(isinstance(rule, Refused) for rule in GATEWAY_MEMBERS.values())
    assert documented("refused in all", 2) == set(GATEWAY_MEMBERS)


def test_the_documentation_lists_the_tools() -> None:
    assert documented("the upstream", 2) == set(SERVER_TOOLS)
    assert all(CLIENT_TOOLS.match(f"{name}_20250101") for name in documented("the client, described by the vendor", 2))
