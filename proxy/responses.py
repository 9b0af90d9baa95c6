"""Domain errors as HTTP answers, in the shape of the API that was called. The one place that maps codes to statuses."""

import json
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from accounts.errors import BillingError, CreditsExpired, RateLimitExceeded
from accounts.money import usd_text
from proxy.call import ApiFamily
from proxy.errors import CannotAfford, InvalidRequest, MethodNotAllowed, UpstreamError
from proxy.json_body import Object

STATUS_OF = {
    "invalid_api_key": 401,
    "account_disabled": 403,
    "credits_expired": 402,
    "insufficient_credits": 402,
    "invalid_request": 400,
    "not_found": 404,
    "idempotency_conflict": 409,
    "method_not_allowed": 405,
    "request_too_large": 413,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "upstream_error": 502,
    "upstream_timeout": 504,
    "service_unavailable": 503,
    "internal_error": 500,
}

HELD_RETRY_SECONDS = 5


def json_response(body: Object | list[Any], *, status: int = 200, request_id: str | None = None) -> HttpResponse:
    """A JSON answer. Its request id is what support asks for."""
    data = json.dumps(body).encode()  # In ASCII: a text of the client's may hold what UTF-8 cannot encode.
    return raw_response(data, status=status, request_id=request_id)


def raw_response(data: bytes, *, status: int = 200, request_id: str | None = None) -> HttpResponse:
    """An answer that is JSON already."""
    headers = {"Content-Length": str(len(data))} | ({"X-Request-Id": request_id} if request_id else {})
    return HttpResponse(data, status=status, content_type="application/json", headers=headers)


def error_response(error: BillingError, family: ApiFamily, request_id: str) -> HttpResponse:
    """The answer to a request that failed with `error`."""
    status = STATUS_OF.get(error.code, 500)
    body = family.error_body(status=status, code=error.code, message=error.customer_message, details=_details(error))
    response = json_response(body, status=status, request_id=request_id)
    if isinstance(error, CannotAfford) and error.is_freed_soon:
        response["Retry-After"] = str(HELD_RETRY_SECONDS)
    if isinstance(error, MethodNotAllowed):
        response["Allow"] = error.allowed
    if isinstance(error, RateLimitExceeded):
        response["Retry-After"] = str(error.retry_seconds)
        for name, value in error.rate.headers.items():
            response[name] = value
    if isinstance(error, UpstreamError) and error.retry_after:
        response["Retry-After"] = error.retry_after
    return response


def _details(error: BillingError) -> Object:
    if isinstance(error, InvalidRequest):
        return {"param": error.param}
    if isinstance(error, CannotAfford):
        return {
            "balance_name": error.balance.value,
            "balance": usd_text(error.available),
            "held": usd_text(error.held),
            "required": usd_text(error.required),
            "affordable_max_tokens": error.affordable_max_tokens,
            "hint": _hint(error),
            **_purchase_url(),
        }
    if isinstance(error, CreditsExpired):
        return _purchase_url()
    return {}


def _purchase_url() -> Object:
    return {"purchase_url": settings.PURCHASE_URL} if settings.PURCHASE_URL else {}


def _hint(error: CannotAfford) -> str:
    balance, other = error.balance.label, error.balance.other.label
    if error.affordable_max_tokens:
        advice = f"Set max_tokens to at most {error.affordable_max_tokens}, or purchase credits."
    elif error.is_freed_soon:
        advice = "The missing credits are held for your requests in flight: try again when they have finished."
    else:
        advice = "Purchase credits, or send a shorter request."
    return f"This request is paid from your {balance} balance; the {other} balance does not apply. {advice}"
