"""Which errors of an upstream a client is told, and how: decided by what may pass, never by what may not. Pure.

An error about the request passes, because clients and agents act on it ("prompt is too long"). Whatever is not clearly
about the request is about the operator's keys, accounts, budgets and servers until somebody shows otherwise, and
becomes our own `upstream_error`. Nothing passes as it is: the error is written anew from its type, code, member and
message, and what looks like a key or an address is masked in them.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.formats.json_body import JsonObject

PASSED_STATUSES = frozenset((400, 404, 413, 422))
"""Statuses of refusals that can be about the request."""
LONGEST_MESSAGE = 2000
"""Characters that are told, and a few more that are read, so that no key is cut in half before it is masked."""
LONGEST_READ = LONGEST_MESSAGE + 500
MOST_NAMES = 12
"""Of exceptions in front of a message."""
DEEPEST = 5
"""Errors within the text of errors: a gateway behind a gateway quotes what it was reported."""


@dataclass(frozen=True)
class ReportedError:
    """One error as an upstream reported it, with the names that its kind has."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


TYPES = frozenset(
    (
        # Both vendors' own, LiteLLM's and vLLM's exceptions, and Google's. None: gateways lose the type.
        *(None, "None", "", "invalid_request_error", "request_too_large", "BadRequestError", "bad_request_error"),
        *("ContextWindowExceededError", "ContentPolicyViolationError", "UnprocessableEntityError", "invalid_request"),
        *("not_found_error", "NotFoundError", "Bad Request", "BadRequest", "INVALID_ARGUMENT", "ValidationException"),
        *("validation_error", "image_generation_user_error"),
    )
)
"""Types that an error about a request has. Errors about the operator often have the first one too."""
CODES = frozenset(
    (
        *("context_length_exceeded", "string_above_max_length", "string_below_min_length", "array_above_max_length"),
        *("array_below_min_length", "empty_array", "empty_string", "invalid_type", "invalid_value", "invalid_json"),
        *("invalid_prompt", "missing_required_parameter", "unknown_parameter", "unsupported_parameter"),
        *("unsupported_value", "integer_above_max_value", "integer_below_min_value", "decimal_above_max_value"),
        *("decimal_below_min_value", "invalid_base64", "invalid_base64_image", "invalid_image", "invalid_image_url"),
        *("invalid_image_format", "invalid_image_size", "image_parse_error", "image_too_large", "image_too_small"),
        *("unsupported_image_media_type", "empty_image_file", "image_content_policy_violation", "content_filter"),
        *("content_policy_violation", "moderation_blocked", "invalid_json_schema", "invalid_function_parameters"),
        *("invalid_schema", "json_validate_failed", "tool_use_failed", "request_too_large", "max_tokens_exceeded"),
        *("prompt_too_long", "content_too_large", "unsupported_file_type", "invalid_file_data", "invalid_encoding"),
    )
)
"""Codes that say by themselves that an error is about the request."""
MEMBERS = frozenset(
    (
        *("messages", "system", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "max_output_tokens"),
        *("temperature", "top_p", "top_k", "min_p", "stop", "stop_sequences", "thinking", "reasoning", "n", "seed"),
        *("reasoning_effort", "response_format", "output_format", "output_config", "stream", "stream_options"),
        *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "functions"),
        *("function_call", "parallel_tool_calls", "modalities", "audio", "prediction", "verbosity", "input"),
        *("cache_control", "context_management", "content", "prompt", "role", "tool_calls", "tool_call_id"),
        *("tool_use", "tool_result", "tool_use_id", "budget_tokens", "image", "image_url", "source", "name"),
        *("dimensions", "encoding_format", "suffix", "echo", "best_of"),
        *("json_schema", "input_schema", "parameters", "body", "text", "json", "assistant", "user", "document"),
    )
)
"""Members of a request that an error can be about. Not `model` or `service_tier`: which of those the operator may use
is between the operator and the upstream.
"""

_PATH = re.compile(r"\W*(?:body\W+)?([a-z_]+)(?:[.\[][\w.\[\]-]*)?\s*:")
"""What errors about a request begin with: `messages.0.content: …`, `max_tokens: …`."""
_QUOTED = re.compile(r"[`'\"“]([^`'\"”]{1,200})[`'\"”]")
_ABOUT_THE_REQUEST = re.compile(
    r"\b(?:prompt|inputs?|outputs?|messages?|context (?:length|window|limit|size)|max_tokens|(?:in|out)put tokens?"
    r"|max(?:imum)? (?:number of )?tokens|tokens? (?:requested|in the|limit|count)|system prompt|images?|pixels"
    r"|documents?|pdfs?|pages|audio|files?"
    r"|tools?|functions?|schemas?|json|base64|media[_ ]type|mime ?type|parameters?|arguments?|fields?|propert(?:y|ies)"
    r"|values?|string|array|integer|content (?:policy|filter|filtering|management|block|parts?)|safety|roles?"
    r"|conversation|temperature|top_p|stop sequences?|response_format|thinking|reasoning|prefill|characters"
    r"|request body|extra inputs|utf-?8|surrogates?|image_url|tool_use|tool_result|tool_choice|tool calls?)\b",
    re.IGNORECASE,
)
_ABOUT_THE_OPERATOR = re.compile(
    r"\b(?:(?:api|your|this|the|virtual|access|invalid|service|secret|private)[ _-]?keys?|keys? (?:not|is|was|has|can"
    r"|does|alias|hash|name|limit)|key=|credentials?|authenti\w*|authori[sz]\w*|auth|accounts?|organi[sz]ations?|workspaces?"
    r"|projects?|teams?|tenants?|admin\w*|billing|billed|budgets?|quotas?|credits?|balance|payments?|plans?"
    r"|subscriptions?|spend\w*|cost|usage limits?|limits? (?:reached|will)|rate[_ -]limits?|tiers?|tpm|rpm|allowances?"
    r"|daily|weekly|monthly|per (?:minute|hour|day|month)|exceeded your|permissions?|access|allow-?list\w*|entitle\w*"
    r"|suspended|deactivated|banned|expired|regain|upgrade|purchase|contact|sales|licen[cs]es?|contracts?|invoices?"
    r"|trial|deployments?|router|routing|fallbacks?|hosts?|hostname|connections?|proxy|gateway|region|country|database"
    r"|redis|postgres\w*|internal|exception|traceback|model group|models=)(?!\w)",
    re.IGNORECASE,
)
"""Words of errors about the operator. They only ever keep back what the first expression would let pass."""

# --- What errors look like, and what is quoted in them ---------------------------------------------------------------

_PREFIX = re.compile(
    r"\s*(?:error code: \d{3}\s*-|[\w.]{0,80}[a-z](?:Error|Exception)\b\s{0,9}[:-]?)\s*", re.IGNORECASE
)
_SUFFIX = re.compile(
    r"(?<![\s.,;])[\s.,;]*+(?:Received Model Group|Available Model Group|No fallback model group|LiteLLM Retried|"
    r"Error doing the fallback|Enable \\?'litellm|Deployment Info|\(request id:|Request ID:|Trace ID:).*",
    re.DOTALL | re.IGNORECASE,
)


def read_error(answer: JsonObject) -> ReportedError | None:
    """The innermost error that an answer reports; None if it reports none that can be read."""
    reported = _reported(answer)
    for _ in range(DEEPEST):
        if reported is None:
            return None
        inner = _quoted_error(reported.message)
        if inner is None:
            break
        reported = ReportedError(
            inner.message, inner.type or reported.type, inner.code or reported.code, inner.param or reported.param
        )
    if reported is None:
        return None
    return ReportedError(_bare(reported.message[:LONGEST_READ]), reported.type, reported.code, reported.param)


def _reported(answer: JsonObject) -> ReportedError | None:
    error: Any = answer.get("error")
    if error is None and isinstance(answer.get("detail"), list):
        return _reported_by_validator(answer["detail"])
    if error is None:
        error = answer if "message" in answer else answer.get("detail")
    if isinstance(error, str):
        return ReportedError(error, _text(answer.get("type")) if answer.get("type") != "error" else None)
    if not isinstance(error, dict):
        return None
    raw = (error.get("metadata") or {}).get("raw") if isinstance(error.get("metadata"), dict) else None
    message = raw if isinstance(raw, str) and raw else error.get("message")  # OpenRouter quotes the vendor in `raw`.
    if not isinstance(message, str):
        return _reported(message) if isinstance(message, dict) else None
    kind = error.get("type") if error.get("type") is not None else error.get("status")
    if error is answer and kind == "error":  # The type of an event of the Responses format, which tells its error so.
        kind = None
    return ReportedError(message, _text(kind), _text(error.get("code")), _text(error.get("param")))


def _reported_by_validator(details: list[Any]) -> ReportedError | None:
    """FastAPI's list of what is wrong with a body, with the path of each member."""
    texts, param = [], None
    for detail in details[:10]:
        if not isinstance(detail, dict) or not isinstance(detail.get("loc"), list | tuple):
            return None
        path = [str(step) for step in detail["loc"]]
        if path[:1] != ["body"] or not path[1:]:
            return None  # About a header or the address, which are ours.
        param = param or ".".join(path[1:])
        texts.append(f"{'.'.join(path[1:])}: {detail.get('msg')}")
    return ReportedError("; ".join(texts), "invalid_request_error", None, param) if texts else None


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _quoted_error(message: str) -> ReportedError | None:
    """The error that a message quotes as JSON, or as Python writes it."""
    start = message.find("{")
    if start < 0 or len(message) > 100_000:
        return None
    for value in _objects_in(message[start:]):
        reported = _reported(value)
        if reported is not None and reported.message != message:
            return reported
    return None


def _objects_in(text: str) -> Iterator[JsonObject]:
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        yield value
    for end in [match.end() for match in re.finditer("}", text[:20_000])][:-6:-1]:
        try:
            value = ast.literal_eval(text[:end])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
            return


def _bare(message: str) -> str:
    """A message without what gateways put before and behind it."""
    message = _SUFFIX.sub("", message)
    for _ in range(MOST_NAMES):
        found = _PREFIX.match(message)
        if found is None:
            break
        message = message[found.end() :]
    return message.strip()


# --- Whether an error may pass ----------------------------------------------------------------------------------------


def is_about_the_request(error: ReportedError) -> bool:
    """Whether an error is clearly about the request: by its code, its member, or what its message says."""
    if error.type == "request_too_large" or (error.type in TYPES and error.code in CODES):
        return True
    if error.type not in TYPES or not _is_code_of_a_request(error.code):
        return False
    # What a message quotes is the client's: a tool may be called `get_account`. An address may have any words in it.
    if _ABOUT_THE_OPERATOR.search(mask(_QUOTED.sub(" ", error.message))):
        return False
    path = _PATH.match(error.message)
    names = {re.split(r"[.\[\s]", name)[0] for name in _QUOTED.findall(error.message)}
    names |= {re.split(r"[.\[]", error.param)[0]} if error.param else set()
    names |= {path[1]} if path else set()
    return not MEMBERS.isdisjoint(names) or _ABOUT_THE_REQUEST.search(error.message) is not None


def _is_code_of_a_request(code: str | None) -> bool:
    """Whether a code that is not known by itself leaves open that the error is about the request."""
    if code is None or code.isdigit() or code.lower() in _SAYS_NOTHING:
        return True
    words = re.sub(r"[_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code)).lower()
    return _CODE.match(words) is not None and not _ABOUT_THE_OPERATOR.search(words)


_SAYS_NOTHING = frozenset(
    ("", "none", "invalid_request_error", "invalid_request", "bad_request", "badrequest", "validation_error", "error")
)
_CODE = re.compile(
    r"(?:invalid|unsupported|missing|unknown|unexpected|duplicate|malformed|too|string|array|integer|decimal|image|content"
    r"|tool|json|schema|context|prompt|messages?|input|max tokens|parameter|file|document)\b"
)


# --- What is masked ---------------------------------------------------------------------------------------------------

_OF_THE_CLIENT = r"(?!(?:srvtoolu|toolu|mcptoolu|call|msg|fc|rs|ctc|chatcmpl)[_-])"
_TOP_DOMAINS = (
    "com|net|org|io|ai|dev|app|cloud|co|eu|uk|de|fr|cn|jp|vn|ru|kr|info|biz|tech|xyz|local|internal|lan|corp|intranet"
    "|svc|cluster|arpa|example|test|invalid|localhost|onion|localdomain|home|private|consul"
)
_MASKED = tuple(
    (word, re.compile(pattern))
    for word, pattern in (
        ("[address]", r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'`<>)\]}]+"),
        ("[address]", r"(?<![\w.+-])[\w.+-]{1,64}@[\w.-]{1,200}\.\w+"),
        ("[key]", r"(?i)\b(?:bearer|basic)\s+[\w.~+/=*-]{4,}"),
        ("[key]", r"\b(?:sk|pk|rk|xai|gsk|hf|ghp|gho|glpat)[-_][\w*.-]{2,}"),
        ("[key]", r"\b(?:AIza|AKIA|ASIA|eyJ)[\w.=/+-]{8,}"),
        ("[key]", r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
        ("[key]", rf"(?i)\b{_OF_THE_CLIENT}(?=[a-z]*\d)[0-9a-f]{{20,}}\b"),
        ("[key]", rf"\b{_OF_THE_CLIENT}(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{{32,}}\b"),
        (
            "[key]",
            rf"(?<![\w/+-]){_OF_THE_CLIENT}(?=[\w/+-]*\d)(?=[\w/+-]*[a-z])(?=[\w/+-]*[A-Z])[\w/+-]{{24,}}={{0,2}}",
        ),
        ("[id]", r"\b(?:org|proj|user|team|acct|key|wrkspc|req|cus|sub)[-_](?=\w*\d)[A-Za-z0-9]{8,}\b"),
        ("[address]", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\d.]*\w)"),
        ("[address]", r"(?i)(?<![\w:])\[?(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}\]?(?::\d+)?(?![\w:])"),
        (
            "[address]",
            rf"(?i)(?<![a-z0-9-])(?:[a-z0-9-]{{1,63}}\.){{1,20}}(?:{_TOP_DOMAINS})\b(?::\d+)?(?:/[^\s\"'`]*)?",
        ),
        ("[address]", r"(?i)\blocalhost\b(?::\d+)?"),
        ("[address]", r"(?i)(?<![\w-])[a-z][a-z0-9]{0,62}(?:-[a-z0-9]{1,62}){1,10}:\d{2,5}\b"),
        ("[address]", r"(?i)(?<=host=)['\"]?[\w.-]+['\"]?"),
    )
)


def mask(text: str) -> str:
    """A text without what looks like a key, an id of an account, or an address."""
    for word, pattern in _MASKED:
        text = pattern.sub(word, text)
    return text


# --- What is told -----------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[\w.\[\]-]{1,100}")


def passing_error(answer: JsonObject) -> ReportedError | None:
    """The upstream's error as a client may be told it; None where it is not clearly about the request."""
    error = read_error(answer)
    if error is None or not is_about_the_request(error):
        return None
    code = error.code if error.code in CODES else None
    param = error.param if error.param and _NAME.fullmatch(error.param) else None
    kind = error.type if error.type in ("invalid_request_error", "request_too_large") else "invalid_request_error"
    return ReportedError(mask(error.message)[:LONGEST_MESSAGE], kind, code, mask(param) if param else None)
