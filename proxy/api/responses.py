"""Domain errors as HTTP answers, in the shape of the API that was called. The one place that maps codes to statuses."""

import json
import logging
from collections.abc import ItemsView
from http.client import responses

from django.conf import settings

from accounts.errors import BillingError, CreditsExpired, InvalidKeyLimits, KeyBudgetReached, RateLimitExceeded
from money.amounts import usd_text
from proxy.errors import (
    HELD_RETRY_SECONDS,
    Busy,
    CannotAfford,
    IdempotencyConflict,
    InvalidRequest,
    MethodNotAllowed,
    OutcomeUnknown,
    RotationUnknown,
    ServiceUnavailable,
    UnsupportedEncoding,
    UnsupportedParameter,
    UpstreamError,
    WrongKindOfAnswer,
)
from proxy.formats.api_format import ApiFormat
from proxy.formats.json_body import JsonObject

STATUS_OF = {
    "invalid_api_key": 401,
    "key_disabled": 401,
    "key_expired": 401,
    "account_disabled": 403,
    "credits_expired": 402,
    "insufficient_credits": 402,
    "key_budget_reached": 402,
    "model_not_allowed": 403,
    "first_key_required": 403,
    "first_key_stays": 409,
    "too_many_keys": 403,
    "key_not_found": 404,
    "invalid_key_limits": 400,
    "invalid_request": 400,
    "unsupported_parameter": 400,
    "account_under_review": 403,
    "account_needs_repair": 403,
    "account_not_converted": 403,
    "not_found": 404,
    "idempotency_conflict": 409,
    "method_not_allowed": 405,
    "request_too_large": 413,
    "unsupported_encoding": 415,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "upstream_error": 502,
    "upstream_timeout": 504,
    "service_unavailable": 503,
    "outcome_unknown": 503,
    "busy": 503,
    "internal_error": 500,
    "broken_invariant": 500,
}
"""The status of every error that a request can end with, by its code. One that is missing here is a mistake: 500."""

logger = logging.getLogger(__name__)

BUSY_RETRY_SECONDS = 2
DATABASE_RETRY_SECONDS = 5


def request_id_headers(request_id: str) -> dict[str, str]:
    """What support asks for, in the name that OpenAI's SDKs read and in that of Anthropic's."""
    return {"X-Request-Id": request_id, "request-id": request_id}


class ApiResponse:
    """A whole answer in JSON. (Django's own converts every header twice: a tenth of all calls of a billed request.)

    gunicorn refuses what is no header, such as one with a line break.
    """

    streaming = False

    def __init__(self, content: bytes, *, request_id: str, status: int = 200) -> None:
        self.content = content
        self.status_code = status
        self.headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **request_id_headers(request_id),
        }

    @property
    def reason_phrase(self) -> str:
        return responses.get(self.status_code, "Unknown Status Code")

    def items(self) -> ItemsView[str, str]:
        """The headers."""
        return self.headers.items()


def json_response(body: JsonObject, *, request_id: str, status: int = 200) -> ApiResponse:
    """Our own answer. Its request id is what support asks for."""
    data = json.dumps(body).encode()  # In ASCII: a text of the client's may hold what UTF-8 cannot encode.
    return ApiResponse(data, request_id=request_id, status=status)


def error_response(error: BillingError, api_format: ApiFormat, request_id: str) -> ApiResponse:
    """The answer to a request that failed with `error`."""
    status = STATUS_OF.get(error.code, 500)
    if status == 500:
        logger.error("request %s: %s", request_id, error)
    body = api_format.error_body(
        status=status, code=error.code, message=error.customer_message, details=_details(error)
    )
    response = json_response(body, status=status, request_id=request_id)
    response.headers |= _retry_headers(error, status)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allowed
    if isinstance(error, UnsupportedEncoding):
        response.headers["Accept-Encoding"] = ", ".join(error.supported)
    if isinstance(error, RateLimitExceeded):
        response.headers |= error.rate.headers
    return response


def _retry_headers(error: BillingError, status: int) -> dict[str, str]:
    """`Retry-After`, and `X-Should-Retry`, which both vendors' SDKs obey: whether the same request may pass later.

    Neither stands in answers to what the SDKs' own rules are right for: an upstream or a mistake of ours that failed.
    """
    if seconds := _retry_after(error):
        helps_to_wait = not isinstance(error, RateLimitExceeded) or error.helps_to_wait
        return {"Retry-After": seconds, "X-Should-Retry": "true" if helps_to_wait else "false"}
    is_final = status < 500 or isinstance(error, WrongKindOfAnswer | OutcomeUnknown | RotationUnknown)
    return {"X-Should-Retry": "false"} if is_final else {}


def _retry_after(error: BillingError) -> str | None:
    """Seconds after which the same request may pass; None where waiting does not help, or nobody knows."""
    match error:
        case CannotAfford(is_freed_soon=True):
            seconds = error.retry_seconds
        case KeyBudgetReached(is_freed_soon=True):
            seconds = HELD_RETRY_SECONDS
        case Busy():
            seconds = BUSY_RETRY_SECONDS
        case ServiceUnavailable():
            seconds = DATABASE_RETRY_SECONDS
        case RateLimitExceeded() | IdempotencyConflict() | OutcomeUnknown(is_keyed=True):
            seconds = error.retry_seconds or 0
        case UpstreamError():
            return error.retry_after
        case _:
            return None
    return str(seconds) if seconds else None


def is_refusal(error: BillingError) -> bool:
    """Whether the client must do something about it, and would be refused again if it did not.

    Not where credits are held for its own requests in flight: it is told to try again.
    """
    is_freed_soon = isinstance(error, CannotAfford | KeyBudgetReached) and error.is_freed_soon
    return 400 <= STATUS_OF.get(error.code, 500) < 500 and not is_freed_soon


def _details(error: BillingError) -> JsonObject:
    if isinstance(error, InvalidRequest | UnsupportedParameter | InvalidKeyLimits):
        return {"param": error.param}
    if isinstance(error, CannotAfford):
        return {
            "balance_name": error.balance.value,
            "balance": usd_text(error.available),
            "held": usd_text(error.held),
            "required": usd_text(error.required),
            "affordable_max_tokens": error.affordable_max_tokens,
            "hint": error.hint,
            **_purchase_url(),
        }
    if isinstance(error, KeyBudgetReached):
        return {
            "budget": usd_text(error.budget),
            "budget_period": error.period,
            "spent": usd_text(error.spent),
            "held": usd_text(error.held),
            "required": usd_text(error.required),
            "begins_anew_at": error.begins_anew_at.isoformat().replace("+00:00", "Z"),
        }
    if isinstance(error, CreditsExpired):
        return _purchase_url()
    if isinstance(error, OutcomeUnknown):
        return {"receipt": error.receipt_path}
    return {}


def _purchase_url() -> JsonObject:
    return {"purchase_url": settings.PURCHASE_URL} if settings.PURCHASE_URL else {}
