"""Where the domain's errors become HTTP answers: one table for the API and the webhooks."""

import logging
from dataclasses import dataclass

from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from accounts import errors as account_errors
from accounts.errors import BillingError
from mongo.errors import DATABASE_FAILURES
from payments import errors
from payments.api.serializers import ErrorResponse

logger = logging.getLogger(__name__)

STATUS: dict[type[BillingError], int] = {
    account_errors.InvalidApiKey: 401,
    account_errors.KeyDisabled: 401,
    account_errors.KeyExpired: 401,
    account_errors.AccountDisabled: 403,
    account_errors.TooManyKeys: 403,
    account_errors.RequestThrottled: 429,
    account_errors.AccountNeedsRepair: 403,
    account_errors.BrokenInvariant: 500,
    errors.InvalidOrder: 400,
    errors.MalformedEvent: 400,
    errors.ProviderRemoved: 400,
    errors.InvalidSignature: 401,
    errors.StaleSignature: 401,
    errors.PaymentNotFound: 404,
    errors.ChangedMeanwhile: 409,
    errors.BodyTooLarge: 413,
    errors.TooManyOpenOrders: 429,
    errors.ProviderUnavailable: 502,
    errors.EndpointOff: 503,
    errors.PaymentMethodUnavailable: 503,
    errors.PurchasingOff: 503,
    errors.StorageUnavailable: 503,
}
"""The HTTP status of every error that the API and the webhooks raise on purpose."""


@dataclass(frozen=True)
class Refusal:
    """A domain error as an HTTP answer."""

    status: int
    message: str
    code: str


def refusal_of(error: BillingError) -> Refusal:
    """The HTTP answer to a domain error, by `STATUS`.

    An error that is not listed there has no business here: it is logged, and its text, which was written for others, is
    not shown. So are broken invariants.
    """
    status = STATUS.get(type(error), 500)
    if status == 500:
        logger.error("the payment API met an error that must not reach it", exc_info=error)
    if type(error) not in STATUS:
        error = account_errors.BrokenInvariant(f"{type(error).__name__} reached the payment API")
    return Refusal(status, error.customer_message, error.code)


def handle_exception(error: Exception, context: dict[str, object]) -> Response | None:
    """DRF's exception handler: `{"error": what to do, "code": a stable name}`, as today's clients read it."""
    if isinstance(error, DATABASE_FAILURES):
        logger.error("the database cannot be reached", exc_info=error)
        error = errors.StorageUnavailable()
    if isinstance(error, BillingError):
        refusal = refusal_of(error)
        answer = ErrorResponse({"error": refusal.message, "code": refusal.code}).data
        return Response(answer, status=refusal.status, headers=_headers_of(error))
    response = drf_exception_handler(error, context)
    if response is not None and isinstance(error, APIException):
        code = "invalid_request" if response.status_code == 400 else error.default_code
        response.data = ErrorResponse({"error": _flatten(error), "code": code}).data
    return response


def _headers_of(error: BillingError) -> dict[str, str]:
    match error:
        case account_errors.InvalidApiKey():
            return {"WWW-Authenticate": "Bearer"}
        case account_errors.RequestThrottled(rate=rate, retry_seconds=seconds):
            return {"Retry-After": str(seconds), **rate.headers}
        case errors.TooManyOpenOrders(retry_seconds=seconds):
            return {"Retry-After": str(seconds)}
    return {}


def _flatten(error: APIException) -> str:
    """One sentence of a validation error's nested details."""
    if not isinstance(error, ValidationError):
        return str(error.detail)
    if isinstance(error.detail, dict):
        parts = [(name, " ".join(map(str, details))) for name, details in error.detail.items()]
        return " ".join(text if name == "non_field_errors" else f"{name}: {text}" for name, text in parts)
    return " ".join(map(str, error.detail))
