"""Forwards one reserved request and relays its answer, billing it whatever way it ends."""

import logging
import re
import time
from collections.abc import Mapping

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils import timezone

from accounts.errors import BillingError
from proxy.api.responses import STATUS_OF, ApiResponse, json_response
from proxy.billing import metering
from proxy.billing.idempotency import Claim
from proxy.billing.metering import FreeRequest, Reservation
from proxy.errors import InternalError, UpstreamError, UpstreamTimeout
from proxy.formats.api_format import ApiFormat
from proxy.formats.json_body import JsonObject, parse_answer
from proxy.relay.large_answer import LargeAnswerReader
from proxy.relay.metered_stream import READ_BYTES, MeteredStream
from proxy.upstream.client import Upstream
from proxy.upstream.http import NothingInTime, TransportError, UpstreamAnswer

logger = logging.getLogger(__name__)

Answer = ApiResponse | StreamingHttpResponse

LARGEST_SMALL_BYTES = 64 * 1024
LARGEST_BUFFERED_BYTES = 1024 * 1024
"""A longer plain answer is passed on as it comes: memory stays flat."""
LARGEST_KEPT_ANSWER_BYTES = 8 * 1024 * 1024
"""A longer answer is not kept for an idempotency key. (A document has at most 16 MB.)"""
PASSED_STATUSES = {400, 404, 413, 422}
"""Refusals that are about the request itself: the client can do something about them."""
_OUR_ACCOUNT_IS_EMPTY = re.compile(
    r"credit balance is too low|billing[ _]hard[ _]limit|budget has been exceeded|budget_exceeded"
    r"|exceeded your current quota|insufficient[ _](?:user[ _])?(?:balance|quota|credits?|funds)",
    re.IGNORECASE,
)
"""What Anthropic, OpenAI and the gateways answer with 400 when the operator's account with them has run dry."""


def forward(
    *,
    upstream: Upstream,
    api_format: ApiFormat,
    reservation: Reservation,
    body: bytes,
    parsed: JsonObject,
    headers: Mapping[str, str],
    claim: Claim | None = None,
) -> Answer:
    """Send a reserved request on and answer with what comes. Releases or charges the hold, whatever happens.

    `parsed` is what `body` says. A plain answer is stored for its idempotency key before it is billed. One that is too
    large for that keeps the key until it has ended.
    """
    try:
        response = _send(
            upstream=upstream, api_format=api_format, reservation=reservation, body=body, parsed=parsed, headers=headers
        )
        if response.status >= 300:
            return _relay_refusal(response, api_format, reservation)
        if reservation.call.is_stream and "text/event-stream" in response.headers.get("Content-Type", ""):
            return _relay_stream(response, api_format, reservation)
        return _relay_answer(response, api_format, reservation, claim)
    except BillingError:
        raise  # Whoever raised it has ended the request.
    except Exception:
        metering.release(reservation, status=500, outcome=InternalError.code)
        raise


def _send(
    *,
    upstream: Upstream,
    api_format: ApiFormat,
    reservation: Reservation,
    body: bytes,
    parsed: JsonObject,
    headers: Mapping[str, str],
) -> UpstreamAnswer:
    price = reservation.price
    try:
        body = api_format.prepare(
            body,
            parsed,
            reservation.call,
            model=price.upstream_model_id,
            max_output_tokens=reservation.max_output_tokens,
            output_member=price.output_member,
            removed_tools=[tool.position for tool in reservation.priced.removed_tools],
        )
        return upstream.post(api_format.path, body, {**headers, "X-Request-Id": reservation.request_id})
    except BillingError as error:
        metering.release(reservation, status=STATUS_OF[error.code], outcome=error.code)
        raise


def _relay_stream(response: UpstreamAnswer, api_format: ApiFormat, reservation: Reservation) -> StreamingHttpResponse:
    """A streamed answer: passed on as it comes, billed when it ends."""
    stream = MeteredStream(
        response, api_format.stream_reader(reservation.call), reservation, error_event=api_format.error_event
    )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **_headers(reservation)}
    return StreamingHttpResponse(stream, content_type=response.headers["Content-Type"], headers=headers)


def forward_free(
    *,
    upstream: Upstream,
    api_format: ApiFormat,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    entry: FreeRequest,
) -> ApiResponse:
    """Send a request on that costs nothing, and log that it reached the upstream."""
    started_at = timezone.now()
    try:
        response = upstream.post(path, body, {**headers, "X-Request-Id": entry.request_id})
        data = _read_small(response) if response.status != 200 else _read_count(response)
    except BillingError as error:
        metering.log_free(entry, endpoint=path, status=STATUS_OF[error.code], outcome=error.code, started_at=started_at)
        raise
    outcome = "ok" if response.status == 200 else "upstream_refused"
    metering.log_free(entry, endpoint=path, status=response.status, outcome=outcome, started_at=started_at)
    if response.status == 200:
        return ApiResponse(data, request_id=entry.request_id)
    return _answer_refusal(response, data, api_format, entry.request_id)


def _relay_refusal(response: UpstreamAnswer, api_format: ApiFormat, reservation: Reservation) -> ApiResponse:
    """An upstream's error. Cost 0."""
    data = _read_small(response)
    metering.release(reservation, status=response.status, outcome="upstream_refused")
    return _answer_refusal(response, data, api_format, reservation.request_id)


def _read_small(response: UpstreamAnswer) -> bytes:
    """The text of a refusal, or what there is of it."""
    try:
        return response.read(LARGEST_SMALL_BYTES)
    except TransportError:
        return b""
    finally:
        response.close()


def _read_count(response: UpstreamAnswer) -> bytes:
    """A small answer that must be whole. Raises `UpstreamError`, `UpstreamTimeout`."""
    try:
        data = response.read(LARGEST_SMALL_BYTES)
        parse_answer(data)
    except (TransportError, ValueError) as error:
        raise _plain_failure(error) from error
    finally:
        response.close()
    return data


def _answer_refusal(response: UpstreamAnswer, data: bytes, api_format: ApiFormat, request_id: str) -> ApiResponse:
    """The upstream's 4xx about the request passes; its own troubles are ours to explain, as `UpstreamError`."""
    if response.status in PASSED_STATUSES:
        try:
            if _is_about_our_account(parse_answer(data)):
                logger.error("request %s: the operator's account with the upstream is empty", request_id)
                raise UpstreamError("the operator's account with the upstream is empty")
            return ApiResponse(data, status=response.status, request_id=request_id)
        except ValueError:
            message = "The model's provider refused this request without telling why."
            body = api_format.error_body(status=response.status, code="invalid_request", message=message, details={})
            return json_response(body, status=response.status, request_id=request_id)
    logger.error("request %s: the upstream answered %s", request_id, response.status)
    raise UpstreamError(f"the upstream answered {response.status}", retry_after=response.headers.get("Retry-After"))


def _is_about_our_account(answer: JsonObject) -> bool:
    error = answer.get("error")
    told = [error.get(name) for name in ("type", "code", "message")] if isinstance(error, dict) else [error]
    return any(isinstance(text, str) and _OUR_ACCOUNT_IS_EMPTY.search(text) for text in told)


def _relay_answer(
    response: UpstreamAnswer,
    api_format: ApiFormat,
    reservation: Reservation,
    claim: Claim | None,
) -> Answer:
    """A plain answer: read whole, billed, then sent, so that the balance is exact when the client has it.

    One that is too large to wait for is passed on as it comes and billed at its end.
    """
    largest = LARGEST_KEPT_ANSWER_BYTES if claim else LARGEST_BUFFERED_BYTES
    try:
        data, is_whole = _read_up_to(largest, response, reservation)
        answer = parse_answer(data) if is_whole else {}
    except (BillingError, TransportError, ValueError) as error:
        response.close()
        failure = _plain_failure(error)
        metering.release(reservation, status=STATUS_OF[failure.code], outcome=failure.code)
        raise failure from error
    if not is_whole:
        at_end = claim.release if claim else None
        stream = MeteredStream(response, LargeAnswerReader(api_format), reservation, already_read=data, at_end=at_end)
        return StreamingHttpResponse(stream, content_type="application/json", headers=_headers(reservation))
    if claim:
        claim.store(data)
    report = api_format.read_usage(answer)
    text_bytes = 0 if report.is_exact else api_format.output_text_bytes(answer)
    receipt = metering.charge(reservation, report=report, output_text_bytes=text_bytes)
    result = ApiResponse(data, request_id=reservation.request_id)
    result.headers |= reservation.hold.rate.headers | reservation.priced.headers | receipt.headers
    return result


def _headers(reservation: Reservation) -> dict[str, str]:
    return {"X-Request-Id": reservation.request_id, **reservation.hold.rate.headers, **reservation.priced.headers}


def _plain_failure(error: Exception) -> BillingError:
    if isinstance(error, UpstreamTimeout):
        return error
    if isinstance(error, NothingInTime):
        return UpstreamTimeout(f"the answer stopped: {error}")
    return UpstreamError(f"the answer is broken: {error}")


def _read_up_to(largest: int, response: UpstreamAnswer, reservation: Reservation) -> tuple[bytes, bool]:
    """The answer so far, and whether that is all of it: reading stops once more than `largest` bytes have come."""
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(READ_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > largest:
            return b"".join(chunks), False
        if time.monotonic() > reservation.started + settings.REQUEST_MAX_SECONDS:
            raise UpstreamTimeout("the answer took longer than a request may")
    response.release_conn()
    return b"".join(chunks), True
