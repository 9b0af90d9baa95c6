"""What upstreams answer beyond the documented: what the client gets, and what is billed. Raw bytes over real sockets.

The model is Haiku on OpenHands: 1 / 5 / 1.25 / 0.1 USD a million tokens, an hour's cache writes at 2, x 1.05.
"""

import json
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from proxy.models import IdempotentRequest, RequestLog
from tests.factories import InsertUser
from tests.processes import wait_for
from tests.proxy.raw_upstream import Piece, RawUpstream, events, http_answer
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

HAIKU = "claude-haiku-4-5-20251001"
SSE = "text/event-stream"
SECRETS = ("sk-", "upstream-key", "organization", "budget", "litellm", "internal", "team")
"""What of the operator's never reaches a client, in the answers of these tests."""
SEVEN_HUNDRED = "word " * 140
LONG = SEVEN_HUNDRED * 40
"""A request that holds enough for every usage here."""


def completion(usage: object, *, text: str = "Hello there", **members: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    frame = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": HAIKU}
    return {**frame, "choices": [choice], "usage": usage, **members}


def message(usage: object, *, text: str = "Hello there", **members: Any) -> dict[str, Any]:
    frame = {"id": "msg_1", "type": "message", "role": "assistant", "model": HAIKU, "stop_reason": "end_turn"}
    return {**frame, "content": [{"type": "text", "text": text}] if text else [], "usage": usage, **members}


def chunk(delta: object = None, *, stop: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": stop}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": HAIKU, "choices": [choice], **members}


def usage_chunk(usage: object, **members: Any) -> dict[str, Any]:
    return {**chunk(), "choices": [], "usage": usage, **members}


def chat_stream(*last: object, text: str = "Hello there") -> bytes:
    return events(chunk({"role": "assistant", "content": ""}), chunk({"content": text}), chunk(stop="stop"), *last)


def message_stream(
    first: object,
    *deltas: object,
    text: str = "Hello there",
    stop: str = "end_turn",
    named: bool = True,
    last: tuple[object, ...] = ({"type": "message_stop"},),
) -> bytes:
    start = {"type": "message", "role": "assistant", "model": HAIKU, "content": [], "stop_reason": None, "usage": first}
    text_events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
    ]
    return events(
        {"type": "message_start", "message": start},
        *(text_events if text else []),
        *({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage} for usage in deltas),
        *last,
        named=named,
    )


def cost(**tokens: int) -> Decimal:
    """USD of tokens by kind, on Haiku."""
    prices = {"input": "1", "output": "5", "write": "1.25", "read": "0.1", "hour": "2"}
    return sum((Decimal(prices[kind]) * count for kind, count in tokens.items()), Decimal(0)) * Decimal("1.05") / 10**6


@dataclass(frozen=True)
class Row:
    """One answer, and how it ends. `cost` None: estimated, which is more than 0 and not above the hold."""

    name: str
    answer: Piece | tuple[Piece, ...]
    path: str = CHAT
    is_stream: bool = False
    status: int = 200
    cost: Decimal | None = Decimal(0)
    has_problem: bool = False
    has: tuple[str, ...] = ()
    has_not: tuple[str, ...] = ()
    content_type: str = "application/json"
    request: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    own_words: tuple[str, ...] = ()
    """Of `SECRETS`, what may stand in this answer after all: it is the client's."""


def plain(name: str, answer: Any, **fields: Any) -> Row:
    return Row(name, http_answer(answer), **fields)


def streamed(name: str, answer: bytes, label: str | None = SSE, **fields: Any) -> Row:
    return Row(
        name,
        http_answer(answer, content_type=label, **fields.pop("labels", {})),
        **{"is_stream": True, "content_type": SSE, **fields},
    )


def each_way(name: str, body: bytes | str | object, **fields: Any) -> list[Row]:
    """A body that is none, to a plain request and to one for a stream, in both formats."""
    return [
        Row(f"{name}, {path}, {'streamed' if is_stream else 'plain'}", http_answer(body), path, is_stream, **fields)
        for path in (CHAT, MESSAGES)
        for is_stream in (False, True)
    ]


PLAIN_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
PLAIN_COST = cost(input=100, output=20)
LARGE = 1_200_000
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
BUDGET = {"error": {"message": "ExceededBudget: team=x over budget", "type": "budget_exceeded", "code": "400"}}
TOO_LONG = {"error": {"message": "prompt is too long: 9 > 8", "type": "invalid_request_error", "code": None}}

NOTHING = [
    *each_way("an error in a 200", BUDGET, status=502),
    *each_way("an error about the request in a 200", TOO_LONG, status=502, has_not=("too long",)),
    *each_way("Anthropic's error in a 200", OVERLOADED, status=502),
    *each_way("a detail in a 200", {"detail": "Team sk-1 has no budget"}, status=502),
    *each_way("an empty object", {}, status=502),
    *each_way("no choices", {"choices": [], "content": [], "usage": None}, status=502),
    *each_way("null for choices", {"choices": None, "content": None, "base_resp": {"status_code": 1004}}, status=502),
    *each_way("nothing", b"", status=502),
    *each_way("space", b" \n\n ", status=502),
    *each_way("HTML", "<html><body>Sign in to litellm</body></html>", status=502),
    *each_way("a list", [{"choices": []}], status=502),
    *each_way("text", "OK", status=502),
    *each_way("no bytes that are text", b"\xff\xfe\x00\x01" * 50, status=502),
    *each_way("half of an object", b'{"choices": [{"message"', status=502),
    *each_way("1.2 MB of HTML", "<p>" + "x" * LARGE, status=502),
    *each_way("1.2 MB of an error", {"error": {"message": "x" * LARGE}}, status=502),
    *each_way("1.2 MB of a detail", {"detail": "x" * LARGE}, status=502),
    *each_way("1.2 MB beside nothing", {"choices": [], "content": [], "pad": "x" * LARGE}, status=502),
    *each_way("1.2 MB of NUL", b"\0" * LARGE, status=502),
    plain("a choice without a message", completion(None, choices=[{"index": 0}]), status=502),
    plain("an empty message", completion(None, choices=[{"message": {"role": "assistant"}}]), status=502),
    plain(
        "a reason to stop that is an error",
        completion(PLAIN_USAGE, choices=[{"message": {"content": "x"}, "finish_reason": "error"}]),
        status=502,
    ),
    plain(
        "an error in a choice that says so",
        completion(PLAIN_USAGE, choices=[{"message": {"content": "x"}, "error": {"code": 502}}]),
        status=502,
    ),
    streamed("an error as the first event", events(BUDGET), status=502, content_type="application/json"),
    streamed("only the end", events("[DONE]"), status=502, content_type="application/json"),
    streamed(
        "Anthropic's error as the first event",
        events(OVERLOADED, named=True),
        path=MESSAGES,
        status=502,
        content_type="application/json",
    ),
    streamed("garbage as the first event", events("hello litellm"), status=502, content_type="application/json"),
    streamed(
        "a comment and the end", b": litellm is waiting\n\n", has=('"code": "upstream_error"',), own_words=("litellm",)
    ),
    streamed(
        "chunks that say nothing",
        events({**chunk(), "choices": [], "usage": None}, "[DONE]"),
        status=502,
        content_type="application/json",
    ),
    Row(
        "chunks that say nothing, one by one",
        (
            http_answer(b"", content_type=SSE).replace(b"Content-Length: 0\r\n", b""),
            events({**chunk(), "choices": [], "usage": None}),
            0.2,
            events("[DONE]"),
        ),
        is_stream=True,
        content_type=SSE,
        has=("upstream_error",),
        has_not=("[DONE]",),
    ),
]

STREAMS = [
    *(
        streamed(f"labelled {label}", chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]"), label, cost=PLAIN_COST)
        for label in ("text/plain", None, "application/json", "Text/Event-Stream", "application/octet-stream")
    ),
    streamed(
        "Content-Encoding: none",
        chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]"),
        labels={"Content_Encoding": "none"},
        cost=PLAIN_COST,
    ),
    Row(
        "plain with Content-Encoding: none",
        http_answer(completion(PLAIN_USAGE), Content_Encoding="none"),
        cost=PLAIN_COST,
    ),
    streamed(
        "behind a byte order mark", b"\xef\xbb\xbf" + chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]"), cost=PLAIN_COST
    ),
    streamed("behind empty lines", b"\n\n" + chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]"), cost=PLAIN_COST),
    Row(
        "in the smallest pieces",
        (
            http_answer(b"", content_type=SSE).replace(b"Content-Length: 0\r\n", b""),
            *(bytes([byte]) for byte in chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]")[:200]),
            chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]")[200:],
        ),
        is_stream=True,
        content_type=SSE,
        cost=PLAIN_COST,
    ),
    streamed(
        "events to a plain request",
        chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]"),
        is_stream=False,
        status=502,
        has_problem=True,
        content_type="application/json",
        headers={"x-should-retry": "false"},
    ),
    streamed(
        "1.2 MB of events to a plain request",
        chat_stream(usage_chunk(PLAIN_USAGE), "[DONE]", text="x" * LARGE),
        "application/json",
        is_stream=False,
        status=502,
        has_problem=True,
        content_type="application/json",
        headers={"x-should-retry": "false"},
    ),
    plain("a plain answer to a request for a stream", completion(PLAIN_USAGE), is_stream=True, cost=PLAIN_COST),
    plain(
        "a message to a request for a stream",
        message({"input_tokens": 100, "output_tokens": 20}),
        path=MESSAGES,
        is_stream=True,
        cost=PLAIN_COST,
    ),
    streamed("no [DONE]", chat_stream(usage_chunk(PLAIN_USAGE)), cost=PLAIN_COST, has_not=("error",)),
    streamed("no [DONE] and no usage", chat_stream(), cost=None, has_problem=True, has_not=("error",)),
    streamed(
        "no [DONE] and no blank line", chat_stream(usage_chunk(PLAIN_USAGE))[:-2], cost=PLAIN_COST, has_not=("error",)
    ),
    streamed(
        "message_stop in the data alone",
        message_stream({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 20}, named=False),
        path=MESSAGES,
        cost=PLAIN_COST,
        has_not=("error",),
    ),
    streamed(
        "no message_stop",
        message_stream({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 20}, last=()),
        path=MESSAGES,
        cost=PLAIN_COST,
        has_not=("error",),
    ),
    streamed(
        "cut in the middle of an event",
        events(chunk({"content": SEVEN_HUNDRED})) + b'data: {"choices": [{"del',
        cost=None,
        has_problem=True,
        has=('\n\ndata: {"error": ',),
        has_not=('"del\n', '"del"'),
    ),
    streamed(
        "cut in the middle of a huge event",
        events(chunk({"content": "x"})) + b'data: {"choices": [{"delta": {"content": "' + b"y" * LARGE,
        cost=None,
        has_problem=True,
        has=('y\n\ndata: {"error": ',),
    ),
    streamed(
        "the operator's error in the middle",
        events(chunk({"content": SEVEN_HUNDRED}), BUDGET),
        cost=None,
        has_problem=True,
        has=("upstream_error", "You pay for what you received"),
    ),
    streamed(
        "an error about the request in the middle",
        events(chunk({"content": SEVEN_HUNDRED}), TOO_LONG, "[DONE]"),
        cost=None,
        has_problem=True,
        has=("prompt is too long: 9 > 8",),
        has_not=("You pay for",),
    ),
    streamed(
        "an error about the request at the start",
        events(
            {"error": {"message": "litellm.BadRequestError: AnthropicException - prompt is too long", "code": "400"}}
        ),
        has=('"message": "prompt is too long"',),
    ),
    streamed(
        "a detail in the middle",
        events(chunk({"content": SEVEN_HUNDRED}), {"detail": "team sk-1 has no budget"}),
        cost=None,
        has_problem=True,
        has=("upstream_error",),
    ),
    streamed(
        "Anthropic's error in the middle",
        message_stream({"input_tokens": 100, "output_tokens": 1}, text=SEVEN_HUNDRED, last=(OVERLOADED,)),
        path=MESSAGES,
        cost=cost(input=100, output=175),
        has_problem=True,
        has=("upstream_error",),
        has_not=("verloaded",),
    ),
]

LITELLM_USAGE = {**PLAIN_USAGE, "cost": 3.5e-05, "cost_details": {"upstream_inference_cost": 1}, "is_byok": False}
HIDDEN = [
    streamed(
        "LiteLLM's usage chunk, not asked for",
        chat_stream(chunk(usage=LITELLM_USAGE), "[DONE]"),
        cost=PLAIN_COST,
        has=("[DONE]",),
        has_not=("usage", "cost", "byok"),
    ),
    streamed(
        "LiteLLM's usage chunk, asked for",
        chat_stream(chunk(usage=LITELLM_USAGE), "[DONE]"),
        request={"stream_options": {"include_usage": True}},
        cost=PLAIN_COST,
        has=('"usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}',),
        has_not=("cost", "byok"),
    ),
    plain(
        "costs in a plain answer",
        completion(LITELLM_USAGE, _hidden_params={"api_base": "http://x"}, text="what it cost"),
        cost=PLAIN_COST,
        has=('"usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}', "what it cost"),
        has_not=("cost_details", "byok", "_hidden_params"),
    ),
    plain(
        "costs in a large answer",
        completion(LITELLM_USAGE, text="x" * LARGE),
        cost=PLAIN_COST,
        has_not=("cost", "byok"),
    ),
    Row(
        "LiteLLM's headers",
        http_answer(completion(PLAIN_USAGE), x_litellm_response_cost="0.5", x_litellm_model_api_base="http://x"),
        cost=PLAIN_COST,
        headers={"x-litellm-response-cost": "", "x-litellm-model-api-base": ""},
    ),
]


def told(name: str, usage: Any, expected: Decimal, **fields: Any) -> list[Row]:
    """A usage of a chat, plain, streamed and in a large answer."""
    return [
        plain(f"{name}, plain", completion(usage), cost=expected, **fields),
        streamed(f"{name}, streamed", chat_stream(usage_chunk(usage), "[DONE]"), cost=expected, **fields),
        plain(f"{name}, large", completion(usage, text="x" * LARGE), cost=expected, **fields),
    ]


def told_message(name: str, usage: dict[str, Any], expected: Decimal, **fields: Any) -> list[Row]:
    start = {**usage, "output_tokens": 1}
    options = {"path": MESSAGES, "cost": expected, **fields}
    return [
        plain(f"{name}, plain", message(usage), **options),
        streamed(f"{name}, streamed", message_stream(start, usage), **options),
        plain(f"{name}, large", message(usage, text="x" * LARGE), **options),
    ]


USAGES = [
    *told(
        "xAI: reasoning beside",
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        cost(input=10120, output=4308),
    ),
    *told(
        "OpenAI: reasoning inside",
        {
            "prompt_tokens": 100,
            "completion_tokens": 500,
            "total_tokens": 600,
            "completion_tokens_details": {"reasoning_tokens": 400},
        },
        cost(input=100, output=500),
    ),
    *told(
        "cache reads at the top alone",
        {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020, "cache_read_input_tokens": 900},
        cost(input=100, read=900, output=20),
    ),
    *told(
        "DeepSeek",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 20,
            "total_tokens": 1020,
            "prompt_cache_hit_tokens": 900,
            "prompt_cache_miss_tokens": 100,
        },
        cost(input=100, read=900, output=20),
    ),
    *told(
        "a prompt without the cached tokens",
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 1020,
            "prompt_tokens_details": {"cached_tokens": 900},
        },
        cost(input=100, read=900, output=20),
    ),
    *told(
        "LiteLLM's writes of two lives",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 20,
            "total_tokens": 1020,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_tokens": 900,
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600},
            },
        },
        cost(input=100, write=300, hour=600, output=20),
        request={
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                }
            ]
        },
    ),
    *told("counts as text", {"prompt_tokens": "100", "completion_tokens": 20.0, "total_tokens": "120"}, PLAIN_COST),
    *told("the other format's names", {"input_tokens": 100, "output_tokens": 20}, PLAIN_COST),
    *told(
        "an unexplained total",
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 170},
        cost(input=100, output=70),
        has_problem=True,
    ),
    *told_message(
        "Anthropic's writes of two lives",
        {
            "input_tokens": 100,
            "cache_creation_input_tokens": 900,
            "cache_read_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600},
            "output_tokens": 20,
        },
        cost(input=100, write=300, hour=600, read=50, output=20),
        request={"system": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
    ),
    *told_message(
        "iterations",
        {
            "input_tokens": 100,
            "output_tokens": 20,
            "iterations": [
                {"type": "compaction", "input_tokens": 300, "output_tokens": 40},
                {"type": "message", "input_tokens": 100, "output_tokens": 20},
            ],
        },
        cost(input=400, output=60),
    ),
    streamed("empty usage last", chat_stream(usage_chunk(PLAIN_USAGE), usage_chunk({}), "[DONE]"), cost=PLAIN_COST),
    streamed(
        "zeros last",
        chat_stream(
            usage_chunk(PLAIN_USAGE),
            usage_chunk({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
            "[DONE]",
        ),
        cost=PLAIN_COST,
    ),
    streamed(
        "details last",
        chat_stream(usage_chunk(PLAIN_USAGE), usage_chunk({"prompt_tokens_details": {"cached_tokens": 40}}), "[DONE]"),
        cost=cost(input=60, read=40, output=20),
    ),
    streamed(
        "usage in a choice",
        chat_stream({**chunk(), "choices": [{"index": 0, "delta": {}, "usage": PLAIN_USAGE}]}, "[DONE]"),
        cost=PLAIN_COST,
    ),
    streamed(
        "zeros in message_delta",
        message_stream(
            {"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 1},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 20},
        ),
        path=MESSAGES,
        cost=cost(input=100, read=900, output=20),
        request={"system": LONG},
    ),
    plain(
        "a refusal without output",
        message({"input_tokens": 100, "output_tokens": 0}, text="", stop_reason="refusal"),
        path=MESSAGES,
        has_problem=True,
    ),
    streamed(
        "a streamed refusal without output",
        message_stream({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 0}, text="", stop="refusal"),
        path=MESSAGES,
        has_problem=True,
    ),
    plain(
        "a refusal after output",
        message({"input_tokens": 100, "output_tokens": 20}, stop_reason="refusal"),
        path=MESSAGES,
        cost=PLAIN_COST,
    ),
]

OPUS = {"model": "claude-opus-4-5-20251101"}
MODELS = [
    plain(
        "a dearer model answered",
        completion(PLAIN_USAGE, **OPUS),
        cost=(Decimal(100) * 4 + Decimal(20) * 20) * Decimal("1.02") / 10**6,
        has_problem=True,
    ),
    streamed(
        "a dearer model answered a stream",
        chat_stream(usage_chunk(PLAIN_USAGE, **OPUS), "[DONE]"),
        cost=(Decimal(100) * 4 + Decimal(20) * 20) * Decimal("1.02") / 10**6,
        has_problem=True,
    ),
    plain("another model answered", completion(PLAIN_USAGE, model="gpt-4o-mini"), cost=PLAIN_COST, has_problem=True),
    plain("a dated name answered", completion(PLAIN_USAGE, model="anthropic/claude-4.5-haiku"), cost=PLAIN_COST),
    plain("a deployment answered", completion(PLAIN_USAGE, model="deployment-7"), cost=PLAIN_COST),
]


def refusal(name: str, error: object, *, status: int = 400, passes: str | None = None, **fields: Any) -> list[Row]:
    """An error with a status of its own, in both formats: it passes with this text, or becomes a 502."""
    expected = {"status": status, "has": (passes,)} if passes else {"status": 502, "has": ("upstream_error",)}
    return [
        Row(f"{name}, {path}", http_answer(error, status=status), path, is_stream, **{**expected, **fields})
        for path, is_stream in ((CHAT, False), (MESSAGES, True))
    ]


def anthropic_error(text: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_011CWdepJvA2D819tdYYq4h7"}


REFUSALS = [
    *refusal("usage limits", anthropic_error("You have reached your specified API usage limits.")),
    *refusal("disabled", anthropic_error("This organization has been disabled.")),
    *refusal("budget", BUDGET),
    *refusal("a key", {"error": {"message": "Invalid API key: sk-abcdef123456", "type": "invalid_request_error"}}),
    *refusal(
        "models of a key",
        {
            "error": {
                "message": "key not allowed to access model. This key can only access models=['a']",
                "type": "key_model_access_denied",
                "param": "model",
                "code": "401",
            }
        },
    ),
    *refusal("no JSON", "<html>litellm</html>"),
    *refusal("nothing in it", {}),
    *refusal("a detail", {"detail": "Team has no budget"}),
    *refusal("not found", anthropic_error("model: claude-haiku", "not_found_error"), status=404),
    *refusal(
        "prompt is too long",
        anthropic_error("prompt is too long: 208310 tokens > 200000 maximum"),
        passes="prompt is too long: 208310 tokens > 200000 maximum",
        has_not=("req_011",),
    ),
    *refusal(
        "LiteLLM around it",
        {
            "error": {
                "message": "litellm.BadRequestError: AnthropicException - "
                + json.dumps(anthropic_error("prompt is too long: 9 tokens > 8 maximum"))
                + ". Received Model Group=claude\nAvailable Model Group Fallbacks=None",
                "type": None,
                "param": None,
                "code": "400",
            }
        },
        passes="prompt is too long: 9 tokens > 8 maximum",
        has_not=("Model Group",),
    ),
    *refusal(
        "a validator",
        {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required", "type": "missing"}]},
        status=422,
        passes="messages.0.content: Field required",
    ),
    *refusal(
        "keys and hosts in what passes",
        {
            "error": {
                "message": "image_url: cannot be fetched through 10.1.2.3:4000 or "
                "https://litellm.internal/x with Bearer sk-abc123",
                "type": "invalid_request_error",
                "param": "messages",
            }
        },
        passes="image_url: cannot be fetched",
        has_not=("10.1.2.3", "Bearer"),
    ),
    *refusal("too large", "<html>nginx</html>", status=413, passes="it is too large"),
    *refusal("of the operator by its status", anthropic_error("messages: no"), status=403),
]

ROWS = [*NOTHING, *STREAMS, *HIDDEN, *USAGES, *MODELS, *REFUSALS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_answer_ends_as_it_should(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, row: Row
) -> None:
    insert_user("alice", creditsNew=1)
    request = chat(LONG, **{"max_tokens": 5000, "stream": row.is_stream, **row.request})
    assert_ends_as_it_should(raw_server, raw_upstream, row, request)


def assert_ends_as_it_should(server: Server, upstream: RawUpstream, row: Row, request: dict[str, Any]) -> None:
    """What the client gets of a row's answer, and what `alice`, who has $1, pays for it."""
    upstream.play(*(row.answer if isinstance(row.answer, tuple) else (row.answer,)))

    response = post(server, request, path=row.path)

    text = response.data.decode(errors="replace")
    assert response.status == row.status, text[:300]
    assert response.headers["Content-Type"] == row.content_type
    for part in row.has:
        assert part in text
    for part in (*row.has_not, *(secret for secret in SECRETS if secret not in row.own_words)):
        assert part not in text
    for name, value in row.headers.items():
        assert response.headers.get(name, "") == value
    if row.status == 502:
        assert json.loads(text)["error"]["code"] == "upstream_error"
        assert "You were not charged" in text
    elif row.content_type == "application/json":
        assert json.loads(text)
    log = wait_for(RequestLog.objects.first)
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    if row.cost is None:
        assert 0 < log.cost <= log.hold
    else:
        assert log.cost == row.cost
    assert log.uncollected == 0
    assert bool(log.usage_problem) == row.has_problem, log.usage_problem
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert len(upstream.requests) == 1
    assert_reconciles()


@pytest.mark.parametrize("body", [BUDGET, {}, "<html>", "<p>" + "x" * LARGE, b""], ids=lambda body: str(body)[:20])
def test_what_is_no_answer_gives_the_idempotency_key_back(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, body: object
) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(body))
    assert post(raw_server, chat(), headers={"Idempotency-Key": "k"}).status == 502
    assert not IdempotentRequest.objects.exists()
    raw_upstream.play(http_answer(completion(LITELLM_USAGE)))
    first = post(raw_server, chat(), headers={"Idempotency-Key": "k"})
    again = post(raw_server, chat(), headers={"Idempotency-Key": "k"})
    assert (first.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert first.data == again.data
    assert b"cost" not in again.data
    assert_reconciles()


def test_a_stream_to_a_plain_request_is_not_read_to_its_end(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    head = http_answer(b"", content_type="application/json").replace(b"Content-Length: 0\r\n", b"")
    raw_upstream.play(head, events(chunk({"content": "x"})), 3.0, events("[DONE]"))
    started = time.monotonic()
    assert post(raw_server, chat()).status == 502
    assert time.monotonic() - started < 2


def test_a_count_of_tokens_is_one_or_a_502(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    for body, status in (({"input_tokens": 7}, 200), (BUDGET, 502), ({}, 502), ("<html>", 502)):
        raw_upstream.play(http_answer(body))
        assert post(raw_server, chat(), path=f"{MESSAGES}/count_tokens").status == status


def test_no_secret_of_the_operator_is_in_the_log_of_the_server(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    for answer in (
        http_answer({"error": {"message": "Invalid API key: sk-abcdef777777"}}, status=401),
        http_answer({"error": {"message": "Invalid API key: sk-abcdef777777"}}),
        http_answer(events({"error": {"message": "Invalid API key: sk-abcdef777777"}}), content_type=SSE),
    ):
        raw_upstream.play(answer)
        assert post(raw_server, chat(stream=True)).status == 502
    assert "Invalid API key: [key]" in raw_server.log()
    assert "abcdef777777" not in raw_server.log()
