"""What a Responses request may ask for: its items, its tools, and what would reach something stored."""

import base64
import json
from typing import Any

import pytest

from proxy.billing.terms import price_call
from proxy.errors import InvalidRequest, UnsupportedParameter
from proxy.formats.api_format import ANY_TOOL
from proxy.formats.json_body import parse_object
from proxy.formats.members import CLIENT_TOOL_TOKENS, Asked, read_members
from proxy.formats.openai_responses import MEMBERS, OpenAiResponses
from proxy.formats.openai_responses_input import ORIGINAL_DETAIL_TOKENS
from tests.proxy.billing.test_pricing import price
from tests.proxy.formats.test_images import png

FORMAT = OpenAiResponses()
PLAIN: dict[str, Any] = {"model": "m", "input": "hi"}


def read(**members: Any) -> Asked:
    return read_members({**PLAIN, **members}, MEMBERS)


def item(**members: Any) -> dict[str, Any]:
    return {"input": [members]}


def content(*parts: Any) -> dict[str, Any]:
    return item(role="user", content=list(parts))


# --- What is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"background": 0}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"prompt_cache_options": {"comparison_response_id": "resp_1"}}, "prompt_cache_options.comparison_response_id"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        (item(type="item_reference", id="msg_1"), "input"),
        (item(id="msg_1"), "input"),
        (item(type="image_generation_call", id="ig_1"), "input"),
        (item(type="compaction_trigger"), "input"),
        (item(type="additional_tools", role="developer", tools=[{"type": "web_search"}]), "input.tools"),
        (item(type="tool_search_output", tools=[{"type": "mcp", "server_label": "x"}]), "input.tools"),
        ({"metadata": {"tags": ["x"]}}, "metadata.tags"),
        ({"metadata": {"api_base": "x"}}, "metadata.api_base"),
        ({"metadata": {"litellm_x": "x"}}, "metadata.litellm_x"),
        ({"metadata": {"session_id": "x"}}, "metadata.session_id"),
        ({"client_metadata": {"tags": ["x"]}}, "client_metadata.tags"),
        ({"metadata": {"deep": {"tags": []}}}, "metadata.deep"),
    ],
)
def test_what_is_refused_names_the_member(members: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        read(**members)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("members", "unknown"),
    [
        ({"shiny_new_option": 1}, "shiny_new_option"),
        (item(type="hologram"), "input.type=hologram"),
        (item(role="user", content="x", hint=1), "input.hint"),
        (content({"type": "hologram"}), "input.content.type=hologram"),
        (content({"type": "input_text", "text": "", "x": 1}), "input.content.x"),
        (
            item(type="function_call_output", call_id="c", output=[{"type": "input_video"}]),
            "input.output.type=input_video",
        ),
        ({"tools": [{"type": "time_machine"}]}, "tools.type=time_machine"),
        ({"tools": [{"type": "namespace", "tools": [{"type": "web_search"}]}]}, "tools.tools.type=web_search"),
        ({"reasoning": {"depth": 3}}, "reasoning.depth"),
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        ({"text": {"shape": 1}}, "text.shape"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
    ],
)
def test_what_no_table_knows_is_named(members: dict[str, Any], unknown: str) -> None:
    assert read(**members).unknown == [unknown]


@pytest.mark.parametrize(
    "members",
    [
        {"input": None},
        {"input": ""},
        {"input": []},
        {"input": {"role": "user"}},
        {"input": ["hi"]},
        item(role="user", content=5),
        content({"type": "input_text", "text": ["x"]}),
        {"instructions": [{"role": "user", "content": "x"}]},
        {"store": "yes"},
        {"stream": "yes"},
        {"max_output_tokens": 0},
        {"max_output_tokens": "5"},
        {"metadata": "x"},
        {"tools": ["web_search"]},
        {"service_tier": 1},
        {"model": None},
        {"Max_Output_Tokens": 5},
        {"Store": True},
    ],
)
def test_a_wrong_type_is_an_invalid_request(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        FORMAT.parse({**PLAIN, **members}, 100)


def test_null_and_false_ask_for_nothing() -> None:
    nothing = dict.fromkeys(("previous_response_id", "conversation", "prompt", "tools", "reasoning", "metadata"))
    assert read(**nothing, background=False, store=True) == Asked()


# --- What has a price --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"service_tier": "priority"}, ["service_tier=priority"]),
        ({"service_tier": "flex"}, ["service_tier=flex"]),
        ({"service_tier": "default"}, []),
        ({"reasoning": {"mode": "pro"}}, ["reasoning.mode=pro"]),
        ({"reasoning": {"mode": "standard", "effort": "high"}}, []),
        ({"prompt_cache_options": {"ttl": "12h"}}, ["prompt_cache_options.ttl=12h"]),
        ({"prompt_cache_options": {"ttl": "30m"}}, []),
        ({"moderation": {"model": "x"}}, ["moderation"]),
        ({"context_management": [{"type": "compaction"}]}, ["context_management"]),
    ],
)
def test_options_that_change_the_price_are_found(members: dict[str, Any], options: list[str]) -> None:
    assert [option for _, option in read(**members).options] == options


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "input_image", "image_url": "https://example.com/x.png"}, "image_url"),
        ({"type": "input_image", "file_id": "file_1"}, "file_id"),
        ({"type": "input_file", "file_id": "file_1"}, "file_id"),
        ({"type": "input_file", "file_url": "https://example.com/x.pdf"}, "document_url"),
    ],
)
def test_what_is_not_in_the_body_needs_a_bound(part: dict[str, Any], kind: str) -> None:
    for members in (
        content(part),
        item(type="function_call_output", call_id="c", output=[part]),
        item(type="custom_tool_call_output", call_id="c", output=[part]),
        item(type="computer_call_output", call_id="c", output=part),
    ):
        assert [found for _, found in read(**members).attachments] == [kind]


def test_images_count_by_their_pixels_wherever_they_stand() -> None:
    data = base64.b64encode(png(750, 400)).decode()
    url = f"data:image/png;base64,{data}"
    for members in (
        content({"type": "input_image", "image_url": url}),
        item(type="function_call_output", output=[{"type": "input_image", "image_url": url}]),
        item(type="computer_call_output", output={"type": "computer_screenshot", "image_url": url}),
        item(type="image_generation_call", result=data),
        item(type="code_interpreter_call", outputs=[{"type": "image", "url": url}]),
    ):
        asked = read(**members)
        assert (asked.input_tokens, asked.hidden_bytes) == (400, len(data)), members
    whole = read(**content({"type": "input_image", "image_url": url, "detail": "original"}))
    assert whole.input_tokens == 400 + ORIGINAL_DETAIL_TOKENS


def test_files_and_sound_are_found() -> None:
    asked = read(**content({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "x"}))
    assert asked.file_bytes > 0
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    assert read(**content(sound)).has_audio_input


# --- Tools -------------------------------------------------------------------------------------------------------

HOSTED = [
    ({"type": "web_search", "external_web_access": False}, "web_search"),
    ({"type": "web_search_preview_2025_03_11"}, "web_search"),
    ({"type": "file_search", "vector_store_ids": ["v"]}, "file_search"),
    ({"type": "code_interpreter", "container": {"type": "auto"}}, "code_execution"),
    ({"type": "image_generation"}, "image_generation"),
    ({"type": "programmatic_tool_calling"}, "programmatic_tool_calling"),
    ({"type": "tool_search"}, "tool_search"),
    ({"type": "shell"}, "shell"),
    ({"type": "shell", "environment": {"type": "container_auto"}}, "shell"),
    ({"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}}, "shell"),
]


@pytest.mark.parametrize(("tool", "name"), HOSTED)
def test_a_tool_of_the_upstream_is_left_out_unless_it_has_a_price(tool: dict[str, Any], name: str) -> None:
    call = FORMAT.parse({**PLAIN, "tools": [{"type": "function", "name": "mine"}, tool]}, 100)
    priced = price_call(call, price())
    assert [(found.name, found.position) for found in priced.removed_tools] == [(name, 1)]
    assert priced.headers == {"X-Removed-Tools": tool["type"]}


@pytest.mark.parametrize("choice", ["required", {"type": "web_search_preview"}, {"type": "web_search"}])
def test_a_demanded_tool_without_a_price_is_refused(choice: Any) -> None:
    body = {**PLAIN, "tools": [{"type": "web_search_preview_2025_03_11"}], "tool_choice": choice}
    with pytest.raises(UnsupportedParameter) as caught:
        price_call(FORMAT.parse(body, 100), price())
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "demanded"),
    [
        (None, None),
        ("auto", None),
        ("none", None),
        ("required", ANY_TOOL),
        ({"type": "function", "name": "mine"}, "mine"),
        ({"type": "custom", "name": "mine"}, "mine"),
        ({"type": "apply_patch"}, "apply_patch"),
        ({"type": "code_interpreter"}, "code_execution"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "mine"}]}, None),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}, ANY_TOOL),
        ({"mode": "required"}, None),
        (["required"], None),
    ],
)
def test_which_tool_is_demanded(choice: Any, demanded: str | None) -> None:
    assert FORMAT.parse({**PLAIN, "tool_choice": choice}, 100).demanded_tool == demanded


def test_an_mcp_tool_without_a_price_is_refused() -> None:
    call = FORMAT.parse({**PLAIN, "tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x"}]}, 100)
    with pytest.raises(UnsupportedParameter, match="no price") as caught:
        price_call(call, price())
    assert caught.value.param == "tools.type=mcp"


def test_tools_that_the_client_runs_pass_with_a_bound_for_what_the_vendor_says() -> None:
    described = [
        {"type": "apply_patch"},
        {"type": "local_shell"},
        {"type": "computer"},
        {"type": "computer_use_preview", "display_width": 800, "display_height": 600, "environment": "linux"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "tool_search", "execution": "client"},
    ]
    asked = read(tools=[{"type": "function", "name": "mine"}, *described])
    assert (asked.server_tools, asked.unknown) == ([], [])
    assert asked.input_tokens == len(described) * CLIENT_TOOL_TOKENS


# --- What is forwarded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [{}, {"store": None}, {"store": True}, {"store": False}])
@pytest.mark.parametrize("limit", [{}, {"max_output_tokens": None}, {"max_output_tokens": 77}])
def test_nothing_is_stored_and_the_output_is_bounded(store: dict[str, Any], limit: dict[str, Any]) -> None:
    parsed = {**PLAIN, **store, **limit, "top_p": 0.5}
    body = json.dumps(parsed).encode()
    call = FORMAT.parse(parsed, len(body))
    sent = FORMAT.prepare(body, parse_object(body), call, model="real", max_output_tokens=500)
    wanted = limit.get("max_output_tokens") or 500
    assert json.loads(sent) == {**parsed, "model": "real", "store": False, "max_output_tokens": wanted}
    assert call.max_output_tokens == limit.get("max_output_tokens")


def test_a_request_that_needs_no_change_passes_byte_for_byte() -> None:
    body = b'{ "model":"m", "store" : false,"input":"\\u1ebf","max_output_tokens": 5 }'
    parsed = parse_object(body)
    call = FORMAT.parse(parsed, len(body))
    assert FORMAT.prepare(body, parsed, call, model="m", max_output_tokens=5) == body
