"""The Anthropic messages format: what is read of a request, of an answer, and of a stream."""

import json
from collections.abc import Sequence
from typing import ClassVar

from proxy.errors import InvalidRequest
from proxy.formats.anthropic_answer import (
    AnthropicMessagesStream,
    is_answer,
    read_answer_usage,
    text_meter,
    tool_inputs_size,
)
from proxy.formats.anthropic_usage import read_usage
from proxy.formats.api_format import ANY_TOOL, Call, StreamReader, UsageReport
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import (
    JsonObject,
    read_bool,
    read_count,
    read_inner_count,
    read_list,
    read_text,
    refuse_variants,
    with_members,
    without_tools,
)
from proxy.formats.members import (
    GATEWAY_MEMBERS,
    PASSES,
    Attachment,
    ByType,
    CacheTtl,
    Each,
    Fields,
    FileData,
    ImageData,
    Option,
    Presence,
    Refused,
    Rule,
    Tools,
    passing,
    read_members,
    refusing,
)

# --- What a request may ask for ----------------------------------------------------------------------------------
# The members of https://platform.claude.com/docs/en/api/messages, with those of its betas, and what gateways add.
# tests/proxy/formats/test_members.py compares them with the official SDK.

_CACHE_CONTROL = Fields({"type": PASSES, "ttl": CacheTtl()})


def _part(*names: str, **rules: Rule) -> Fields:
    """A content part with these members; any part may be marked for the cache."""
    return Fields({**passing("type", *names), "cache_control": _CACHE_CONTROL, **rules})


_TEXT = _part("text", "citations")
_SOURCES: dict[str, Rule] = {
    "base64": Fields({**passing("type", "media_type"), "data": ImageData()}),
    "url": Attachment("image_url"),
    "file": Attachment("file_id"),
}
_IMAGE = _part("transformations", source=ByType(_SOURCES))
_DOCUMENT_SOURCES: dict[str, Rule] = {
    "base64": Fields({**passing("type", "media_type"), "data": FileData()}),
    "text": Fields(passing("type", "media_type", "data")),
    "content": Fields({"type": PASSES, "content": Each(ByType({"text": _TEXT, "image": _IMAGE}), or_text=True)}),
    "url": Attachment("document_url"),
    "file": Attachment("file_id"),
}
_DOCUMENT = _part("citations", "context", "title", source=ByType(_DOCUMENT_SOURCES))
_SEARCH_RESULT = _part("source", "title", "citations", content=Each(_TEXT, or_text=True))
_RESULT_PARTS: dict[str, Rule] = {
    "text": _TEXT,
    "image": _IMAGE,
    "document": _DOCUMENT,
    "search_result": _SEARCH_RESULT,
    "tool_reference": _part("tool_name"),
    "browser_state": _part("tabs", "state_changes"),
}
_PARTS: dict[str, Rule] = {
    **_RESULT_PARTS,
    "thinking": _part("thinking", "signature"),
    "redacted_thinking": _part("data"),
    "tool_use": _part("id", "input", "name", "caller", "toolset_name"),
    "tool_result": _part(
        "tool_use_id", "is_error", "toolset_name", content=Each(ByType(_RESULT_PARTS, or_text=True), or_text=True)
    ),
    # What a server tool did in an earlier turn: text of this request now.
    "server_tool_use": _part("id", "input", "name", "caller"),
    **dict.fromkeys(
        (
            "web_search_tool_result",
            "web_fetch_tool_result",
            "code_execution_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
            "advisor_tool_result",
            "mcp_tool_result",
        ),
        _part("tool_use_id", "content", "is_error", "caller"),
    ),
    "mcp_tool_use": _part("id", "input", "name", "server_name"),
    "mcp_tool_listing": _part("mcp_server_name", "tools"),
    "compaction": _part("content", "encrypted_content", "signature", "tool_changes"),
    "fallback": _part("from", "to", "trigger"),
    "container_upload": Attachment("file_id"),
    "tool_addition": Refused("Name the tools of a request in its 'tools'."),
    "tool_removal": _part("tool"),
}
_SYSTEM_PARTS: dict[str, Rule] = {"text": _TEXT}
_MESSAGE = Fields(
    {
        **passing("role", "clear_at", "id", "type"),
        "content": Each(ByType(_PARTS, or_text=True), or_text=True),
        "output_config": Fields(passing("effort")),
        "cache_control": _CACHE_CONTROL,
    }
)
_DESCRIBED: dict[str | None, Rule] = dict.fromkeys(
    (None, "custom"),
    Fields(
        {
            **passing("type", "name", "description", "input_schema", "strict", "eager_input_streaming"),
            **passing("defer_loading", "input_examples", "allowed_callers"),
            "cache_control": _CACHE_CONTROL,
        }
    ),
)

MEMBERS: dict[str, Rule] = {
    **GATEWAY_MEMBERS,
    # Read by billing.
    **passing("model", "stream", "max_tokens"),
    "messages": Each(_MESSAGE),
    "system": Each(ByType(_SYSTEM_PARTS), or_text=True),
    "tools": Tools(_DESCRIBED),
    "thinking": Fields(passing("type", "budget_tokens", "display", "block_binding")),
    "cache_control": _CACHE_CONTROL,
    # Cost no more than the tokens that they lead to.
    **passing("stop_sequences", "temperature", "tool_choice", "top_k", "top_p", "diagnostics"),
    "metadata": Fields(passing("user_id")),
    "output_config": Fields(
        {**passing("effort", "format"), "task_budget": Fields(passing("type", "total", "remaining"))}
    ),
    "output_format": PASSES,
    "context_management": Fields(
        {
            "edits": Each(
                ByType(
                    {
                        "clear_tool_uses_20250919": PASSES,
                        "clear_thinking_20251015": PASSES,
                        # Compaction reads the whole conversation again and writes a summary of it.
                        "compact_20260112": Presence(),
                    }
                )
            )
        }
    ),
    # Have a price of their own.
    "service_tier": Option(frozenset(("auto", "standard_only"))),
    "speed": Option(frozenset(("standard",))),
    "inference_geo": Option(frozenset(("global", "not_available"))),
    "compaction": Presence(),
    **refusing(
        "It reaches what is not in the request.",
        "mcp_servers",
        "container",
        "thread",
        "previous_response_id",
    ),
    **refusing(
        "It is about the operator's account with the model's provider.",
        "billing_policy",
        "fallback_credit_token",
        "user_profile_id",
        "workspace_id",
    ),
}

_BILLED_BY = frozenset(("model", "messages", "system", "max_tokens", "stream"))
# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class AnthropicMessages:
    """`POST /v1/messages`."""

    path: ClassVar[str] = "/v1/messages"
    answer_member: ClassVar[str] = "content"
    needs_max_tokens: ClassVar[bool] = True

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        read_list(parsed, "messages")
        max_tokens = read_count(parsed, "max_tokens")
        if max_tokens is None and self.needs_max_tokens:
            raise InvalidRequest("'max_tokens' is required.", param="max_tokens")
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            max_output_tokens=max_tokens,
            choices=1,
            text_bytes=body_bytes,
            has_asked_for_usage=True,
            asked=read_members(parsed, MEMBERS),
            # With interleaved thinking it may be more than the limit.
            thinking_tokens=read_inner_count(parsed, "thinking", "budget_tokens"),
            must_name_limit=self.needs_max_tokens,
            demanded_tool=_demanded_tool(parsed.get("tool_choice")),
        )

    def prepare(
        self,
        body: bytes,
        parsed: JsonObject,
        call: Call,
        *,
        model: str,
        max_output_tokens: int,
        output_member: str | None = None,
        removed_tools: Sequence[int] = (),
    ) -> bytes:
        """Map the model, leave out tools, and lower the output bound to what is paid for; usage is always told."""
        changes = without_tools(parsed, removed_tools)
        if model != call.model:
            changes["model"] = model
        if call.max_output_tokens is not None and max_output_tokens < call.max_output_tokens:
            changes["max_tokens"] = max_output_tokens
        return with_members(body, parsed, changes)

    def is_answer(self, answer: JsonObject) -> bool:
        return is_answer(answer)

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return read_answer_usage(answer)

    def read_usages(self, usages: Sequence[JsonObject]) -> UsageReport:
        return read_usage(usages)

    def output_text_bytes(self, data: bytes, answer: JsonObject) -> int:
        meter = text_meter()
        meter.feed(data)
        return meter.size + tool_inputs_size(answer)

    def text_meter(self) -> TextMeter:
        return text_meter()

    def stream_reader(self, call: Call) -> AnthropicMessagesStream:
        return AnthropicMessagesStream()

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message, "code": code, **details}}

    def error_event(self, body: JsonObject, reader: StreamReader) -> bytes:
        return b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"


def _demanded_tool(choice: object) -> str | None:
    """The tool that the model must use: its name, or `ANY_TOOL`; None if it is free to use none."""
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "tool" and isinstance(choice.get("name"), str):
        return str(choice["name"])
    return ANY_TOOL if choice.get("type") == "any" else None


class AnthropicTokenCount(AnthropicMessages):
    """`POST /v1/messages/count_tokens`: the same request without an output."""

    needs_max_tokens = False
