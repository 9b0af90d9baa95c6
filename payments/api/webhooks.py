"""The webhook endpoint: it reads the raw body, hands it to the inbox, and says whether it is safe with us."""

import logging

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from accounts.errors import BillingError
from mongo.errors import DATABASE_FAILURES
from payments.api.errors import refusal_of
from payments.errors import BodyTooLarge, MalformedEvent, StorageUnavailable
from payments.inbox.receive import receive, record_too_large
from payments.providers import get_provider

logger = logging.getLogger(__name__)

MOST_BYTES = 1024 * 1024
"""So much of a body is read to see who signed it. Beyond a provider's own limit, which is less, none is processed."""


@csrf_exempt
def webhook(request: HttpRequest, provider_name: str) -> JsonResponse:
    """Take one delivery. 200 = stored for good; 5xx = send it again; 4xx = it is not processed.

    Staff see what was signed all the same, though it cannot be read or is too large.
    """
    if request.method != "POST":
        return JsonResponse({"success": False, "error": "Use POST."}, status=405, headers={"Allow": "POST"})
    try:
        provider = get_provider(provider_name)
    except KeyError:
        return JsonResponse({"success": False, "error": "No such payment provider."}, status=404)
    try:
        body = _read_body(request, MOST_BYTES)
        if len(body) > provider.max_body_bytes:
            record_too_large(provider=provider, body=body, headers=request.headers, is_whole=len(body) <= MOST_BYTES)
            raise BodyTooLarge(provider.max_body_bytes)
        receive(provider=provider, body=body, headers=request.headers)
    except BillingError as error:
        return _refuse(provider.name, error)
    except DATABASE_FAILURES:
        logger.exception("%s webhook: the database failed", provider.name)
        return _refuse(provider.name, StorageUnavailable())
    return JsonResponse({"success": True})


def _refuse(provider_name: str, error: BillingError) -> JsonResponse:
    refusal = refusal_of(error)
    logger.warning("%s webhook refused: %s", provider_name, error.code)
    return JsonResponse({"success": False, "error": refusal.message, "code": refusal.code}, status=refusal.status)


def _read_body(request: HttpRequest, limit_bytes: int) -> bytes:
    """The raw body; of a larger one the limit and a byte. Raises `MalformedEvent`."""
    stream = request
    if request.META.get("wsgi.input_terminated") and not request.META.get("CONTENT_LENGTH"):
        stream = request.META["wsgi.input"]  # Sent in chunks: Django reads nothing then, the server knows the end.
    try:
        body: bytes = stream.read(limit_bytes + 1)
    except Exception as error:  # Every server has errors of its own for a body that breaks off or is malformed.
        logger.info("a webhook's body could not be read: %s", type(error).__name__)
        raise MalformedEvent("The body broke off.") from error
    return body
