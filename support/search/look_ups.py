"""Where the search box looks, and what it finds there: one function per collection, each look-up by an index."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from bson import ObjectId
from django.db.models import Model, Q
from django.urls import reverse

from accounts.models import Account, LedgerEntry
from border.digits import is_digits
from money.amounts import format_usd
from mongo.days import show_minute
from mongo.unreadable import id_of_text, is_odd_id
from payments.inbox.search import amounts_of, find_events
from payments.models import Payment, Reversal, WebhookEvent
from payments.orders.prices import currency_of
from payments.providers import all_providers
from proxy.models import RefusedRequest, RequestLog
from support.admin.base import name_starts_with, names_of, starts_with
from support.admin.display import account_url, document_key, show_money
from support.admin.request_ids import logs_beginning, refusals_beginning
from support.models import AuditEntry
from support.search import meanings
from support.search.names import find_names

SHOWN = 10
"""Rows that are shown of each collection."""
SHOWN_OF_A_KEY = 16
"""Characters of an API key that pages show: a longer beginning would let one find the rest letter by letter."""
MOST_AMOUNT = 10**13


def _by_id(model: type[Model], text: str) -> dict[str, str]:
    return {"operation" if model is LedgerEntry else "pk": text}


@dataclass(frozen=True)
class Query:
    """What is searched. `text` is `raw` without what people and pages put around it; `after`: names after this one.

    `seen` is what the user may see.
    """

    raw: str
    text: str
    seen: frozenset[type[Model]] = frozenset()
    after: str = ""

    @property
    def object_id(self) -> ObjectId | None:
        """The text as a key that MongoDB makes; None if it is none."""
        return ObjectId(self.text) if ObjectId.is_valid(self.text) and len(self.text) == 24 else None

    @cached_property
    def events(self) -> list[WebhookEvent]:
        """The events that the text names by an id or the bank's reference, the latest first."""
        condition = Q(event_id__in=meanings.event_ids_of(self.text))
        condition |= Q(reference__in=meanings.references_in(self.text))
        condition |= Q(pk=self.object_id) if self.object_id else Q()
        return list(WebhookEvent.objects.filter(condition).order_by("-received_at")[:SHOWN])

    @cached_property
    def payments(self) -> list[Payment]:
        """The payments that the text names by order code, id, provider's transaction, or that of a refund or event."""
        text = self.text
        keys = [self.object_id] if self.object_id else []
        keys += [event.payment_id for event in self.events if event.payment_id]  # type: ignore[attr-defined]
        reversed_by = Q(provider__in=[provider.name for provider in all_providers()], reversal_id=text)
        keys += Reversal.objects.filter(reversed_by).order_by().values_list("payment_id", flat=True)[:SHOWN]
        condition = (
            Q(order_code__in=meanings.order_codes_in(text))
            | Q(provider_transaction_id=text)
            | starts_with("provider_transaction_id", f"{text}#")  # Parts of a transfer that staff split.
            | Q(sepay_transaction_id=text)
            | Q(provider_charge_id=text)
            | Q(pk__in=keys)
        )
        return list(Payment.objects.filter(condition).order_by()[:SHOWN])

    @cached_property
    def is_exact_elsewhere(self) -> bool:
        """Whether the text is exactly something that is no account: then names that contain it are not looked for."""
        named = (Payment in self.seen and self.payments) or (WebhookEvent in self.seen and self.events)
        ids = [model for model in (RequestLog, RefusedRequest, LedgerEntry) if model in self.seen]
        return bool(named) or any(model._default_manager.filter(**_by_id(model, self.text)).exists() for model in ids)


@dataclass(frozen=True)
class Hit:
    """One row. `is_exact`: this is what was typed, not something like it. `payment`: that of an event."""

    title: str
    detail: str
    address: str
    is_exact: bool = False
    payment: Any = None
    key: Any = None


@dataclass
class Found:
    """What was found in one collection; `note` is a sentence about what was not looked at, `go_on` where to go on."""

    hits: list[Hit] = field(default_factory=list)
    has_more: bool = False
    note: str = ""
    go_on: str = ""


def _page(model: type[Model], key: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(document_key(key),))


def _when(moment: Any) -> str:
    return show_minute(moment) if moment is not None else "no date"


def _new(found: Iterable[Hit], hits: list[Hit]) -> list[Hit]:
    """What is not among the hits yet."""
    known = {hit.key for hit in hits}
    return [hit for hit in found if hit.key not in known]


# --- Accounts ---------------------------------------------------------------------------------------------------------


def exact_accounts(query: Query) -> list[Hit]:
    """By the whole name, or the Discord id."""
    names = {*names_of(query.raw.strip()), *names_of(query.text)}
    condition = Q(pk__in=[id_of_text(name) if is_odd_id(name) else name for name in names])
    found = list(Account.objects.filter(condition)[:SHOWN])
    if is_digits(query.text):
        found += [one for one in Account.objects.filter(discord_id=query.text)[:SHOWN] if one not in found]
    return [_account(account, is_exact=True) for account in found]


def like_accounts(query: Query, hits: list[Hit]) -> Found:
    """By the beginning of the name or of the key, and then by any part of the name."""
    if query.text.startswith("sk-"):
        prefix = query.text[:SHOWN_OF_A_KEY]
        condition = starts_with("api_key_prefix", prefix) | starts_with("legacy_api_key", prefix)
        return _first(Account.objects.filter(condition), hits, _account)
    if not query.after:
        found = _first(Account.objects.filter(name_starts_with("username", query.text)), hits, _account)
        if found.has_more:
            return found
    else:
        found = Found()
    if hits or (query.is_exact_elsewhere and not query.after):
        found.note = "It is exactly what is shown, so names that contain it were not looked for."
        return found
    inside = find_names(query.text, most=SHOWN, after=query.after)
    accounts = Account.objects.in_bulk(inside.names)
    rows = [_account(accounts[name]) for name in inside.names if name in accounts]
    found.hits += _new(rows, [*hits, *found.hits])
    if inside.stopped_at is not None:
        found.note = f"Names that contain it were looked for up to “{inside.stopped_at}”, in alphabetical order."
        found.go_on = inside.stopped_at
    return found


def _account(account: Account, *, is_exact: bool = False) -> Hit:
    state = "" if account.is_active else ", disabled"
    detail = f"OpenHands {format_usd(account.credits_new)}, OhMyGPT {format_usd(account.credits)}{state}"
    return Hit(str(account.pk), detail, account_url(account.pk), is_exact, key=account.pk)


def _first(queryset: Any, hits: list[Hit], show: Callable[[Any], Hit], *, most: int = SHOWN) -> Found:
    rows = list(queryset[: most + len(hits) + 1])
    new = _new((show(row) for row in rows), hits)
    return Found(new[:most], has_more=len(new) > most)


# --- Payments ---------------------------------------------------------------------------------------------------------


def exact_payments(query: Query) -> list[Hit]:
    """By order code, id, the provider's transaction, or the reference that the bank gave it."""
    return [_payment(payment, is_exact=True) for payment in query.payments]


def like_payments(query: Query, hits: list[Hit]) -> Found:
    """By the beginning of the order code, the Discord id, or an amount that was ordered, asked or received."""
    beginnings = meanings.beginnings_of_codes(query.text)
    conditions = [starts_with("order_code", beginning) for beginning in beginnings]
    conditions += [Q(discord_id=query.text)] if is_digits(query.text) else []
    amounts = _amounts_in(query)
    conditions += [Q(**{f"{name}__in": amounts}) for name in ("amount", "received_amount", "credits") if amounts]
    rows: dict[Any, Payment] = {}
    for condition in conditions:
        found = Payment.objects.filter(condition).order_by("-created_at")[: SHOWN + 1]
        rows |= {payment.pk: payment for payment in found}
    new = _new((_payment(payment) for payment in rows.values()), hits)
    return Found(new[:SHOWN], has_more=len(new) > SHOWN)


def _amounts_in(query: Query) -> list[Decimal]:
    """Every amount that may be meant; both readings where a point or a comma can mean two things."""
    return sorted(amount for amount in amounts_of(query.raw) if amount < MOST_AMOUNT)


def _payment(payment: Payment, *, is_exact: bool = False) -> Hit:
    price = show_money(payment.amount, currency_of(payment))
    detail = f"{price} of {payment.user_id}, {payment.get_status_display()}, {_when(payment.created_at)}"
    return Hit(str(payment), detail, _page(Payment, payment.pk), is_exact, payment=payment.pk, key=payment.pk)


# --- Webhook events ---------------------------------------------------------------------------------------------------


def exact_events(query: Query) -> list[Hit]:
    """By the provider's event id, by their own, or the bank's reference."""
    return [_event(event, is_exact=True) for event in query.events]


def like_events(query: Query, hits: list[Hit]) -> Found:
    """By the payment that is named, the beginning of the event id, or by what it tells, if it waits for staff."""
    conditions = []
    if keys := [payment.pk for payment in query.payments]:
        conditions.append((Q(payment_id__in=keys), "-received_at"))
    if len(query.text) >= meanings.LEAST_OF_AN_ID:
        conditions += [(starts_with("event_id", one), "event_id") for one in meanings.event_ids_of(query.text)]
    # What an event tells: its amount, memo, time, reference, and why it waits.
    conditions.append((Q(pk__in=find_events(query.text).keys), "-received_at"))
    rows: dict[Any, WebhookEvent] = {}
    for condition, order in conditions:
        found = WebhookEvent.objects.filter(condition).order_by(order)[: SHOWN + 1]
        rows |= {event.pk: event for event in found}
    new = _new((_event(event) for event in rows.values()), hits)
    return Found(new[:SHOWN], has_more=len(new) > SHOWN)


def _event(event: WebhookEvent, *, is_exact: bool = False) -> Hit:
    detail = f"{event.provider} {event.kind}, {event.get_status_display()}, {_when(event.received_at)}"
    if event.error:
        detail += f": {event.error[:100]}"
    payment = event.payment_id  # type: ignore[attr-defined]
    return Hit(event.event_id, detail, _page(WebhookEvent, event.pk), is_exact, payment=payment, key=event.pk)


# --- Requests, refusals, ledger, audit --------------------------------------------------------------------------------


def exact_requests(query: Query) -> list[Hit]:
    return [_request(log, is_exact=True) for log in RequestLog.objects.filter(pk=query.text)]


def like_requests(query: Query, hits: list[Hit]) -> Found:
    rows = RequestLog.objects.filter(pk__in=logs_beginning(query.text)[: SHOWN + 2])
    return _first(rows, hits, _request)


def _request(log: RequestLog, *, is_exact: bool = False) -> Hit:
    detail = f"{log.user_id}, {log.model}, {format_usd(log.cost)}, {_when(log.created_at)}"
    return Hit(str(log.pk), detail, _page(RequestLog, log.pk), is_exact, key=log.pk)


def exact_refusals(query: Query) -> list[Hit]:
    return [_refusal(refused, is_exact=True) for refused in RefusedRequest.objects.filter(pk=query.text)]


def like_refusals(query: Query, hits: list[Hit]) -> Found:
    rows = RefusedRequest.objects.filter(pk__in=refusals_beginning(query.text)[: SHOWN + 2])
    return _first(rows, hits, _refusal)


def _refusal(refused: RefusedRequest, *, is_exact: bool = False) -> Hit:
    detail = f"{refused.user_id}, refused with {refused.status_code} {refused.code}, {_when(refused.created_at)}"
    return Hit(str(refused.pk), detail, _page(RefusedRequest, refused.pk), is_exact, key=refused.pk)


def exact_entries(query: Query) -> list[Hit]:
    """The ledger's entries of an operation, one of each balance that it moved."""
    rows = LedgerEntry.objects.filter(operation=query.text).order_by()[:SHOWN]
    return [Hit(str(row), row.reason, _page(LedgerEntry, row.pk), True, key=row.pk) for row in rows]


def exact_audit(query: Query) -> list[Hit]:
    rows = AuditEntry.objects.filter(pk=query.text)
    return [Hit(str(row), row.reason, _page(AuditEntry, row.pk), True, key=row.pk) for row in rows]


def none_like(query: Query, hits: list[Hit]) -> Found:
    """Where only what is exact is looked for."""
    return Found()


@dataclass(frozen=True)
class Place:
    """One collection: what staff call it and find it by, and its two look-ups."""

    model: type[Model]
    name: str
    found_by: str
    exact: Callable[[Query], list[Hit]]
    like: Callable[[Query, list[Hit]], Found] = none_like

    @property
    def permissions(self) -> Iterator[str]:
        """One of them lets a user see what is here."""
        for right in ("view", "change"):
            yield f"{self.model._meta.app_label}.{right}_{self.model._meta.model_name}"


PLACES = (
    Place(Account, "Accounts", "name or any part of it, Discord id, API key", exact_accounts, like_accounts),
    Place(
        Payment,
        "Payments",
        "order code or its beginning, provider's transaction, bank's reference, amount, Discord id",
        exact_payments,
        like_payments,
    ),
    Place(
        WebhookEvent,
        "Webhook events",
        "event id or its beginning, bank's reference, amount, order code; memo and time of those that wait",
        exact_events,
        like_events,
    ),
    Place(RequestLog, "Requests", "request id or its beginning", exact_requests, like_requests),
    Place(RefusedRequest, "Refusals", "request id or its beginning", exact_refusals, like_refusals),
    Place(LedgerEntry, "Ledger", "operation id", exact_entries),
    Place(AuditEntry, "Audit", "operation id", exact_audit),
)
