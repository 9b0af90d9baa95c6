"""Forwards one reserved request and relays its answer, billing it whatever way it ends."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from urllib3.exceptions import HTTPError, ReadTimeoutError

from accounts.errors import BillingError
from proxy import metering
from proxy.call import ApiFamily
from proxy.errors import UpstreamError, UpstreamTimeout
from proxy.json_body import parse_answer
from proxy.metering import Receipt, Reservation
from proxy.responses import json_response, raw_response
from proxy.upstreams import Upstream

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
LARGEST_ERROR_BYTES = 64 * 1024
CLIENT_WRITE_SECONDS = 60
"""A client that takes nothing for so long is gone."""
PASSED_STATUSES = {400, 404, 413, 422}
"""Refusals that are about the request itself: the client can do something about them."""


def forward(
    *, upstream: Upstream, family: ApiFamily, reservation: Reservation, body: bytes, headers: Mapping[str, str]
) -> HttpResponseBase:
    """Send a reserved request on and answer with what comes. Releases or charges the hold, whatever happens."""
    try:
        response = upstream.post(family.path, body, {**headers, "X-Request-Id": reservation.request_id})
    except BillingError as error:
        metering.release(reservation, status=_status(error), outcome=error.code)
        raise
    if response.status >= 300:
        return _relay_refusal(response, family, reservation)
    if reservation.call.is_stream and "text/event-stream" in response.headers.get("Content-Type", ""):
        stream = MeteredStream(response, family, reservation)
        answer = StreamingHttpResponse(stream, content_type=response.headers["Content-Type"])
        answer["Cache-Control"] = "no-cache"
        answer["X-Accel-Buffering"] = "no"
        answer["X-Request-Id"] = reservation.request_id
        return answer
    return _relay_answer(response, family, reservation)


def _status(error: BillingError) -> int:
    return 504 if isinstance(error, UpstreamTimeout) else 502


def _relay_refusal(response: urllib3.BaseHTTPResponse, family: ApiFamily, reservation: Reservation) -> HttpResponse:
    """An upstream's error: its 4xx about the request passes, its own troubles are ours to explain. Cost 0."""
    try:
        data = response.read(LARGEST_ERROR_BYTES)
    except HTTPError:
        data = b""
    finally:
        response.close()
    metering.release(reservation, status=response.status, outcome="upstream_refused")
    if response.status in PASSED_STATUSES:
        try:
            parse_answer(data)
            return raw_response(data, status=response.status, request_id=reservation.request_id)
        except ValueError:
            message = "The model's provider refused this request without telling why."
            body = family.error_body(status=response.status, code="invalid_request", message=message, details={})
            return json_response(body, status=response.status, request_id=reservation.request_id)
    logger.error("request %s: the upstream answered %s", reservation.request_id, response.status)
    raise UpstreamError(f"the upstream answered {response.status}", retry_after=response.headers.get("Retry-After"))


def _relay_answer(response: urllib3.BaseHTTPResponse, family: ApiFamily, reservation: Reservation) -> HttpResponse:
    """A plain answer: read whole, billed, then sent, so that the balance is exact when the client has it."""
    try:
        data = _read_whole(response, reservation)
        answer = parse_answer(data)
    except (BillingError, HTTPError, ValueError) as error:
        response.close()
        failure = _plain_failure(error)
        metering.release(reservation, status=_status(failure), outcome=failure.code)
        raise failure from error
    receipt = metering.charge(
        reservation, report=family.read_usage(answer), output_text_bytes=family.output_text_bytes(answer)
    )
    return _with_receipt(raw_response(data, request_id=reservation.request_id), receipt)


def _plain_failure(error: Exception) -> BillingError:
    if isinstance(error, UpstreamTimeout):
        return error
    if isinstance(error, ReadTimeoutError):
        return UpstreamTimeout(f"the answer stopped: {error}")
    return UpstreamError(f"the answer is broken: {error}")


def _read_whole(response: urllib3.BaseHTTPResponse, reservation: Reservation) -> bytes:
    chunks = []
    while chunk := response.read1(READ_BYTES):
        chunks.append(chunk)
        if time.monotonic() > reservation.started + settings.REQUEST_MAX_SECONDS:
            raise UpstreamTimeout("the answer took longer than a request may")
    response.release_conn()
    return b"".join(chunks)


def _with_receipt(response: HttpResponse, receipt: Receipt) -> HttpResponse:
    response["X-Credits-Cost"] = f"{receipt.cost:.8f}"
    if receipt.balance_after is not None:
        response["X-Credits-Balance"] = f"{receipt.balance_after:.8f}"
    return response


class MeteredStream:
    """The body of a streamed answer. Bills exactly once: at its end, or in `close` when the client has gone."""

    def __init__(self, response: urllib3.BaseHTTPResponse, family: ApiFamily, reservation: Reservation) -> None:
        self._response = response
        self._family = family
        self._reservation = reservation
        self._reader = family.stream_reader(reservation.call)
        self._deadline = reservation.started + settings.REQUEST_MAX_SECONDS
        self._is_billed = False

    def __iter__(self) -> Iterator[bytes]:
        outcome, last = "ok", b""
        try:
            for data in self._read():
                # The format's last event is held back until the request is settled: who has it sees the new balance.
                if self._reader.is_finished:
                    last += data
                elif data:
                    yield data
        except (UpstreamError, UpstreamTimeout) as error:
            logger.error("request %s: %s", self._reservation.request_id, error)
            outcome, last = error.code, last + self._error_event(error)
        self._bill(outcome)
        if last:
            yield last

    def close(self) -> None:
        """Called by the server when the response ends in any way. A client that left early still pays what it used."""
        if self._is_billed:
            return
        outcome = "client_disconnected"
        try:
            for _ in self._read():
                pass
        except (UpstreamError, UpstreamTimeout) as error:
            outcome = f"{outcome}, {error.code}"
        self._bill(outcome)

    def _read(self) -> Iterator[bytes]:
        """Read the upstream to its end. Raises our error for what it breaks off with, and at the deadline."""
        try:
            while chunk := self._response.read1(READ_BYTES):
                yield self._reader.feed(chunk)
                if time.monotonic() > self._deadline:
                    raise UpstreamTimeout("the stream took longer than a request may")
            yield self._reader.flush()
        except ReadTimeoutError as error:
            raise UpstreamTimeout(f"the stream stopped: {error}") from error
        except HTTPError as error:
            raise UpstreamError(f"the stream broke off: {error}") from error
        if not self._reader.is_finished:
            raise UpstreamError("the stream ended without its last event")
        self._response.release_conn()

    def _error_event(self, error: BillingError) -> bytes:
        message = "The model's provider broke off this answer. You pay for what you received."
        body: dict[str, Any] = self._family.error_body(status=502, code=error.code, message=message, details={})
        return self._family.error_event(body)

    def _bill(self, outcome: str) -> None:
        self._is_billed = True
        report = self._reader.report()
        if not self._reader.text_bytes and report.usage is None and outcome != "ok":
            self._response.close()
            metering.release(self._reservation, status=502, outcome=outcome)
            return
        metering.charge(self._reservation, report=report, output_text_bytes=self._reader.text_bytes, outcome=outcome)
        if outcome != "ok":
            self._response.close()
