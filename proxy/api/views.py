"""The proxy's HTTP endpoints, for both upstreams: authenticate, validate, one domain call, answer."""

import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.http import HttpRequest

from accounts import rate_limits, throttle
from accounts.authentication import find_account_by_key
from accounts.errors import AccountUnderReview, BillingError, CreditsExpired
from accounts.key_limits import Use
from accounts.keys import mask_key, mask_keys_in
from accounts.models import Balance
from accounts.processes import begin_request, end_request
from accounts.rate_limits import RateLimit
from money.amounts import ZERO, usd_text
from mongo.errors import DATABASE_FAILURES
from proxy.api import keys
from proxy.api.addresses import advice, prefix_of
from proxy.api.callers import find_free_caller, keep_refusal, note_priced, note_refused, read_caller_key
from proxy.api.model_list import anthropic_model, anthropic_page, litellm_info, openai_model
from proxy.api.passed_headers import query_of, request_headers
from proxy.api.request_body import RequestBody, read_body
from proxy.api.responses import ApiResponse, error_response, is_refusal, json_response
from proxy.api.statements import balance_statement, receipt, usage_statement
from proxy.billing import idempotency, metering
from proxy.billing.idempotency import StoredAnswer
from proxy.billing.price_book import PRICES
from proxy.billing.terms import PricedCall, price_call
from proxy.errors import (
    Busy,
    CannotAfford,
    EndpointMissing,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    RotationUnknown,
    ServiceUnavailable,
)
from proxy.formats.anthropic_messages import AnthropicMessages, AnthropicTokenCount
from proxy.formats.api_format import ApiFormat
from proxy.formats.json_body import JsonObject
from proxy.formats.openai_chat import OpenAiChat
from proxy.formats.openai_completions import OpenAiCompletions
from proxy.formats.openai_embeddings import OpenAiEmbeddings
from proxy.formats.openai_responses import OpenAiResponses
from proxy.relay.relay import Answer, forward, forward_free
from proxy.upstream.client import get_upstream

logger = logging.getLogger(__name__)

OPENAI: ApiFormat = OpenAiChat()
RESPONSES: ApiFormat = OpenAiResponses()
ANTHROPIC: ApiFormat = AnthropicMessages()
COMPLETIONS: ApiFormat = OpenAiCompletions()
EMBEDDINGS: ApiFormat = OpenAiEmbeddings()
TOKEN_COUNT: ApiFormat = AnthropicTokenCount()
ANTHROPIC_VERSION = "HTTP_ANTHROPIC_VERSION"
"""In `request.META`: the header that every client of Anthropic's API sends."""
LONGEST_PATH_TOLD = 200
HAS_NO_THREAD = "billing.has_no_thread"
"""In `request.META`, true of a request that the server has no thread for."""

Endpoint = Callable[..., Answer]
"""Takes the request, the balance that pays, the request id, and what the URL captured."""


def new_request_id() -> str:
    """What a request is called in its answer, its record and the log."""
    return f"req_{secrets.token_hex(16)}"


def _endpoint(
    method: str | None, api_format: ApiFormat | None, *, also: tuple[str, ...] = ()
) -> Callable[[Endpoint], Callable[..., Any]]:
    """Make a view of an endpoint: its method, a request id, and every error as JSON in the shape of the format.

    `method` None = any; `also` are further ones; `api_format` None = the format that the client seems to speak.
    """

    allowed = [*(("GET", "HEAD") if method == "GET" else (method,)), *also]

    def decorate(function: Endpoint) -> Callable[..., Any]:
        def view(request: HttpRequest, upstream: str, **kwargs: Any) -> Answer:
            request_id = new_request_id()
            shape = api_format or _format_of(request)
            try:
                # The server sends the head alone of what answers a HEAD.
                if method and request.method not in allowed:
                    path = request.path.removeprefix(f"/{upstream}")  # Not there on the upstream's own port.
                    only = " and ".join((method, *also))
                    raise MethodNotAllowed(f"{path} answers {only} only.", allowed=", ".join(map(str, allowed)))
                if request.META.get(HAS_NO_THREAD) and method:
                    raise Busy("no thread is free")
                return function(request, Balance(upstream), request_id, **kwargs)
            except BillingError as error:
                if is_refusal(error):
                    note_refused(request, error)
                keep_refusal(request, error, request_id=request_id, balance=Balance(upstream))
                return error_response(error, shape, request_id)
            except DATABASE_FAILURES as error:
                logger.exception("request %s: the database failed", request_id)
                return error_response(ServiceUnavailable(f"the database failed: {error}"), shape, request_id)
            except Exception as error:  # The outermost: a client is answered in its own format whatever broke.
                logger.exception("request %s failed", request_id)
                return error_response(InternalError(repr(error)), shape, request_id)

        return view

    return decorate


@_endpoint("POST", OPENAI)
def chat_completions(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """`POST /v1/chat/completions`, billed."""
    return _metered(request, balance, request_id, OPENAI)


@_endpoint("POST", RESPONSES)
def responses(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """`POST /v1/responses`, billed; passed on to the upstream's own endpoint, which not every upstream has."""
    _check_has(balance, "responses", RESPONSES)
    return _metered(request, balance, request_id, RESPONSES)


@_endpoint(None, RESPONSES)
def stored_responses(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """What else the vendor has below `/v1/responses` and `/v1/conversations`: all of it is about what is stored."""
    raise NotFound(
        f"Responses and conversations are not stored here, so that there is none to get, cancel, compact or delete. "
        f"POST {RESPONSES.path} with the whole conversation in 'input' answers at once."
    )


@_endpoint("POST", ANTHROPIC)
def messages(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """`POST /v1/messages`, billed."""
    return _metered(request, balance, request_id, ANTHROPIC)


@_endpoint("POST", COMPLETIONS)
def completions(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """`POST /v1/completions`, billed, where the upstream has it."""
    _check_has(balance, "completions", COMPLETIONS)
    return _metered(request, balance, request_id, COMPLETIONS)


@_endpoint("POST", EMBEDDINGS)
def embeddings(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """`POST /v1/embeddings`, billed, where the upstream has it."""
    _check_has(balance, "embeddings", EMBEDDINGS)
    return _metered(request, balance, request_id, EMBEDDINGS)


def _check_has(balance: Balance, endpoint: str, api_format: ApiFormat) -> None:
    """Raise `EndpointMissing` where the settings say that the upstream has no such endpoint."""
    if endpoint in settings.MISSING_ENDPOINTS[balance.value]:
        raise EndpointMissing(api_format.path, balance)


def _metered(request: HttpRequest, balance: Balance, request_id: str, api_format: ApiFormat) -> Answer:
    api_key = read_caller_key(request)
    endpoint = f"{balance.value} {api_format.path}"
    idempotency_key = request.META.get("HTTP_IDEMPOTENCY_KEY")

    def check_sender() -> None:
        try:
            metering.check_can_pay(api_key=api_key, balance=balance)
        except (CannotAfford, CreditsExpired, AccountUnderReview):
            # A retry may get the stored answer, which costs nothing.
            if idempotency_key is None or not idempotency.is_answered(
                api_key=api_key, endpoint=endpoint, idempotency_key=idempotency_key
            ):
                raise

    # What is to be done at the end: a stream takes it over, and does it when it has ended.
    with closing(read_body(request, api_key=api_key, check_sender=check_sender)) as body, ExitStack() as at_end:
        priced = _read_call(body, balance, api_format, api_key)
        note_priced(request, priced)
        begin_request(request_id)
        at_end.callback(end_request, request_id)
        claim = None
        if idempotency_key is not None and not priced.call.is_stream:
            found = idempotency.claim(
                api_key=api_key,
                endpoint=endpoint,
                idempotency_key=idempotency_key,
                body=body.data,
                request_id=request_id,
            )
            if isinstance(found, StoredAnswer):
                return _replay(found, api_key, balance)
            claim = found
            at_end.callback(claim.release)
        reservation = metering.reserve(
            request_id=request_id, api_key=api_key, balance=balance, endpoint=api_format.path, priced=priced
        )
        throttle.note_accepted(api_key)
        return forward(
            upstream=get_upstream(balance),
            api_format=api_format,
            reservation=reservation,
            body=body,
            headers=request_headers(request, priced.price),
            query=query_of(request),
            claim=claim,
            at_end=at_end,
        )


def _read_call(body: RequestBody, balance: Balance, api_format: ApiFormat, api_key: str) -> PricedCall:
    """What billing reads of a body. Refuses what cannot be metered."""
    try:
        call = api_format.parse(body.parse(), len(body.data))
        priced = price_call(call, PRICES.find(balance, call.model))
        body.forget_contents(but_tools=bool(priced.removed_tools))
        return priced
    except (Busy, ServiceUnavailable):
        raise
    except BillingError:
        body.close()
        find_account_by_key(api_key)  # Who has no account learns that first.
        raise


def _replay(stored: StoredAnswer, api_key: str, balance: Balance) -> ApiResponse:
    """A stored answer: it costs nothing, but it counts as a request."""
    _, rate = rate_limits.take_one(api_key)
    throttle.note_accepted(api_key)
    account = find_account_by_key(api_key)
    response = ApiResponse(stored.body, request_id=stored.request_id)
    response.headers["Idempotent-Replayed"] = "true"
    response.headers["X-Credits-Cost"] = usd_text(ZERO)
    response.headers["X-Credits-Balance"] = usd_text(account.balance(balance))
    return _with_rate(response, rate)


@_endpoint("POST", ANTHROPIC)
def count_tokens(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`POST /v1/messages/count_tokens`: passed on at no charge, within the rate limit."""
    api_key = read_caller_key(request)
    with closing(
        read_body(request, api_key=api_key, check_sender=lambda: rate_limits.check_rate(api_key))
    ) as request_body:
        priced = _read_call(request_body, balance, TOKEN_COUNT, api_key)
        note_priced(request, priced)
        use = Use(balance, metering.names_of(priced.call, priced.price))
        username, rate = rate_limits.take_one(api_key, use=use)
        throttle.note_accepted(api_key)
        body = ANTHROPIC.prepare(
            request_body.data,
            request_body.parsed,
            priced.call,
            model=priced.price.upstream_model_id,
            max_output_tokens=priced.call.max_output_tokens or 0,
            removed_tools=[tool.position for tool in priced.removed_tools],
        )
        request_body.edited(body)
        response = forward_free(
            upstream=get_upstream(balance),
            api_format=ANTHROPIC,
            path=f"{ANTHROPIC.path}/count_tokens",
            body=body,
            headers=request_headers(request, priced.price),
            query=query_of(request),
            entry=metering.FreeRequest(request_id, username, mask_key(api_key), balance, priced.call.model),
        )
    response.headers |= priced.headers
    return _with_rate(response, rate)


def _with_rate(response: ApiResponse, rate: RateLimit) -> ApiResponse:
    response.headers |= rate.headers
    return response


@_endpoint("GET", None)
def list_models(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /v1/models`: the models that have a price on this upstream, in the shape of the vendor that is spoken."""
    find_free_caller(request)
    models = PRICES.list_models(balance)
    if ANTHROPIC_VERSION in request.META:
        query = _query(request)
        asked = {name: query.get(name) for name in ("limit", "after_id", "before_id")}
        return json_response(anthropic_page(models, **asked), request_id=request_id)
    data = [openai_model(named, balance.value) for named in models]
    return json_response({"object": "list", "data": data}, request_id=request_id)


@_endpoint("GET", None)
def find_model(request: HttpRequest, balance: Balance, request_id: str, name: str) -> ApiResponse:
    """`GET /v1/models/<id or alias>`: one of them."""
    find_free_caller(request)
    named = name, PRICES.find_row(balance, name)
    is_anthropic = ANTHROPIC_VERSION in request.META
    body = anthropic_model(named) if is_anthropic else openai_model(named, balance.value)
    return json_response(body, request_id=request_id)


@_endpoint("GET", OPENAI)
def model_info(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /v1/model/info`: their limits and what they cost here, as clients of a LiteLLM proxy read it."""
    find_free_caller(request)
    return json_response(
        {"data": [litellm_info(named) for named in PRICES.list_models(balance)]}, request_id=request_id
    )


@_endpoint("GET", OPENAI)
def balance_of(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /v1/balance`: both balances, what is held, and when they expire."""
    account = find_free_caller(request)
    return json_response(balance_statement(account), request_id=request_id)


@_endpoint("GET", OPENAI)
def request_receipt(request: HttpRequest, balance: Balance, request_id: str, wanted_id: str) -> ApiResponse:
    """`GET /v1/requests/<id>`: the receipt of one's own request."""
    account = find_free_caller(request)
    return json_response(receipt(account=account, request_id=wanted_id), request_id=request_id)


@_endpoint("GET", OPENAI)
def usage(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /v1/usage?from&to&group=day|model`: what one has used, on both balances."""
    account = find_free_caller(request)
    query = _query(request)
    statement = usage_statement(account=account, start=query.get("from"), end=query.get("to"), group=query.get("group"))
    return json_response(statement, request_id=request_id)


def _query(request: HttpRequest) -> dict[str, str]:
    """The parameters of the query, the last of each. (Django's own fail for more than a thousand, and by a charset.)"""
    return dict(parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True))


@_endpoint("GET", OPENAI, also=("POST",))
def keys_of(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /v1/keys`: the keys of one's account. `POST`: another one, whose secret is told once."""
    api_key = read_caller_key(request)
    account = throttle.find_free_caller(api_key)
    if request.method != "POST":
        return json_response(keys.keys_statement(account, api_key), request_id=request_id)
    throttle.KEY_ROTATIONS.take(account.pk)
    made = keys.make_key(account, api_key, _read_small_object(request, api_key))
    return _not_stored(json_response(made, request_id=request_id))


@_endpoint("PATCH", OPENAI, also=("DELETE",))
def key_of(request: HttpRequest, balance: Balance, request_id: str, wanted_id: str) -> ApiResponse:
    """`PATCH /v1/keys/<id>`: its name, its limits, and whether it is disabled. `DELETE`: it is gone at once."""
    api_key = read_caller_key(request)
    account = throttle.find_free_caller(api_key)
    if request.method == "DELETE":
        return json_response(keys.remove_key(account, api_key, wanted_id), request_id=request_id)
    asked = _read_small_object(request, api_key)
    return json_response(keys.change_key(account, api_key, wanted_id, asked), request_id=request_id)


@_endpoint("POST", OPENAI)
def rotate(request: HttpRequest, balance: Balance, request_id: str, wanted_id: str | None = None) -> ApiResponse:
    """`POST /v1/keys[/<id>]/rotate`: another secret, told once; the old one stops. Without an id, of the key in use."""
    api_key = read_caller_key(request)
    account = throttle.find_free_caller(api_key)
    throttle.KEY_ROTATIONS.take(account.pk)  # By account: a new key begins with nothing counted.
    try:
        replaced = keys.replace_key(account, api_key, wanted_id)
    except DATABASE_FAILURES as error:
        raise RotationUnknown from error
    return _not_stored(json_response(replaced, request_id=request_id))


def _read_small_object(request: HttpRequest, api_key: str) -> JsonObject:
    """The JSON object of a small body. Raises `InvalidRequest`, `RequestTooLarge`."""
    with closing(read_body(request, api_key=api_key, check_sender=lambda: None)) as body:
        if len(body.data) > keys.LARGEST_BODY_BYTES:
            raise RequestTooLarge(keys.LARGEST_BODY_BYTES)
        return body.parse()


def _not_stored(response: ApiResponse) -> ApiResponse:
    response.headers["Cache-Control"] = "no-store"
    return response


@_endpoint(None, OPENAI)
def health(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /health`: this process answers. It asks neither the database nor the upstream."""
    return json_response({"status": "ok", "upstream": balance.value}, request_id=request_id)


@_endpoint(None, None)
def root(request: HttpRequest, balance: Balance, request_id: str) -> ApiResponse:
    """`GET /`, by which clients look whether anything is there: the same as `GET /health`, and where to go."""
    if request.method not in ("GET", "HEAD"):
        raise _no_such_path(request, balance)
    body = {"status": "ok", "upstream": balance.value, "message": advice(request, balance)}
    return json_response(body, request_id=request_id)


@_endpoint(None, None)
def not_found(request: HttpRequest, balance: Balance, request_id: str) -> Answer:
    """Any other path: nothing is ever forwarded that is not metered."""
    raise _no_such_path(request, balance)


def _no_such_path(request: HttpRequest, balance: Balance) -> NotFound:
    asked = mask_keys_in(request.path_info.removeprefix(prefix_of(balance)))[:LONGEST_PATH_TOLD]
    return NotFound(f"There is no {request.method} {asked} here. {advice(request, balance)}")


def _format_of(request: HttpRequest) -> ApiFormat:
    """The format that a request looks like, where its path does not say: by what only Anthropic's clients send."""
    meta = request.META
    is_anthropic = (
        ANTHROPIC_VERSION in meta
        or meta.get("HTTP_USER_AGENT", "").lower().startswith(("anthropic/", "claude-"))
        or ("HTTP_X_API_KEY" in meta and "HTTP_AUTHORIZATION" not in meta)
        or "messages" in request.path_info.split("/")
    )
    return ANTHROPIC if is_anthropic else OPENAI
