"""The life of a metered request's credits: reserve (hold) → record (write-ahead log) → settle.

A crash at any point neither loses credits nor charges twice: `abandoned.py` finishes what it left.
"""

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from accounts import credits
from accounts.errors import CreditsExpired, InsufficientCredits, KeyBudgetReached
from accounts.keys import mask_key
from accounts.models import Balance
from accounts.review import note_unbilled_timeout
from money.amounts import MAX_AMOUNT, QUANTUM, ZERO, from_bson, round_usd, usd_text
from mongo.collections import Document, collection_of
from proxy.billing.answered_model import row_of_answer
from proxy.billing.closing import close
from proxy.billing.price_book import PRICES
from proxy.billing.pricing import Price, Usage
from proxy.billing.refusals import count_refusal
from proxy.billing.request_log import log_document
from proxy.billing.terms import PricedCall
from proxy.errors import CannotAfford, OutcomeUnknown, ServiceUnavailable, UpstreamTimeout, WorstCase
from proxy.formats.api_format import Call, UsageReport
from proxy.models import RequestLog

logger = logging.getLogger(__name__)

ESTIMATED_BYTES_PER_TOKEN = 4
"""For usage that the upstream did not report: about what tokenizers make of English text."""
ESTIMATED_AUDIO_BYTES_PER_TOKEN = 500
"""Of sound in base64: 10 tokens a second, at 32 kbit/s."""
LONGEST_PROBLEM = 100
"""Characters that the log has room for."""


@dataclass(frozen=True)
class Reservation:
    """A request that may be forwarded: its hold, its price, and the output bound that the hold pays for."""

    request_id: str
    endpoint: str
    key_prefix: str
    priced: PricedCall
    hold: credits.Hold
    max_output_tokens: int
    started_at: datetime
    started: float

    @property
    def call(self) -> Call:
        return self.priced.call

    @property
    def price(self) -> Price:
        return self.priced.price

    @property
    def username(self) -> str:
        return self.hold.username

    @property
    def lowered_to(self) -> int | None:
        """The output bound of a choice, where the balance affords less than the client's limit, or than the model's."""
        return self.max_output_tokens if self.max_output_tokens < self.priced.most_output_tokens else None

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of the request: its rate limit, `X-Removed-Tools`, `X-Max-Tokens-Lowered`."""
        lowered = {} if self.lowered_to is None else {"X-Max-Tokens-Lowered": str(self.lowered_to)}
        return self.hold.rate.headers | self.priced.headers | lowered


@dataclass(frozen=True)
class Receipt:
    """What a finished request cost. USD. `balance_after` is None if the sweeper had already closed the request."""

    cost: Decimal
    uncollected: Decimal
    balance_after: Decimal | None

    @property
    def headers(self) -> dict[str, str]:
        """`X-Credits-Cost` and `X-Credits-Balance`, in USD with 8 places."""
        headers = {"X-Credits-Cost": usd_text(self.cost)}
        return headers if self.balance_after is None else headers | {"X-Credits-Balance": usd_text(self.balance_after)}


def reserve(*, request_id: str, api_key: str, balance: Balance, endpoint: str, priced: PricedCall) -> Reservation:
    """Authenticate and hold the worst case of a call, in one database round trip. USD.

    A call without an output bound holds the model's maximum, or what the balance affords if that is still useful: then
    half of what is free, so that requests at once share it. So does a call whose format demands a bound.
    Raises `InvalidApiKey`, `AccountNeedsRepair`, `KeyDisabled`, `KeyExpired`, `AccountDisabled`, `CreditsExpired`,
    `ModelNotAllowed`, `RateLimitExceeded`, `CannotAfford`, `KeyBudgetReached`. Refusals for want of credits are counted
    for the dashboard. Not safe to repeat: each call is another hold.
    """
    call, price, terms, bound = priced.call, priced.price, priced.terms, priced.input_bound_tokens
    most = priced.most_output_tokens
    least = _least_output_tokens(priced)
    started_at, started = timezone.now(), time.monotonic()
    minimum = price.worst_case(bound, least * call.choices, terms)
    maximum = minimum if least == most else price.worst_case(bound, most * call.choices, terms)
    # Nobody asked for the model's maximum: it never takes more than half of what is free.
    ample = maximum if call.max_output_tokens else 2 * maximum
    try:
        hold = credits.hold(
            api_key=api_key,
            balance=balance,
            request_id=request_id,
            minimum=minimum,
            maximum=maximum,
            ample=ample,
            models=names_of(call, price),
            now=started_at,
        )
    except CreditsExpired as error:
        count_refusal(upstream=balance, code=error.code)
        raise
    except InsufficientCredits as error:
        count_refusal(upstream=balance, code=error.code)
        raise _cannot_afford(error, balance, priced) from error
    if hold.amount < maximum:
        most = min(most, price.affordable_output_tokens(bound, hold.amount, terms) // call.choices)
    return Reservation(
        request_id=request_id,
        endpoint=endpoint,
        key_prefix=mask_key(api_key),
        priced=priced,
        hold=hold,
        max_output_tokens=most,
        started_at=started_at,
        started=started,
    )


def _least_output_tokens(priced: PricedCall) -> int:
    """The smallest output bound of a choice that a call is worth forwarding with."""
    call, most = priced.call, priced.most_output_tokens
    useful: int = min(most, settings.MIN_USEFUL_OUTPUT_TOKENS)
    if call.max_output_tokens is None:
        return max(useful, call.thinking_tokens)
    if settings.LOWER_MAX_TOKENS and call.must_name_limit and call.thinking_tokens < call.max_output_tokens:
        return min(most, call.thinking_tokens + useful)  # The limit must be above the budget for thinking.
    return most


def worst_case_of(priced: PricedCall) -> WorstCase:
    """The tokens that a call must be able to pay for before it is forwarded: what `reserve` asks of the balance."""
    least = _least_output_tokens(priced)
    is_limited = least == priced.most_output_tokens
    return WorstCase(priced.input_bound_tokens, least, priced.call.choices, is_limited=is_limited)


def names_of(call: Call, price: Price) -> tuple[str, ...]:
    """The names of the model that is asked for: as the client wrote it, and as the price row has it."""
    return (call.model, price.model_id)


def check_can_pay(*, api_key: str, balance: Balance) -> None:
    """Refuse who can pay for no request at all on this balance, as `reserve` would, but before the request is known.

    Holds and counts nothing, in one round trip. A model that is free needs no credits, but no debt either. Raises
    `InvalidApiKey`, `AccountDisabled`, `AccountUnderReview`, `CreditsExpired`, `RateLimitExceeded`, `CannotAfford`, and
    what is wrong with the key itself, such as `KeyDisabled` or `KeyBudgetReached`.
    """
    try:
        credits.check_may_hold(api_key=api_key, balance=balance, minimum=QUANTUM)
    except CreditsExpired as error:
        count_refusal(upstream=balance, code=error.code)
        raise
    except KeyBudgetReached as error:
        if error.left < ZERO or not PRICES.has_free_model(balance):
            raise
    except InsufficientCredits as error:
        if error.available >= ZERO and PRICES.has_free_model(balance):
            return
        count_refusal(upstream=balance, code=error.code)
        raise _cannot_afford(error, balance) from error


def _cannot_afford(error: InsufficientCredits, balance: Balance, priced: PricedCall | None = None) -> CannotAfford:
    """What the customer is told of a balance that is too small; `priced` None = the request is not known yet."""
    affordable, limit_member = 0, "max_tokens"
    if priced is not None:
        call, limit_member = priced.call, priced.call.limit_member
        if call.has_output:
            bound, terms = priced.input_bound_tokens, priced.terms
            affordable = priced.price.affordable_output_tokens(bound, error.available, terms) // call.choices
    refusal = CannotAfford(
        balance=balance,
        required=error.required,
        available=error.available,
        held=error.held,
        affordable_max_tokens=affordable,
        worst_case=None if priced is None else worst_case_of(priced),
        limit_member=limit_member,
        retry_seconds=error.retry_seconds,
    )
    refusal.account_then = error.account_then
    return refusal


def make_bill(
    reservation: Reservation,
    *,
    report: UsageReport,
    output_text_bytes: int,
    input_text_bytes: int | None = None,
    outcome: str = "ok",
    told_cost: Decimal | None = None,
    answered_model: str | None = None,
) -> Document:
    """The log of a request that was answered, in full or in part, as `collect` is to write it. USD.

    What the report lacks is estimated from the texts (`input_text_bytes` None: the whole request), and marked so.
    `told_cost` is what the answer's header says that the operator pays. The larger of it and what the report says is
    kept; without both it is reckoned by the price row.
    `answered_model` is the model that the answer names: another model with a dearer price row is billed by that row.
    Raises `BrokenInvariant`.
    """
    usage, source, problem = report.usage or Usage(), RequestLog.UsageSource.UPSTREAM, report.problem
    if not report.is_exact:
        text_bytes = reservation.call.text_bytes if input_text_bytes is None else input_text_bytes
        usage = estimate(reservation, report, input_text_bytes=text_bytes, output_text_bytes=output_text_bytes)
        if usage != report.usage:
            source, problem = RequestLog.UsageSource.ESTIMATED, problem or "no output reported"
    price = reservation.price
    if answered_model is not None and answered_model != price.upstream_model_id:
        price, other = row_of_answer(reservation.priced, answered_model, usage, balance=reservation.hold.balance)
        problem = "; ".join(filter(None, (problem, other))) or None
    if problem:
        logger.warning("request %s: usage %s, %s", reservation.request_id, problem, source.value)
        problem = problem[:LONGEST_PROBLEM]
    return _log(
        reservation,
        usage,
        price=price,
        source=source,
        problem=problem,
        status=200,
        outcome=outcome,
        own_cost=_own_cost(reservation, usage, _larger(told_cost, report.told_cost), price),
    )


def collect(bill: Document, *, is_sent: bool = False) -> Receipt:
    """Bill an answered request: its log, then the settlement; returns what it cost. USD.

    The log is tried for `RECORD_PATIENCE_SECONDS`, longer if the answer `is_sent` already. Raises `OutcomeUnknown` if
    the database confirms it in none of the tries: one of them may still arrive. Safe to repeat, and beside the sweep:
    the log's key lets one through, and all settle by that.
    """
    try:
        patience = settings.SENT_RECORD_PATIENCE_SECONDS if is_sent else settings.RECORD_PATIENCE_SECONDS
        closure = close(bill, patience_seconds=patience)
    except ServiceUnavailable as error:
        raise OutcomeUnknown(bill["_id"]) from error
    if closure.is_abandoned:
        logger.error("request %s had been given up by the sweep when it ended", bill["_id"])
        return Receipt(ZERO, from_bson(bill["creditsCost"]) + from_bson(bill["uncollected"]), None)
    return Receipt(closure.cost, from_bson(closure.log.get("uncollected")), closure.balance_after)


def release(reservation: Reservation, *, status: int, outcome: str, problem: str | None = None) -> None:
    """Give the whole hold back, at cost 0: the upstream failed before any output, or refused the request.

    Raises `ServiceUnavailable` when that cannot be recorded; the sweep then gives the hold back. Safe to repeat.
    """
    source, price = RequestLog.UsageSource.NONE, reservation.price
    log = _log(reservation, Usage(), price=price, source=source, problem=problem, status=status, outcome=outcome)
    close(log, patience_seconds=settings.RECORD_PATIENCE_SECONDS)
    if UpstreamTimeout.code in outcome:  # What it used is not known, and not billed.
        note_unbilled_timeout(username=reservation.username)


def estimate(reservation: Reservation, report: UsageReport, *, input_text_bytes: int, output_text_bytes: int) -> Usage:
    """The usage with what was not reported: by the bytes of the texts, and attachments by their bounds.

    What is estimated never comes to more than what the request holds for, and never to less than what was reported.
    """
    priced, usage = reservation.priced, report.usage or Usage()
    if report.lacks_input:
        asked = priced.call.asked
        data_bytes = asked.hidden_bytes + asked.file_bytes + asked.audio_bytes
        text = -(-max(input_text_bytes - data_bytes, 0) // ESTIMATED_BYTES_PER_TOKEN)
        tokens = min(max(text + priced.attachment_tokens, 1), priced.input_bound_tokens)
        audio = min(-(-asked.audio_bytes // ESTIMATED_AUDIO_BYTES_PER_TOKEN), priced.input_bound_tokens - tokens)
        usage = replace(usage, input_tokens=tokens, input_audio_tokens=audio)
    if report.lacks_output:
        most = reservation.max_output_tokens * priced.call.choices
        tokens = min(-(-output_text_bytes // ESTIMATED_BYTES_PER_TOKEN), most)
        more = max(tokens - usage.total_output_tokens, 0)
        usage = replace(usage, output_tokens=usage.output_tokens + more)
    return usage


@dataclass(frozen=True)
class FreeRequest:
    """A request that is forwarded at no charge and without a hold."""

    request_id: str
    username: str
    key_prefix: str
    balance: Balance
    model: str


def log_free(request: FreeRequest, *, endpoint: str, status: int, outcome: str, started_at: datetime) -> None:
    """Record a free request that reached the upstream. Not safe to repeat: the second one violates the log's key."""
    document = log_document(
        request_id=request.request_id,
        username=request.username,
        key_prefix=request.key_prefix,
        balance=request.balance,
        endpoint=endpoint,
        model=request.model,
        is_stream=False,
        status=status,
        outcome=outcome,
        latency_ms=int((timezone.now() - started_at) / timedelta(milliseconds=1)),
        created_at=started_at,
    )
    collection_of(RequestLog).insert_one(document)


def _larger(*costs: Decimal | None) -> Decimal | None:
    return max((cost for cost in costs if cost is not None), default=None)


OwnCost = tuple[Decimal, RequestLog.OwnCostSource]


def _own_cost(reservation: Reservation, usage: Usage, told: Decimal | None, price: Price) -> OwnCost | None:
    """What the operator pays, in USD, and how it is known; None if it is not. A told cost that is none is not used."""
    if told is not None and told.is_finite() and ZERO <= told <= MAX_AMOUNT:
        return round_usd(told), RequestLog.OwnCostSource.TOLD
    reckoned = price.own_cost(usage, reservation.priced.terms)
    return None if reckoned is None else (reckoned, RequestLog.OwnCostSource.RECKONED)


def _log(
    reservation: Reservation,
    usage: Usage,
    *,
    price: Price,
    source: RequestLog.UsageSource,
    problem: str | None,
    status: int,
    outcome: str,
    own_cost: OwnCost | None = None,
) -> Document:
    hold = reservation.hold
    return log_document(
        request_id=reservation.request_id,
        username=hold.username,
        key_prefix=reservation.key_prefix,
        key_id=hold.key_id,
        balance=hold.balance,
        endpoint=reservation.endpoint,
        model=reservation.price.model_id,
        is_stream=reservation.call.is_stream,
        usage=usage,
        usage_source=source,
        usage_problem=problem,
        full_cost=price.cost(usage, reservation.priced.terms),
        hold=hold.amount,
        lowered_to=reservation.lowered_to,
        price=price,
        terms=reservation.priced.terms,
        own_cost=own_cost[0] if own_cost else None,
        own_cost_source=own_cost[1] if own_cost else None,
        status=status,
        outcome=outcome,
        latency_ms=int((time.monotonic() - reservation.started) * 1000),
        created_at=reservation.started_at,
    )
