"""Errors in the words of vendors and gateways: which of them a client is reported, and what is masked in those.

The texts are those of OpenAI, Anthropic, LiteLLM 1.x, OpenRouter, Google, vLLM and FastAPI, as they were seen.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.upstream_errors import LONGEST_MESSAGE, ReportedError, mask, passing_error, read_error

INVALID, GOOGLES = "invalid_request_error", "INVALID_ARGUMENT"


def openai(message: str, kind: str | None = INVALID, *, code: str | None = None, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic(message: str, kind: str = INVALID) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CWdepJvA2D819tdYYq4h7"}


def litellm(message: str, kind: str | None = None, *, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": "400"}}


TOO_LONG = "prompt is too long: 208310 tokens > 200000 maximum"
ABOUT_THE_REQUEST = [
    (anthropic(TOO_LONG), TOO_LONG),
    (
        anthropic("max_tokens: 204096 > 64000, which is the maximum allowed number of output tokens for claude-x"),
        "max_tokens: 204096 > 64000, which is the maximum allowed number of output tokens for claude-x",
    ),
    (
        anthropic("input length and `max_tokens` exceed context limit: 174167 + 64000 > 200000, decrease input length"),
        "input length and `max_tokens` exceed context limit: 174167 + 64000 > 200000, decrease input length",
    ),
    (
        anthropic("messages.1.content.0.image.source.base64: image exceeds 5 MB maximum: 5245872 bytes"),
        "messages.1.con",
    ),
    (
        anthropic(
            "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: "
            "toolu_01VnCbPKJ7tXq6yV4dL2mN3p. Each `tool_use` block must have a corresponding `tool_result` block."
        ),
        "toolu_01VnCbPKJ7tXq6yV4dL2mN3p",
    ),
    (
        anthropic("tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-z]$'"),
        "tools.0.custom",
    ),
    (anthropic("`temperature` may only be set to 1 when thinking is enabled."), "`temperature` may only"),
    (anthropic("This model does not support assistant message prefill."), "This model does not support"),
    (anthropic("Output blocked by content filtering policy"), "Output blocked by content filtering policy"),
    (anthropic("Could not process image"), "Could not process image"),
    (anthropic('messages: roles must alternate between "user" and "assistant"'), "messages: roles must alternate"),
    (anthropic("Request exceeds the maximum size", "request_too_large"), "Request exceeds the maximum size"),
    (anthropic("File not found: file_123", "not_found_error"), "File not found"),
    (
        openai(
            "This model's maximum context length is 128000 tokens.", code="context_length_exceeded", param="messages"
        ),
        "This model's maximum context length is 128000 tokens.",
    ),
    (
        openai(
            "Unsupported parameter: 'max_tokens' is not supported.", code="unsupported_parameter", param="max_tokens"
        ),
        "Unsupported parameter: 'max_tokens'",
    ),
    (
        openai(
            "Invalid schema for function 'get_account': In context=('properties', 'team'), 'x' is required.",
            code="invalid_function_parameters",
            param="tools[0].function.parameters",
        ),
        "Invalid schema for function 'get_account'",
    ),
    (
        openai(
            "Invalid schema for function 'get_account': 'budget' is required.", param="tools[0].function.parameters"
        ),
        "Invalid schema for function 'get_account'",
    ),
    (
        openai("An assistant message with 'tool_calls' must be followed by tool messages.", param="messages"),
        "An assistant",
    ),
    (
        openai(
            "Your request was rejected by the safety system; contact us at help.openai.com.", code="moderation_blocked"
        ),
        "contact us at [address]",
    ),
    (openai("Invalid image.", code="image_dimensions_too_large"), "Invalid image."),
    (
        {"error": {"code": 400, "message": "The input token count exceeds the maximum.", "status": GOOGLES}},
        "The input token count exceeds the maximum.",
    ),
    (
        litellm(
            "litellm.BadRequestError: AnthropicException - "
            + json.dumps(anthropic(TOO_LONG))
            + ". Received Model Group=claude\nAvailable Model Group Fallbacks=None"
        ),
        TOO_LONG,
    ),
    (litellm(f"litellm.BadRequestError: AnthropicException - b'{json.dumps(anthropic(TOO_LONG))}'"), TOO_LONG),
    (
        litellm(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException"
            " - This model's maximum context length is 8192 tokens.. Received Model Group=gpt"
        ),
        "This model's maximum context length is 8192 tokens",
    ),
    (
        litellm(
            "litellm.BadRequestError: Error code: 400 - {'error': {'message': 'litellm.BadRequestError: "
            'AnthropicException - {"type":"error","error":{"type":"invalid_request_error","message":"'
            + TOO_LONG
            + '"}}No fallback model group found for original model_group=claude. '
            "Fallbacks=[{\\'q\\': [\\'r\\']}]', 'type': None, 'param': None, 'code': '400'}}"
        ),
        TOO_LONG,
    ),
    (
        litellm(
            'litellm.BadRequestError: VertexAIException BadRequestError - {\n  "error": {\n    "code": 400,\n    '
            '"message": "The input token count exceeds the maximum.",\n    "status": "INVALID_ARGUMENT"\n  }\n}\n'
        ),
        "The input token count exceeds the maximum.",
    ),
    (
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": json.dumps(anthropic("messages.0.content: not a list")),
                    "provider_name": "Anthropic",
                },
            },
            "user_id": "user_2abc",
        },
        "messages.0.content: not a list",
    ),
    (
        {"error": {"message": "This endpoint's maximum context length is 200000 tokens. Reduce it.", "code": 400}},
        "This endpoint's maximum context length",
    ),
    (openai("Range of input length should be [1, 30720]", code="invalid_parameter_error"), "Range of input length"),
    (openai("Invalid request: Your request exceeded model token limit: 8192"), "exceeded model token limit"),
    (
        {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072."},
        "This model's maximum prompt length is 131072.",
    ),
    (
        {"object": "error", "message": {"detail": [{"loc": ["body", "top_p"], "msg": "Too large"}]}, "type": INVALID},
        "top_p: Too large",
    ),
    (
        {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required", "type": "missing"}]},
        "messages.0.content: Field required",
    ),
    (
        {"object": "error", "message": "The context length is 4096 tokens.", "type": "BadRequestError", "code": 400},
        "The context length is 4096 tokens.",
    ),
]


@pytest.mark.parametrize(("answer", "part"), ABOUT_THE_REQUEST, ids=lambda value: str(value)[:60])
def test_an_error_about_the_request_passes(answer: Any, part: str) -> None:
    reported = passing_error(answer)
    assert reported is not None
    assert part in reported.message
    for of_the_operator in ("litellm", "Exception", "Model Group", "req_011", "Fallbacks"):
        assert of_the_operator not in reported.message


ABOUT_THE_OPERATOR = [
    anthropic("You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."),
    anthropic("This organization has been disabled."),
    anthropic("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
    anthropic("The long context beta is not yet available for this subscription."),
    anthropic("tools: Web search is not enabled for this organization."),
    anthropic("model: claude-9", "not_found_error"),
    anthropic("Overloaded", "overloaded_error"),
    anthropic("messages: invalid x-api-key", "authentication_error"),
    openai("Invalid API key: sk-abc123def456"),
    openai("Incorrect API key provided: sk-proj-****abcd.", code="invalid_api_key"),
    openai("messages: invalid", code="invalid_api_key", param="messages"),
    openai("The project `proj_abc` does not have access to model `gpt-5`.", code="model_not_found"),
    openai("The model `x` does not exist or you do not have access to it.", code="model_not_found"),
    openai("You exceeded your current quota.", "insufficient_quota", code="insufficient_quota"),
    openai("Billing hard limit has been reached", code="billing_hard_limit_reached"),
    openai("Country, region, or territory not supported", code="unsupported_country_region_territory"),
    openai("Number of input tokens exceeds your daily allowance"),
    openai("Your input prompts are limited by your plan"),
    openai("", code="context_length_exceeded", kind="budget_exceeded"),
    litellm("ExceededBudget: User=u1 over budget. Spend=1.0, Budget=0.9", "budget_exceeded"),
    litellm("ExceededBudget: Spend=0.0, Budget=-1e-05"),
    litellm("Budget has been exceeded! Current cost: 10.01, Max budget: 10.0"),
    litellm("key not allowed to access model. This key can only access models=['a'].", "key_model_access_denied"),
    litellm("key not allowed to access model. This key can only access models=['messages']. Tried to access b"),
    litellm("Authentication Error, Invalid proxy server token passed. Received API Key = sk-...abcd"),
    litellm("/chat/completions: Invalid model name passed in model=gpt-9. See the models for your key."),
    litellm("litellm.APIConnectionError: HTTPConnectionPool(host='litellm-db', port=5432): Max retries exceeded"),
    litellm('litellm.BadRequestError: AnthropicException - {"type":"error","error":{"type":"invalid_request_error",'
            '"message":"Your credit balance is too low"}}'),
    {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": GOOGLES}},
    {"error": "Team=3A over budget. Spend=51, Budget=50"},
    {"detail": "Unauthorized"},
    {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
    {"code": "The caller has no permission", "error": "Your team has used all available credits of its prompts."},
    openai("Request too large: token limit per minute reached"),
    {"detail": [{"loc": ["header", "x-team"], "msg": "Field required"}]},
    {"message": "no healthy upstream"},
    {"error": {}},
    {"error": {"message": None}},
    {"error": 5},
    {},
]  # fmt: skip


@pytest.mark.parametrize("answer", ABOUT_THE_OPERATOR, ids=lambda value: str(value)[:80])
def test_whatever_is_not_clearly_about_the_request_stays_inside(answer: Any) -> None:
    assert passing_error(answer) is None


def test_what_clients_go_by_is_kept() -> None:
    reported = passing_error(openai("The messages are too long.", code="context_length_exceeded", param="messages"))
    assert reported == ReportedError("The messages are too long.", INVALID, "context_length_exceeded", "messages")
    assert passing_error(anthropic(TOO_LONG)) == ReportedError(TOO_LONG, INVALID)


MASKED = [
    ("see https://litellm.internal.corp:4000/x?y=1 now", "see [address] now"),
    ("redis://user:pw@cache:6379/0", "[address]"),
    ("at 10.0.0.5:8080, and 2001:db8::1", "at [address], and [address]"),
    ("gateway.us-east-1.elb.amazonaws.com", "[address]"),
    ("localhost:4000 or redis-master:6379", "[address] or [address]"),
    ("mail ops@corp.example", "mail [address]"),
    ("key sk-ant-api03-abcDEF_1-9 used", "key [key] used"),
    ("key sk-...wxyz", "key [key]"),
    ("sk-proj-****abcd", "[key]"),
    ("Bearer abcdef12345", "[key]"),
    ("AKIAIOSFODNN7EXAMPLE", "[key]"),
    ("0123456789abcdef0123456789abcdef", "[key]"),
    ("dGhpcyBpcyBhIHRlc3QgMTIzNDU2Nzg5MA==", "[key]"),
    ("6e1ddf3c-1b1a-4c6a-9d2e-0123456789ab", "[key]"),
    ("org-a1b2c3d4e5 and proj_a1b2c3d4e5", "[id] and [id]"),
]
KEPT = [
    "messages.0.content: x",
    "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    "gpt-4.1 and claude-3.5-sonnet v1.2.3",
    "claude-sonnet-4-5-20250929",
    "fine-grained-tool-streaming-2025-05-14",
    "toolu_01VnCbPKJ7tXq6yV4dL2mN3p and call_AbC123dEf456GhI789jKl012",
    "5245872 bytes > 5242880 bytes, 208310 tokens > 200000",
    "max_tokens:9000",
    "data:image/png;base64",
]


@pytest.mark.parametrize(("text", "masked"), [*MASKED, *((text, text) for text in KEPT)])
def test_keys_and_addresses_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_long_message_is_cut_and_no_key_with_it() -> None:
    text = "messages.0.content: " + "x" * (LONGEST_MESSAGE - 30) + " sk-" + "abc1" * 20
    reported = passing_error(anthropic(text))
    assert reported is not None
    assert len(reported.message) <= LONGEST_MESSAGE
    assert "abc1" not in reported.message


def test_an_error_in_an_error_in_an_error_is_read_and_no_deeper_than_needed() -> None:
    answer = anthropic(TOO_LONG)
    for _ in range(4):
        answer = openai(f"litellm.BadRequestError: OpenAIException - {json.dumps(answer)}", None)
    assert read_error(answer) == ReportedError(TOO_LONG, INVALID)
    for _ in range(50):
        answer = openai(f"again - {json.dumps(answer)[:5000]}")
    assert read_error(answer) is not None


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.just("{'a': {'b'"), st.just('{"error":')
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "message", "type", "code", "param", "detail", "metadata", "raw", "loc", "msg"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["error", "detail", "message", "type"]), values, max_size=3))
def test_no_error_is_too_odd(answer: dict[str, Any]) -> None:
    passing_error(answer)


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "a." * 25_000, "{" * 50_000, "'" * 50_000, "[" * 50_000, " \n" * 25_000]
)
def test_a_hostile_message_takes_no_time(text: str) -> None:
    passing_error(anthropic(f"messages: {text}"))
    passing_error(anthropic(f'messages: {{"error": {text}'))
