"""The OpenAI chat completions format: what is read of a request, of an answer, and of a stream."""

import json
from collections.abc import Sequence
from typing import ClassVar

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
    AudioData,
    ByType,
    CacheTtl,
    Each,
    Fields,
    FileData,
    Flag,
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
from proxy.formats.openai_answer import OpenAiChatStream, is_answer, read_answer_usage, text_meter
from proxy.formats.openai_errors import openai_error_body
from proxy.formats.openai_usage import read_usage

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
            "function": Fields(passing("name", "arguments", "parsed_arguments", "provider_specific_fields")),
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
        "parsed": PASSES,  # What the official SDKs add to answers that they parsed; clients send them back as they are.
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
    "stream_options": Fields(dict.fromkeys(("include_usage", "include_obfuscation", "continuous_usage_stats"), Flag())),
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


def asks_for_usage(parsed: JsonObject) -> bool:
    """Whether the client itself asks for the usage of a stream."""
    options = parsed.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def mapped_and_metered(parsed: JsonObject, call: Call, *, model: str) -> JsonObject:
    """The changes that map the model, and ask for the usage of a stream."""
    changes: JsonObject = {} if model == call.model else {"model": model}
    if call.is_stream and not call.has_asked_for_usage:
        options = parsed.get("stream_options")
        changes["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
    return changes


class OpenAiChat:
    """`POST /v1/chat/completions`."""

    path: ClassVar[str] = "/v1/chat/completions"
    answer_member: ClassVar[str] = "choices"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        read_list(parsed, "messages")
        limits = [read_count(parsed, name) for name in ("max_tokens", "max_completion_tokens")]
        asked = read_members(parsed, MEMBERS)
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            # Upstreams differ in which of the two they heed.
            max_output_tokens=max((limit for limit in limits if limit is not None), default=None),
            choices=read_count(parsed, "n", maximum=MOST_CHOICES) or 1,
            text_bytes=body_bytes,
            has_asked_for_usage=asks_for_usage(parsed),
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
        changes |= mapped_and_metered(parsed, call, model=model)
        if call.max_output_tokens is None:
            changes[output_member or "max_tokens"] = max_output_tokens
        return with_members(body, parsed, changes)

    def is_answer(self, answer: JsonObject) -> bool:
        return is_answer(answer)

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return read_answer_usage(answer)

    def read_usages(self, usages: Sequence[JsonObject]) -> UsageReport:
        return read_usage(usages)

    def output_text_bytes(self, data: bytes, answer: JsonObject) -> int:
        meter = self.text_meter()
        meter.feed(data)
        return meter.size

    def text_meter(self) -> TextMeter:
        return text_meter()

    def stream_reader(self, call: Call) -> OpenAiChatStream:
        return OpenAiChatStream(hides_usage=not call.has_asked_for_usage, choices=call.choices)

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        return openai_error_body(status=status, code=code, message=message, details=details)

    def error_event(self, body: JsonObject, reader: StreamReader) -> bytes:
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
