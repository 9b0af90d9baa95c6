"""Where the domain's errors become HTTP answers: one table for the API and the webhooks."""

import logging

from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from accounts import errors as account_errors
from accounts.errors import BillingError
from mongo.errors import DATABASE_FAILURES
from payments import errors
from payments.api.serializers import ErrorResponse

logger = logging.getLogger(__name__)

_STATUS: dict[type[BillingError], int] = {
    account_errors.InvalidApiKey: 401,
    account_errors.AccountDisabled: 403,
    errors.InvalidOrder: 400,
    errors.MalformedEvent: 400,
    errors.InvalidSignature: 401,
    errors.PaymentNotFound: 404,
    errors.ChangedMeanwhile: 409,
    errors.BodyTooLarge: 413,
    errors.ProviderUnavailable: 502,
    errors.EndpointOff: 503,
    errors.PaymentMethodUnavailable: 503,
    errors.PurchasingOff: 503,
    errors.StorageUnavailable: 503,
}


def status_of(error: BillingError) -> int:
    """The HTTP status of a domain error, by the nearest class in the table."""
    return next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), 400)


def handle_exception(error: Exception, context: dict[str, object]) -> Response | None:
    """DRF's exception handler: `{"error": what to do, "code": a stable name}`, as today's clients read it."""
    if isinstance(error, DATABASE_FAILURES):
        logger.error("the database cannot be reached", exc_info=error)
        error = errors.StorageUnavailable()
    if isinstance(error, BillingError):
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, account_errors.InvalidApiKey) else None
        answer = ErrorResponse({"error": error.customer_message, "code": error.code}).data
        return Response(answer, status=status_of(error), headers=headers)
    response = drf_exception_handler(error, context)
    if response is not None and isinstance(error, APIException):
        code = "invalid_request" if response.status_code == 400 else error.default_code
        response.data = ErrorResponse({"error": _flatten(error), "code": code}).data
    return response


def _flatten(error: APIException) -> str:
    """One sentence of a validation error's nested details."""
    if not isinstance(error, ValidationError):
        return str(error.detail)
    if isinstance(error.detail, dict):
        parts = [(name, " ".join(map(str, details))) for name, details in error.detail.items()]
        return " ".join(text if name == "non_field_errors" else f"{name}: {text}" for name, text in parts)
    return " ".join(map(str, error.detail))
