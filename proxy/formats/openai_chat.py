"""The OpenAI chat completions format: what is read of a request, of an answer, and of a stream."""

import json
import re
from collections.abc import Sequence
from typing import ClassVar

from accounts.errors import BillingError
from proxy.billing.pricing import Usage
from proxy.formats.api_format import ANY_TOOL, Call, UsageReport, read_tokens
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.json_body import (
    JsonObject,
    read_bool,
    read_count,
    read_inner_count,
    read_list,
    read_text,
    refuse_variants,
    text_size,
    with_members,
    without_tools,
)
from proxy.formats.members import (
    GATEWAY_MEMBERS,
    PASSES,
    Attachment,
    AudioData,
    ByType,
    CacheTtl,
    Each,
    Fields,
    FileData,
    ImageUrl,
    Modalities,
    Option,
    Presence,
    Rule,
    Tools,
    UrlOrObject,
    passing,
    read_members,
    refusing,
)

MOST_CHOICES = 128

# --- What a request may ask for ----------------------------------------------------------------------------------
# The members of https://platform.openai.com/docs/api-reference/chat/create, and those that LiteLLM, OpenRouter and vLLM
# publish beside them. tests/proxy/formats/test_members.py compares them with the official SDK.

_CACHE_CONTROL = Fields({"type": PASSES, "ttl": CacheTtl()})
_TEXT = Fields({**passing("type", "text", "prompt_cache_breakpoint", "annotations"), "cache_control": _CACHE_CONTROL})
_PARTS: dict[str, Rule] = {
    "text": _TEXT,
    "refusal": Fields(passing("type", "refusal")),
    "thinking": Fields(passing("type", "thinking", "signature")),
    "redacted_thinking": Fields(passing("type", "data")),
    "image_url": Fields(
        {
            **passing("type", "prompt_cache_breakpoint"),
            "image_url": UrlOrObject(ImageUrl(), {"url": ImageUrl(), **passing("detail", "format")}),
            "cache_control": _CACHE_CONTROL,
        }
    ),
    "input_audio": Fields(
        {
            **passing("type", "prompt_cache_breakpoint"),
            "input_audio": Fields({"data": AudioData(), "format": PASSES}),
        }
    ),
    "file": Fields(
        {
            **passing("type", "prompt_cache_breakpoint"),
            "file": Fields(
                {"file_data": FileData(), "file_id": Attachment("file_id"), **passing("filename", "format")}
            ),
            "cache_control": _CACHE_CONTROL,
        }
    ),
    "video_url": Attachment("video_url"),
    "audio_url": Attachment("audio_url"),
}
_CONTENT = Each(ByType(_PARTS, or_text=True), or_text=True)
_CALLS = Each(
    Fields(
        {
            **passing("id", "type", "index", "provider_specific_fields", "extra_content"),
            "function": Fields(passing("name", "arguments", "provider_specific_fields")),
            "custom": Fields(passing("name", "input")),
            "cache_control": _CACHE_CONTROL,
        }
    )
)
_MESSAGE = Fields(
    {
        **passing("role", "name", "refusal", "tool_call_id", "tool_name", "prefix", "partial", "id", "type", "status"),
        # What other vendors answer beside the content, and clients send back: text, which counts as text.
        **passing("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "annotations", "phase"),
        **passing("provider_specific_fields", "images_seen", "is_error"),
        "content": _CONTENT,
        "tool_calls": _CALLS,
        "function_call": Fields(passing("name", "arguments")),
        "audio": Fields({"id": Attachment("audio_id")}),
        "cache_control": _CACHE_CONTROL,
    }
)
_FUNCTION = Fields(passing("name", "description", "parameters", "strict"))
_DESCRIBED: dict[str | None, Rule] = {
    "function": Fields(
        {
            **passing("type", "strict", "name", "description", "parameters", "eager_input_streaming", "defer_loading"),
            "function": Fields(
                {
                    **passing("name", "description", "parameters", "strict", "eager_input_streaming", "input_examples"),
                    "cache_control": _CACHE_CONTROL,
                }
            ),
            "cache_control": _CACHE_CONTROL,
        }
    ),
    "custom": Fields({"type": PASSES, "custom": Fields(passing("name", "description", "format"))}),
    # LiteLLM takes Anthropic's form of a tool in this format, too.
    None: Fields(
        {
            **passing("name", "description", "input_schema", "strict", "eager_input_streaming", "input_examples"),
            "function": _FUNCTION,
            "cache_control": _CACHE_CONTROL,
        }
    ),
}

MEMBERS: dict[str, Rule] = {
    **GATEWAY_MEMBERS,
    # Read by billing.
    **passing("model", "stream", "n", "max_tokens", "max_completion_tokens"),
    "messages": Each(_MESSAGE),
    "stream_options": Fields(passing("include_usage", "include_obfuscation", "continuous_usage_stats")),
    "tools": Tools(_DESCRIBED),
    "functions": Each(_FUNCTION),
    "thinking": Fields(passing("type", "budget_tokens", "display", "block_binding")),
    "reasoning": Fields(passing("effort", "max_tokens", "exclude", "enabled", "summary", "generate_summary")),
    # Cost no more than the tokens that they lead to.
    **passing(
        "audio",
        "frequency_penalty",
        "function_call",
        "include_reasoning",
        "logit_bias",
        "logprobs",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "usage",
        "user",
        "verbosity",
    ),
    # vLLM and others: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    **passing(
        "add_generation_prompt",
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "chat_template_kwargs",
        "continue_final_message",
        "echo",
        "enable_thinking",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "guided_whitespace_pattern",
        "ignore_eos",
        "include_stop_str_in_output",
        "length_penalty",
        "min_p",
        "min_tokens",
        "repetition_penalty",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "top_a",
        "top_k",
        "truncate_prompt_tokens",
    ),
    # Have a price of their own.
    "service_tier": Option(frozenset(("auto", "default", "standard_only", "standard"))),
    "speed": Option(frozenset(("standard",))),
    "inference_geo": Option(frozenset(("global", "not_available"))),
    "prediction": Presence(),
    "moderation": Presence(),
    "modalities": Modalities(),
    **refusing(
        "It would let the model write more than the limit that this request is held for.",
        "best_of",
        "use_beam_search",
    ),
    **refusing(
        "What it adds to the input is not in the request.",
        "chat_template",
        "documents",
        "mm_processor_kwargs",
        "cache_control_injection_points",
        "conversation",
        "previous_response_id",
        "context_management",
        "mcp_servers",
        "container",
    ),
    **refusing(
        "It steers the server of the model, which only the operator does.",
        "kv_transfer_params",
        "logits_processors",
        "priority",
        "request_id",
        "vllm_xargs",
        "cache_salt",
        "metadata",
        "background",
    ),
}

_BILLED_BY = frozenset(("model", "messages", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options"))
_ERROR_TYPES = {
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    429: "rate_limit_error",
}


class OpenAiChat:
    """`POST /v1/chat/completions`."""

    path: ClassVar[str] = "/v1/chat/completions"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        read_list(parsed, "messages")
        limits = [read_count(parsed, name) for name in ("max_tokens", "max_completion_tokens")]
        options = parsed.get("stream_options")
        asked = read_members(parsed, MEMBERS)
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            # Upstreams differ in which of the two they heed.
            max_output_tokens=max((limit for limit in limits if limit is not None), default=None),
            choices=read_count(parsed, "n", maximum=MOST_CHOICES) or 1,
            text_bytes=body_bytes,
            has_asked_for_usage=isinstance(options, dict) and options.get("include_usage") is True,
            asked=asked,
            thinking_tokens=max(
                read_inner_count(parsed, "thinking", "budget_tokens"),
                read_inner_count(parsed, "reasoning", "max_tokens"),
            ),
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
        """Map the model, ask for usage on streams, bound the output where the client did not, leave out tools."""
        changes = without_tools(parsed, removed_tools)
        if model != call.model:
            changes["model"] = model
        if call.is_stream and not call.has_asked_for_usage:
            options = parsed.get("stream_options")
            changes["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        if call.max_output_tokens is None:
            changes[output_member or "max_tokens"] = max_output_tokens
        return with_members(body, parsed, changes)

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return _read_usage(answer.get("usage"))

    def output_text_bytes(self, answer: JsonObject) -> int:
        """Bytes of what the model wrote, all choices together: text, reasoning and tool calls."""
        choices = answer.get("choices")
        messages = [choice.get("message") for choice in choices or () if isinstance(choice, dict)]
        return sum(text_size(message) for message in messages if message)

    def stream_reader(self, call: Call) -> "OpenAiChatStream":
        return OpenAiChatStream(hides_usage=not call.has_asked_for_usage)

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        default = "invalid_request_error" if status < 500 else "server_error"
        param = details.pop("param", None)
        kind = _ERROR_TYPES.get(status, default)
        return {"error": {"message": message, "type": kind, "param": param, "code": code, **details}}

    def error_event(self, error: BillingError, message: str) -> bytes:
        body = self.error_body(status=502, code=error.code, message=message, details={})
        return b"data: " + json.dumps(body).encode() + b"\n\n"


def _demanded_tool(choice: object) -> str | None:
    """The tool that the model must use: its name, or `ANY_TOOL`; None if it is free to use none."""
    if isinstance(choice, str):
        return ANY_TOOL if choice == "required" else None
    if not isinstance(choice, dict):
        return None
    kind = choice.get("type")
    named = choice.get(kind) if isinstance(kind, str) else None
    if kind == "allowed_tools":
        return ANY_TOOL if isinstance(named, dict) and named.get("mode") == "required" else None
    if isinstance(named, dict) and isinstance(named.get("name"), str):
        return str(named["name"])
    return kind if isinstance(kind, str) else None


class OpenAiChatStream(EventStreamReader):
    """Reads the usage of the last chunk, and hides that chunk from a client that did not ask for it."""

    terminal_word = b"[DONE]"
    terminal_line = re.compile(rb"^data: ?\[DONE\][ \r]*$", re.MULTILINE)
    text_pattern = re.compile(rb'"(?:content|reasoning_content|refusal|arguments)"\s*:\s*"((?:[^"\\]|\\.)*)"')

    def __init__(self, *, hides_usage: bool) -> None:
        super().__init__()
        self._hides_usage = hides_usage
        self._report = UsageReport(None, "missing")

    def report(self) -> UsageReport:
        return self._report

    def read_message(self, message: JsonObject) -> bool:
        if isinstance(message.get("usage"), dict):
            self._report = _read_usage(message["usage"])
        return not (self._hides_usage and message.get("choices") == [])


def _read_usage(usage: object) -> UsageReport:
    """`prompt_tokens` includes the cached ones: bill each token once, at its own price."""
    if not isinstance(usage, dict):
        return UsageReport(None, "missing")
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    try:
        prompt = read_tokens(usage, "prompt_tokens", is_required=True)
        cached = read_tokens(details, "cached_tokens")
        # Two names for the same count: OpenAI's own, and that of gateways in front of Anthropic models.
        written = max(read_tokens(details, "cache_write_tokens"), read_tokens(details, "cache_creation_tokens"))
        output = read_tokens(usage, "completion_tokens", is_required=True)
    except ValueError as error:
        return UsageReport(None, f"rejected: {error}")
    if cached + written > prompt:
        return UsageReport(None, f"rejected: {cached + written} cached of {prompt} prompt tokens")
    if prompt == 0:
        return UsageReport(None, "rejected: no prompt tokens")
    return UsageReport(Usage(prompt - cached - written, output, written, cached))
