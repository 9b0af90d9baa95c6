"""Forwards one reserved request and relays its answer, billing it whatever way it ends."""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from decimal import Decimal

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils import timezone
from pymongo.errors import PyMongoError

from accounts.errors import BillingError
from proxy.api.passed_headers import answer_headers
from proxy.api.request_body import RequestBody
from proxy.api.responses import STATUS_OF, ApiResponse, json_response, request_id_headers
from proxy.billing import metering
from proxy.billing.idempotency import Claim
from proxy.billing.metering import FreeRequest, Reservation
from proxy.errors import InternalError, OutcomeUnknown, UpstreamError, UpstreamTimeout, WrongKindOfAnswer
from proxy.formats.api_format import ApiFormat
from proxy.formats.generated_text import decoded_size
from proxy.formats.json_body import JsonObject, parse_answer
from proxy.formats.operator_costs import tells_costs, without_costs
from proxy.formats.usage_counts import as_count, as_usd
from proxy.relay.body_kind import BodyKind, kind_of_body
from proxy.relay.large_answer import LargeAnswerReader, begins_like_an_answer
from proxy.relay.metered_stream import READ_BYTES, MeteredStream
from proxy.relay.upstream_errors import PASSED_STATUSES, ReportedError, mask, passing_error
from proxy.upstream.client import Upstream
from proxy.upstream.http import NothingInTime, TransportError, UpstreamAnswer

logger = logging.getLogger(__name__)

Answer = ApiResponse | StreamingHttpResponse

LARGEST_SMALL_BYTES = 64 * 1024
LARGEST_BUFFERED_BYTES = 1024 * 1024
"""A longer plain answer is passed on as it comes: memory stays flat."""
LARGEST_KEPT_ANSWER_BYTES = 8 * 1024 * 1024
"""A longer answer is not kept for an idempotency key. (A document has at most 16 MB.)"""
TOO_LARGE = 413
LOGGED_BYTES = 300
A_STREAM_UNASKED = "a stream came for a plain request: what it cost is not known"


def forward(
    *,
    upstream: Upstream,
    api_format: ApiFormat,
    reservation: Reservation,
    body: RequestBody,
    headers: Mapping[str, str],
    query: str,
    claim: Claim | None,
    at_end: ExitStack,
) -> Answer:
    """Send a reserved request on and answer with what comes. Releases or charges the hold, whatever happens.

    The body is let go once the upstream has answered. A plain answer is stored for its idempotency key before it is
    billed. One that is too large for that keeps the key until it has ended. `at_end` is what is to be done at the
    request's end: an answer that is passed on as it comes takes it over.
    """
    try:
        text_bytes = decoded_size(body.data)
        response = _send(
            upstream=upstream, api_format=api_format, reservation=reservation, body=body, headers=headers, query=query
        )
        body.close()
        if response.status >= 300:
            return _relay_refusal(response, api_format, reservation)
        return _relay_answer(response, api_format, reservation, input_text_bytes=text_bytes, claim=claim, at_end=at_end)
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
    body: RequestBody,
    headers: Mapping[str, str],
    query: str,
) -> UpstreamAnswer:
    price = reservation.price
    try:
        edited = api_format.prepare(
            body.data,
            body.parsed,
            reservation.call,
            model=price.upstream_model_id,
            max_output_tokens=reservation.max_output_tokens,
            output_member=price.output_member,
            removed_tools=[tool.position for tool in reservation.priced.removed_tools],
        )
        body.edited(edited)
        return upstream.post(api_format.path + query, edited, {**headers, "X-Request-Id": reservation.request_id})
    except BillingError as error:
        metering.release(reservation, status=STATUS_OF[error.code], outcome=error.code)
        raise


def forward_free(
    *,
    upstream: Upstream,
    api_format: ApiFormat,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    query: str,
    entry: FreeRequest,
) -> ApiResponse:
    """Send a request on that costs nothing, and log that it reached the upstream."""
    started_at = timezone.now()
    try:
        response = upstream.post(path + query, body, {**headers, "X-Request-Id": entry.request_id})
        data = _read_small(response) if response.status != 200 else _read_count(response)
    except BillingError as error:
        metering.log_free(entry, endpoint=path, status=STATUS_OF[error.code], outcome=error.code, started_at=started_at)
        raise
    outcome = "ok" if response.status == 200 else "upstream_refused"
    metering.log_free(entry, endpoint=path, status=response.status, outcome=outcome, started_at=started_at)
    if response.status == 200:
        result = ApiResponse(data, request_id=entry.request_id)
        result.headers |= answer_headers(response.headers)
        return result
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
    """A small answer that must be a count of tokens. Raises `UpstreamError`, `UpstreamTimeout`."""
    try:
        data = response.read(LARGEST_SMALL_BYTES)
        if as_count(parse_answer(data).get("input_tokens")) is None:
            raise ValueError("no count of tokens")
    except (TransportError, ValueError) as error:
        raise _plain_failure(error) from error
    finally:
        response.close()
    return data


def _answer_refusal(response: UpstreamAnswer, data: bytes, api_format: ApiFormat, request_id: str) -> ApiResponse:
    """The upstream's 4xx about the request passes; its own troubles are ours to explain, as `UpstreamError`."""
    status = response.status
    reported = _reported_error(data) if status in PASSED_STATUSES else None
    if reported is None and status == TOO_LARGE:  # The status alone says that it is about the request.
        reported = ReportedError(
            "The model's provider refused this request: it is too large.", code="request_too_large"
        )
    if reported is not None:
        details = {"param": reported.param} if reported.param else {}
        code = reported.code or "invalid_request"
        body = api_format.error_body(status=status, code=code, message=reported.message, details=details)
        refusal = json_response(body, status=status, request_id=request_id)
        refusal.headers["X-Should-Retry"] = "false"
        return refusal
    logger.error("request %s: the upstream answered %s: %s", request_id, status, _beginning(data))
    raise UpstreamError(f"the upstream answered {status}", retry_after=response.headers.get("Retry-After"))


def _reported_error(data: bytes) -> ReportedError | None:
    try:
        return passing_error(parse_answer(data))
    except ValueError:
        return None


def _relay_answer(
    response: UpstreamAnswer,
    api_format: ApiFormat,
    reservation: Reservation,
    *,
    input_text_bytes: int,
    claim: Claim | None,
    at_end: ExitStack,
) -> Answer:
    """An answer that the upstream calls good, judged by its body. What is none costs nothing, and gives the key back.

    A JSON object is a plain answer, also to a request for a stream: the client gets what the upstream made of it.
    """
    try:
        start, kind = _read_start(response, reservation)
        if kind is BodyKind.EVENTS and reservation.call.is_stream:
            return _relay_stream(
                response, api_format, reservation, start=start, input_text_bytes=input_text_bytes, at_end=at_end
            )
        if kind is BodyKind.EVENTS:
            raise WrongKindOfAnswer("the upstream answered a plain request with a stream, which it may charge for")
        if kind is not BodyKind.OBJECT:
            raise UpstreamError(f"the answer is {BodyKind.OTHER.value}: {_beginning(start)}")
        data, is_whole = _read_up_to(
            LARGEST_KEPT_ANSWER_BYTES if claim else LARGEST_BUFFERED_BYTES, start, response, reservation
        )
        if not is_whole:
            return _relay_large(
                response, api_format, reservation, data=data, input_text_bytes=input_text_bytes, at_end=at_end
            )
        answer = parse_answer(data)
        if not api_format.is_answer(answer):
            raise UpstreamError(f"the answer is an error, or nothing: {_beginning(data)}")
        data = without_costs(data) if tells_costs(answer) else data
    except (BillingError, TransportError, ValueError) as error:
        response.close()
        failure = _plain_failure(error)
        logger.error("request %s: %s", reservation.request_id, failure)
        problem = A_STREAM_UNASKED if isinstance(failure, WrongKindOfAnswer) else None
        metering.release(reservation, status=STATUS_OF[failure.code], outcome=failure.code, problem=problem)
        raise failure from error
    except Exception:
        response.close()
        raise
    return _bill_plain(
        response,
        api_format,
        reservation,
        data=data,
        answer=answer,
        input_text_bytes=input_text_bytes,
        claim=claim,
    )


def _bill_plain(
    response: UpstreamAnswer,
    api_format: ApiFormat,
    reservation: Reservation,
    *,
    data: bytes,
    answer: JsonObject,
    input_text_bytes: int,
    claim: Claim | None,
) -> ApiResponse:
    """A plain answer that was read whole: billed, then sent, so that the balance is exact when the client has it.

    Raises `OutcomeUnknown`: the client does not get what may never be billed.
    """
    report, model = api_format.read_usage(answer), answer.get("model")
    bill = metering.make_bill(
        reservation,
        report=report,
        output_text_bytes=0 if report.is_exact else api_format.output_text_bytes(data, answer),
        input_text_bytes=input_text_bytes,
        told_cost=_told_cost(response),
        answered_model=model if isinstance(model, str) else None,
    )
    try:
        if claim:
            claim.store(data, bill)
        receipt = metering.collect(bill)
    except (OutcomeUnknown, PyMongoError) as error:
        raise OutcomeUnknown(reservation.request_id, is_keyed=claim is not None) from error
    result = ApiResponse(data, request_id=reservation.request_id)
    result.headers |= _headers(response, reservation) | receipt.headers
    return result


def _read_start(response: UpstreamAnswer, reservation: Reservation) -> tuple[bytes, BodyKind | None]:
    """The first bytes of a body, as many as tell what it is; None for what ends before that."""
    start = response.read1(READ_BYTES)
    while (kind := kind_of_body(start)) is None and len(start) < LARGEST_SMALL_BYTES:
        more = response.read1(READ_BYTES)
        if not more:
            break
        start += more
        _check_time(reservation)
    return start, kind


def _relay_stream(
    response: UpstreamAnswer,
    api_format: ApiFormat,
    reservation: Reservation,
    *,
    start: bytes,
    input_text_bytes: int,
    at_end: ExitStack,
) -> StreamingHttpResponse:
    """A streamed answer: passed on as it comes, billed when it ends. Its first event decides whether it is one."""
    reader = api_format.stream_reader(reservation.call)
    begun = reader.feed(start)
    while not (begun or reader.error or reader.is_garbage) and (chunk := response.read1(READ_BYTES)):
        begun = reader.feed(chunk)
        _check_time(reservation)
    if not begun and not reader.error:
        begun = reader.flush()
    if reader.is_garbage or not (begun or reader.error) or (reader.is_finished and reader.says_nothing()):
        raise UpstreamError(f"the stream is none of this format: {_beginning(start)}")
    if reader.error and not begun and passing_error(reader.error) is None:
        raise UpstreamError(f"the stream begins with an error: {mask(str(reader.error)[:500])}")
    stream = MeteredStream(
        response,
        reader,
        reservation,
        begun=begun,
        input_text_bytes=input_text_bytes,
        told_cost=_told_cost(response),
        error_format=api_format,
        at_end=at_end.pop_all().close,
    )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **_headers(response, reservation)}
    return StreamingHttpResponse(stream, content_type="text/event-stream", headers=headers)


def _relay_large(
    response: UpstreamAnswer,
    api_format: ApiFormat,
    reservation: Reservation,
    *,
    data: bytes,
    input_text_bytes: int,
    at_end: ExitStack,
) -> StreamingHttpResponse:
    """A plain answer that is too large to wait for: passed on as it comes, billed at its end."""
    if not begins_like_an_answer(data, api_format):
        raise UpstreamError(f"the large answer is none of this format: {_beginning(data)}")
    reader = LargeAnswerReader(api_format)
    stream = MeteredStream(
        response,
        reader,
        reservation,
        begun=reader.feed(data),
        input_text_bytes=input_text_bytes,
        told_cost=_told_cost(response),
        at_end=at_end.pop_all().close,
    )
    return StreamingHttpResponse(stream, content_type="application/json", headers=_headers(response, reservation))


def _told_cost(response: UpstreamAnswer) -> Decimal | None:
    """What LiteLLM says that an answer costs the operator, in USD."""
    return as_usd(response.headers.get("x-litellm-response-cost"))


def _check_time(reservation: Reservation) -> None:
    """Raise `UpstreamTimeout` once a request has taken longer than one may, whatever comes in between."""
    if time.monotonic() > reservation.started + settings.REQUEST_MAX_SECONDS:
        raise UpstreamTimeout("the answer took longer than a request may")


def _headers(response: UpstreamAnswer, reservation: Reservation) -> dict[str, str]:
    return {
        **answer_headers(response.headers),
        **request_id_headers(reservation.request_id),
        **reservation.headers,
    }


def _beginning(data: bytes) -> str:
    """What of a body that is not passed on is worth a line in the operator's log, where no key may stand."""
    return mask(data[:LOGGED_BYTES].decode(errors="replace"))


def _plain_failure(error: Exception) -> BillingError:
    if isinstance(error, BillingError):
        return error
    if isinstance(error, NothingInTime):
        return UpstreamTimeout(f"the answer stopped: {error}")
    return UpstreamError(f"the answer is broken: {error}")


def _read_up_to(largest: int, start: bytes, response: UpstreamAnswer, reservation: Reservation) -> tuple[bytes, bool]:
    """The answer so far, and whether that is all of it: reading stops once more than `largest` bytes have come."""
    chunks = [start]
    size = len(start)
    while chunk := response.read1(READ_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > largest:
            return b"".join(chunks), False
        _check_time(reservation)
    response.release_conn()
    return b"".join(chunks), True
