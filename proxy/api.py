"""The proxy's HTTP endpoints, for both upstreams: authenticate, validate, one domain call, answer."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pymongo.errors import PyMongoError

from accounts.authentication import find_account_by_key, read_key
from accounts.errors import BillingError
from accounts.models import Balance
from proxy import metering
from proxy.anthropic_api import AnthropicApi
from proxy.call import ApiFamily
from proxy.errors import InvalidRequest, MethodNotAllowed, NotFound, RequestTooLarge, ServiceUnavailable
from proxy.json_body import parse_object
from proxy.openai_api import OpenAiApi
from proxy.price_book import PRICES
from proxy.relay import CLIENT_WRITE_SECONDS, forward
from proxy.responses import error_response, json_response
from proxy.upstreams import get_upstream

logger = logging.getLogger(__name__)

OPENAI: ApiFamily = OpenAiApi()
ANTHROPIC: ApiFamily = AnthropicApi()
PASSED_HEADERS = ("anthropic-version", "anthropic-beta")
LARGEST_DRAIN_BYTES = 128 * 1024 * 1024

Endpoint = Callable[..., HttpResponseBase]
"""Takes the request, the balance that pays, the request id, and what the URL captured."""


def _endpoint(method: str | None, family: ApiFamily | None) -> Callable[[Endpoint], Callable[..., HttpResponseBase]]:
    """Make a view of an endpoint: its method, a request id, and every error as JSON in the family's shape.

    `method` None = any; `family` None = the one that the client seems to speak.
    """

    def decorate(function: Endpoint) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, upstream: str, **kwargs: Any) -> HttpResponseBase:
            request_id = f"req_{uuid.uuid4().hex}"
            shape = family or _family_of(request)
            try:
                if method and request.method != method:
                    raise MethodNotAllowed(f"{request.path} answers {method} only.")
                return function(request, Balance(upstream), request_id, **kwargs)
            except BillingError as error:
                return error_response(error, shape, request_id)
            except (PyMongoError, DatabaseError) as error:
                logger.exception("request %s: the database failed", request_id)
                return error_response(ServiceUnavailable(f"the database failed: {error}"), shape, request_id)

        view.csrf_exempt = True  # type: ignore[attr-defined]
        return view

    return decorate


@_endpoint("POST", OPENAI)
def chat_completions(request: HttpRequest, balance: Balance, request_id: str) -> HttpResponseBase:
    """`POST /v1/chat/completions`, billed."""
    return _metered(request, balance, request_id, OPENAI)


@_endpoint("POST", ANTHROPIC)
def messages(request: HttpRequest, balance: Balance, request_id: str) -> HttpResponseBase:
    """`POST /v1/messages`, billed."""
    return _metered(request, balance, request_id, ANTHROPIC)


def _metered(request: HttpRequest, balance: Balance, request_id: str, family: ApiFamily) -> HttpResponseBase:
    api_key = _api_key(request)
    try:
        body = _read_body(request)
        parsed = parse_object(body)
        call = family.parse(parsed, len(body))
        price = PRICES.find(balance, call.model)
    except BillingError:
        find_account_by_key(api_key)  # Who has no account learns that first.
        raise
    reservation = metering.reserve(
        request_id=request_id, api_key=api_key, balance=balance, endpoint=family.path, call=call, price=price
    )
    body = family.prepare(
        body, parsed, call, model=price.upstream_model_id, max_output_tokens=reservation.max_output_tokens
    )
    headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
    _limit_client_writes(request)
    return forward(upstream=get_upstream(balance), family=family, reservation=reservation, body=body, headers=headers)


@_endpoint("GET", OPENAI)
def list_models(request: HttpRequest, balance: Balance, request_id: str) -> HttpResponse:
    """`GET /v1/models`: the models that have a price on this upstream."""
    find_account_by_key(_api_key(request))
    data = [
        {
            "id": model.model_id,
            "object": "model",
            "created": int(model.created_at.timestamp()) if model.created_at else 0,
            "owned_by": balance.value,
        }
        for model in PRICES.list_models(balance)
    ]
    return json_response({"object": "list", "data": data}, request_id=request_id)


def health(request: HttpRequest, upstream: str) -> HttpResponse:
    """`GET /health`: this process answers. It asks neither the database nor the upstream."""
    return json_response({"status": "ok", "upstream": upstream})


@_endpoint(None, None)
def not_found(request: HttpRequest, balance: Balance, request_id: str, path: str) -> HttpResponseBase:
    """Any other path: nothing is ever forwarded that is not metered."""
    raise NotFound(f"There is no /{path} here. GET /v1/models lists the models of {balance.label}.")


def _family_of(request: HttpRequest) -> ApiFamily:
    return ANTHROPIC if "anthropic-version" in request.headers else OPENAI


def _api_key(request: HttpRequest) -> str:
    return read_key(request.headers.get("authorization"), request.headers.get("x-api-key"))


def _read_body(request: HttpRequest) -> bytes:
    """The body, up to `MAX_REQUEST_BYTES`. A larger one is read off and dropped, so that the client sees the answer."""
    limit = settings.MAX_REQUEST_BYTES
    announced = int(request.META.get("CONTENT_LENGTH") or 0)
    # Django reads nothing of a chunked body, which announces no length; gunicorn's own stream knows its end.
    is_chunked = not announced and request.META.get("wsgi.input_terminated")
    stream = request.META["wsgi.input"] if is_chunked else request
    try:
        body: bytes = b"" if announced > limit else stream.read(limit + 1)
        if max(announced, len(body)) <= limit:
            return body
        dropped = 0
        while dropped < LARGEST_DRAIN_BYTES and (chunk := stream.read(64 * 1024)):
            dropped += len(chunk)
    except OSError as error:
        raise InvalidRequest("The request body could not be read.") from error
    raise RequestTooLarge(limit)


def _limit_client_writes(request: HttpRequest) -> None:
    """A client that stops reading must not keep a request open for longer than a hold lives."""
    if client := request.META.get("gunicorn.socket"):
        client.settimeout(CLIENT_WRITE_SECONDS)
