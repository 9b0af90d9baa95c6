"""The OpenAI Responses format, without anything stored: what is read of a request, of an answer, and of a stream."""

from collections.abc import Sequence
from typing import ClassVar

from proxy.errors import InvalidRequest
from proxy.formats.api_format import ANY_TOOL, Call, StreamReader, UsageReport
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import (
    JsonObject,
    read_bool,
    read_count,
    read_text,
    refuse_variants,
    with_members,
    without_tools,
)
from proxy.formats.members import (
    GATEWAY_MEMBERS,
    PASSES,
    SERVER_TOOLS,
    Each,
    Fields,
    Flag,
    Option,
    Presence,
    Rule,
    Tools,
    passing,
    read_members,
    refusing,
)
from proxy.formats.openai_errors import openai_error_body
from proxy.formats.openai_responses_answer import (
    OpenAiResponsesStream,
    is_answer,
    output_size,
    read_answer_usage,
    text_meter,
)
from proxy.formats.openai_responses_input import CACHE_TTL, DESCRIBED, ITEMS, RUN_BY_CLIENT, Labels, Off, Text
from proxy.formats.openai_usage import read_usage

_STATELESS = "Nothing is stored here: send the whole conversation in 'input'."

MEMBERS: dict[str, Rule] = {
    **GATEWAY_MEMBERS,
    # Read by billing.
    **passing("model", "stream", "max_output_tokens"),
    "input": Each(ITEMS, or_text=True),
    "instructions": Text(),
    "store": Flag(),
    "stream_options": Fields({"include_obfuscation": Flag()}),
    "tools": Tools(DESCRIBED, run_by_client=RUN_BY_CLIENT, never_left_out=frozenset(("mcp",))),
    "reasoning": Fields(
        {**passing("effort", "summary", "generate_summary", "context"), "mode": Option(frozenset(("standard",)))}
    ),
    "text": Fields(passing("format", "verbosity")),
    "image": Fields(passing("context_compression")),
    "prompt_cache_options": Fields(
        {
            "mode": PASSES,
            "ttl": CACHE_TTL,
            "prewarm": Off("What it costs is not known here."),
            **refusing(_STATELESS, "comparison_response_id"),
        }
    ),
    "metadata": Labels(is_read_by_gateways=True),
    "client_metadata": Labels(is_read_by_gateways=False),
    # Cost no more than the tokens that they lead to.
    **passing(
        "include",
        "max_tool_calls",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ),
    # Have a price of their own.
    "service_tier": Option(frozenset(("auto", "default", "standard_only", "standard"))),
    "speed": Option(frozenset(("standard",))),
    "inference_geo": Option(frozenset(("global", "not_available"))),
    "moderation": Presence(),
    # Compaction reads the whole conversation again and writes a summary of it.
    "context_management": Presence(),
    **refusing(_STATELESS, "conversation", "previous_response_id"),
    "background": Off("An answer is sent when it is asked for, and not stored to be fetched later."),
    **refusing("What it adds to the input is not in the request.", "prompt", "mcp_servers", "container"),
    **refusing(
        "It is about the operator's account with the model's provider.", "access_programs", "background_options"
    ),
}

_BILLED_BY = frozenset(
    ("model", "input", "max_output_tokens", "stream", "store", "background", "previous_response_id", "conversation")
)


ENCRYPTED_REASONING = "reasoning.encrypted_content"


class OpenAiResponses:
    """`POST /v1/responses`."""

    path: ClassVar[str] = "/v1/responses"
    answer_member: ClassVar[str] = "output"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        asked = read_members(parsed, MEMBERS)
        if not parsed.get("input"):
            raise InvalidRequest("'input' is required: text, or a list with at least one item.", param="input")
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            # Reasoning is within it.
            max_output_tokens=read_count(parsed, "max_output_tokens"),
            choices=1,
            text_bytes=body_bytes,
            has_asked_for_usage=True,
            asked=asked,
            demanded_tool=_demanded_tool(parsed.get("tool_choice")),
            limit_member="max_output_tokens",
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
        """Map the model, store nothing, bound the output where the client did not, leave out tools.

        `output_member` is about the chat format: here the name is always the same.
        """
        changes = without_tools(parsed, removed_tools) | {"store": False}
        if model != call.model:
            changes["model"] = model
        if call.max_output_tokens is None:
            changes["max_output_tokens"] = max_output_tokens
        if parsed.get("reasoning") and parsed.get("store") is not False:
            # Such a client sends reasoning back in its next turn, and believes it stored: here it must be whole.
            included = parsed.get("include", [])
            if isinstance(included, list) and ENCRYPTED_REASONING not in included:
                changes["include"] = [*included, ENCRYPTED_REASONING]
        return with_members(body, parsed, changes)

    def is_answer(self, answer: JsonObject) -> bool:
        return is_answer(answer)

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return read_answer_usage(answer)

    def read_usages(self, usages: Sequence[JsonObject]) -> UsageReport:
        return read_usage(usages)

    def output_text_bytes(self, data: bytes, answer: JsonObject) -> int:
        return output_size(answer.get("output"))

    def text_meter(self) -> TextMeter:
        return text_meter()

    def stream_reader(self, call: Call) -> OpenAiResponsesStream:
        return OpenAiResponsesStream()

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        return openai_error_body(status=status, code=code, message=message, details=details)

    def error_event(self, body: JsonObject, reader: StreamReader) -> bytes:
        events = reader if isinstance(reader, OpenAiResponsesStream) else OpenAiResponsesStream()
        return events.error_events(body)


def _demanded_tool(choice: object) -> str | None:
    """The tool that the model must use: its name, or `ANY_TOOL`; None if it is free to use none."""
    if isinstance(choice, str):
        return ANY_TOOL if choice == "required" else None
    if not isinstance(choice, dict):
        return None
    kind, name = choice.get("type"), choice.get("name")
    if kind == "allowed_tools":
        return ANY_TOOL if choice.get("mode") == "required" else None
    if kind in ("function", "custom") and isinstance(name, str):
        return name
    if not isinstance(kind, str):
        return None
    return next((tool for prefix, tool in SERVER_TOOLS.items() if kind.startswith(prefix)), kind)
