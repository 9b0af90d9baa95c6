"""The OpenAI completions format, the older one of prompts: what is read of a request, of an answer, and of a stream."""

from collections.abc import Sequence
from typing import ClassVar

from proxy.errors import InvalidRequest
from proxy.formats.api_format import Call
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import JsonObject, read_bool, read_count, read_text, refuse_variants, with_members
from proxy.formats.members import GATEWAY_MEMBERS, Fields, Flag, Option, Rule, passing, read_members, refusing
from proxy.formats.openai_answer import OpenAiChatStream
from proxy.formats.openai_chat import MOST_CHOICES, OpenAiChat, asks_for_usage, mapped_and_metered
from proxy.formats.token_input import TextOrTokens, count_items

DEFAULT_OUTPUT_TOKENS = 16
"""What the API means by no `max_tokens`. It is sent all the same: some upstreams mean another number."""

# The members of https://platform.openai.com/docs/api-reference/completions/create, and vLLM's beside them.
# tests/proxy/api/test_completions.py compares them with the official SDK.
MEMBERS: dict[str, Rule] = {
    **GATEWAY_MEMBERS,
    # Read by billing.
    **passing("model", "stream", "max_tokens", "n", "best_of"),
    "prompt": TextOrTokens(),
    "stream_options": Fields(dict.fromkeys(("include_usage", "include_obfuscation", "continuous_usage_stats"), Flag())),
    # Cost no more than the tokens that they lead to.
    **passing(
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "presence_penalty",
        "prompt_cache_key",
        "safety_identifier",
        "seed",
        "stop",
        "suffix",
        "temperature",
        "top_p",
        "user",
    ),
    **passing(
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
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
        "prompt_logprobs",
        "repetition_penalty",
        "response_format",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "top_k",
        "truncate_prompt_tokens",
    ),
    # Have a price of their own.
    "service_tier": Option(frozenset(("auto", "default", "standard_only", "standard"))),
    **refusing("It would let the model write more than the limit that this request is held for.", "use_beam_search"),
    **refusing("What it adds to the input is not in the request.", "prompt_embeds", "mm_processor_kwargs"),
    **refusing(
        "It steers the server of the model, which only the operator does.",
        "kv_transfer_params",
        "logits_processors",
        "priority",
        "request_id",
        "vllm_xargs",
        "cache_salt",
        "metadata",
    ),
}
_BILLED_BY = frozenset(("model", "prompt", "max_tokens", "n", "best_of", "stream", "stream_options"))


class OpenAiCompletions(OpenAiChat):
    """`POST /v1/completions`. Its answers have the frame, the usage and the errors of chat completions."""

    path: ClassVar[str] = "/v1/completions"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model, is_stream = read_text(parsed, "model"), read_bool(parsed, "stream")
        prompt = parsed.get("prompt")
        if prompt is None or prompt == []:
            raise InvalidRequest("'prompt' is required: text, a list of texts, or tokens.", param="prompt")
        choices = read_count(parsed, "n", maximum=MOST_CHOICES) or 1
        candidates = max(read_count(parsed, "best_of", maximum=MOST_CHOICES) or 1, choices)
        if is_stream and candidates > choices:
            raise InvalidRequest("'best_of' cannot be more than 'n' in a stream.", param="best_of")
        asked = read_members(parsed, MEMBERS)
        return Call(
            model=model,
            is_stream=is_stream,
            max_output_tokens=read_count(parsed, "max_tokens") or DEFAULT_OUTPUT_TOKENS,
            # Every candidate of every prompt is written, and billed.
            choices=candidates * count_items(prompt),
            text_bytes=body_bytes,
            has_asked_for_usage=asks_for_usage(parsed),
            asked=asked,
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
        """Map the model, ask for usage on streams, and state the output bound, which is the client's if it has one."""
        changes = {"max_tokens": max_output_tokens} | mapped_and_metered(parsed, call, model=model)
        return with_members(body, parsed, changes)

    def is_answer(self, answer: JsonObject) -> bool:
        choices = answer.get("choices")
        return (
            not answer.get("error")
            and isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, dict) and isinstance(choice.get("text"), str) for choice in choices)
        )

    def text_meter(self) -> TextMeter:
        return TextMeter(("text",))

    def stream_reader(self, call: Call) -> OpenAiChatStream:
        return OpenAiChatStream(hides_usage=not call.has_asked_for_usage, choices=call.choices, text=self.text_meter())
