"""The inbox of the providers' events as staff see it: the list in which they find money and match it, and an event's
page. Events are history: read-only here, and decided about in dialogs.
"""

from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from money.amounts import format_usd
from mongo.days import show_minute
from payments.inbox.facts import suggest_for, suggest_for_each
from payments.inbox.search import MOST_SEARCHED, find_events
from payments.inbox.told import Told, tell
from payments.models import Payment, WebhookEvent
from payments.orders import codes
from payments.orders.prices import currency_of
from payments.orders.search import Suggestion
from payments.providers import label_of
from support.actions.event_lines import REVIEW, match_address
from support.admin.base import BigChangeList, ReadOnlyAdmin, name_is
from support.admin.business_filters import CameFilter
from support.admin.display import (
    badge,
    choice_badge,
    code_block,
    document_key,
    in_words,
    in_zone,
    link,
    pretty_json,
    show_money,
    time_element,
    time_of,
)
from support.admin.filters import DayRangeFilter, QueueFilter
from support.admin.payment_filters import EventProviderFilter
from support.models import AuditEntry

MOST_NOTES = 50
MOST_PAYMENTS = 100
SHOWN_OF_A_REASON = 160
SUGGESTED_IN_LIST = 2
LATE = timedelta(minutes=1)
"""What was received so long after the money came says so."""
EVENT_COLOURS = {"done": "success", "received": "info", "review": "warning", "dead": "danger"}


class InboxChangeList(BigChangeList):
    """A page of events with what each tells, and the orders that those which wait may be for: read for all at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        waiting = [event for event in rows if event.is_waiting_for_staff]
        may_review = request.user.has_perm(REVIEW)  # type: ignore[union-attr]
        keys = {event.payment_id for event in rows if event.payment_id}
        payments = {one.pk: one for one in Payment.objects.filter(pk__in=keys)} if keys else {}
        for event in rows:
            event.told, event.suggested, event.may_review = tell(event), [], may_review
            event.paid = payments.get(event.payment_id)
        for event, suggested in zip(waiting, suggest_for_each(waiting), strict=True):
            event.suggested = suggested
        self.result_list = rows


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    """Every delivery of a provider, as it came."""

    change_form_outer_before_template = "admin/payments/event_actions.html"
    list_before_template = "admin/payments/event_list.html"
    search_help_text = "Amount, memo, bank time, reference, reason, who works on it; event id, account, order code"
    list_display = ("came", "money", "memo", "state", "orders", "worked_on")
    list_display_links = ("came",)
    list_filter = (QueueFilter, CameFilter, "status", EventProviderFilter, ("received_at", DayRangeFilter))
    ordering = ("-received_at",)
    fields = (
        ("money", "bank_time"),
        "memo",
        ("provider", "event_id"),
        ("status_name", "is_verified"),
        ("attempts", "deliveries"),
        ("received", "processed"),
        ("next_attempt", "payment_page"),
        ("taken_by",),
        "error",
        "suggestions",
        ("resolved_by", "resolution"),
        "notes",
        "body_text",
        "header_text",
    )
    readonly_fields = (
        "money",
        "bank_time",
        "memo",
        "status_name",
        "received",
        "processed",
        "next_attempt",
        "payment_page",
        "taken_by",
        "suggestions",
        "notes",
        "body_text",
        "header_text",
    )

    status_name = choice_badge("status", "status", EVENT_COLOURS)
    processed = time_of("processed_at", "processed")
    next_attempt = time_of("next_attempt_at", "next attempt")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return InboxChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event.may_review = request.user.has_perm(REVIEW)  # type: ignore[union-attr]
        return event

    # --- What an event tells -----------------------------------------------------------------------------------------

    @admin.display(description=in_zone("bank time"))
    def came(self, event: WebhookEvent) -> SafeString:
        """When the money came, and how long ago; when we heard of it, if that was later or is all that is known."""
        at = told_of(event).at
        if at is None:
            return _time_and_age(event.received_at, "received")
        late = event.received_at - at
        if abs(late) < LATE:
            return _time_and_age(at)
        apart = in_words(abs(late)).removeprefix("in ")
        return _time_and_age(at, f"received {apart} {'later' if late > timedelta() else 'earlier'}")

    @admin.display(description=in_zone("received"))
    def received(self, event: WebhookEvent) -> SafeString:
        return _time_and_age(event.received_at)

    @admin.display(description=in_zone("bank time"))
    def bank_time(self, event: WebhookEvent) -> SafeString | str:
        at = told_of(event).at
        return _time_and_age(at) if at else "–"

    @admin.display(description="amount")
    def money(self, event: WebhookEvent) -> SafeString | str:
        """What came or went back, and what it is worth."""
        told = told_of(event)
        if told.amount is None:
            return "–"
        sign = " money-negative" if told.is_reversal else ""
        return _stacked(
            format_html('<span class="money{}">{}</span>', sign, show_money(told.amount, told.currency)),
            _note(f"worth {format_usd(told.value)}") if told.value is not None else "",
            _note("went back") if told.is_reversal else "",
            _note("perhaps: the body cannot be read") if told.is_guess else "",
        )

    @admin.display(description="memo, reference")
    def memo(self, event: WebhookEvent) -> SafeString:
        told = told_of(event)
        return _stacked(
            format_html("<q>{}</q>", told.memo) if told.memo else "",
            format_html("<code>{}</code>", told.reference or event.event_id),
        )

    @admin.display(description="status, reason")
    def state(self, event: WebhookEvent) -> SafeString:
        error = event.error or ""
        reason = error if len(error) <= SHOWN_OF_A_REASON else f"{error[:SHOWN_OF_A_REASON]}…"
        return _stacked(
            format_html("{} {}", self.status_name(event), "" if event.is_verified else badge("Not verified", "danger")),
            _note(f"{label_of(event.provider)}: {reason}" if reason else label_of(event.provider)),
        )

    # --- What becomes of it ------------------------------------------------------------------------------------------

    @admin.display(description="order")
    def orders(self, event: WebhookEvent) -> SafeString | str:
        """The payment that it was credited with; of what waits, the orders that may be meant, each with its button."""
        if not event.is_waiting_for_staff:
            paid = getattr(event, "paid", None)
            return link(payment_url(paid.pk), f"{paid} of {paid.user_id}") if paid else self.payment_page(event)
        found = event.suggested if hasattr(event, "suggested") else suggest_for(event)
        if found is None:
            return link(event_url(event), "Open it to see the orders")
        if not found:
            return "None fits"
        more = len(found) - SUGGESTED_IN_LIST
        return _stacked(
            *(self._row_of(event, one) for one in found[:SUGGESTED_IN_LIST]),
            link(event_url(event), f"and {more} more") if more > 0 else "",
        )

    def _row_of(self, event: WebhookEvent, suggestion: Suggestion) -> SafeString:
        """A suggested order, why, and the button that opens the dialog with what a match would do."""
        order = suggestion.order
        label = f"Match with {order} of {order.user_id}"
        button = _button(match_address(event, order), "Match", label) if may_review(event) else ""
        return format_html(
            '{} <a href="{}" class="text-link">{}</a> {} of <strong>{}</strong> ({}): {}',
            button,
            payment_url(order.pk),
            str(order),
            show_money(order.amount, currency_of(order)),
            order.user_id,
            order.get_status_display(),
            suggestion.why,
        )

    @admin.display(description="works on it")
    def worked_on(self, event: WebhookEvent) -> SafeString | str:
        """Who has taken it, with the button to take it or to give it back."""
        if not event.is_waiting_for_staff or not may_review(event):
            return self.taken_by(event)
        if event.assigned_to:
            button = _button(_dialog_of(event, "release-event"), "Give back", f"Give back {event}")
            return format_html("{} {}", self.taken_by(event), button)
        return _button(_dialog_of(event, "take-event"), "Take", f"Take {event}")

    @admin.display(description="payment")
    def payment_page(self, event: WebhookEvent) -> str:
        payment_id = event.payment_id  # type: ignore[attr-defined]
        return link(payment_url(payment_id), str(payment_id)) if payment_id else "–"

    @admin.display(description="taken by")
    def taken_by(self, event: WebhookEvent) -> str:
        return (event.assigned_to or "–").removeprefix("staff:")

    @admin.display(description="orders that may be meant")
    def suggestions(self, event: WebhookEvent) -> SafeString | str:
        """For what waits; each with the price, the account and why it may be meant."""
        found = suggest_for(event) if event.is_waiting_for_staff else []
        return _stacked(*(self._row_of(event, one) for one in found or ())) if found else "–"

    @admin.display(description=in_zone("notes and decisions"))
    def notes(self, event: WebhookEvent) -> SafeString | str:
        """What staff wrote and did about this event, as the audit has it: the latest first, nobody can change it."""
        return notes_about([str(event.pk)])

    @admin.display(description="body, as it came")
    def body_text(self, event: WebhookEvent) -> str:
        return code_block(pretty_json(bytes(event.body or b"").decode(errors="backslashreplace")))

    @admin.display(description="headers")
    def header_text(self, event: WebhookEvent) -> str:
        return code_block("\n".join(f"{name}: {value}" for name, value in (event.headers or {}).items()))

    # --- Search ------------------------------------------------------------------------------------------------------

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        text = search_term.strip().replace("\0", "")
        if not text:
            return queryset, False
        condition, is_cut = _look_up(text)
        if is_cut:
            messages.warning(
                request, f"More events wait than are searched by their texts: the newest {MOST_SEARCHED:,}."
            )
        return queryset.filter(condition), False

    def find(self, text: str) -> Q:
        """Events by a payment's id, order code or account, by their own id, and by all that they tell."""
        return _look_up(text)[0]


def _look_up(text: str) -> tuple[Q, bool]:
    """The condition of what a search finds, and whether more events wait than it looked at."""
    if ObjectId.is_valid(text):
        return Q(payment_id__in=_parts_of_transfer(ObjectId(text))), False
    named = Q(order_code__in=codes_in(text)) | name_is("user_id", text)
    payments = list(Payment.objects.filter(named).values_list("pk", flat=True)[:MOST_PAYMENTS])
    told = find_events(text)
    known = WebhookEvent.objects.filter(event_id=text).values_list("pk", flat=True)
    found = {*told.keys, *known}
    if payments:
        found.update(WebhookEvent.objects.filter(payment_id__in=payments).values_list("pk", flat=True)[:MOST_SEARCHED])
    return Q(pk__in=found), told.is_cut


def waiting_row(event: WebhookEvent, order: Payment, *, may_review: bool) -> SafeString:
    """Money that waits and may be for an order: how much, when, its memo, and the button that matches the two."""
    told = told_of(event)
    return format_html(
        '{} <a href="{}" class="text-link">{}</a> {}, {}: <q>{}</q>',
        _button(match_address(event, order), "Match", f"Match with {event}") if may_review else "",
        event_url(event),
        str(event),
        show_money(told.amount, told.currency) if told.amount is not None else "an amount that cannot be read",
        in_words((told.at or event.received_at) - timezone.now()),
        told.memo or told.reference,
    )


def told_of(event: WebhookEvent) -> Told:
    """What an event tells; a list has read it already."""
    told: Told = getattr(event, "told", None) or tell(event)
    return told


def may_review(event: WebhookEvent) -> bool:
    """Whether who looks at it may decide about it, so that there are buttons for it."""
    return bool(getattr(event, "may_review", False))


def event_url(event: WebhookEvent) -> str:
    """The address of an event's page."""
    return reverse("admin:payments_webhookevent_change", args=(event.pk,))


def payment_url(key: object) -> str:
    """The address of a payment's page."""
    return reverse("admin:payments_payment_change", args=(document_key(key),))


def notes_about(targets: list[str]) -> SafeString | str:
    """What staff wrote and did about these events and payments, as the audit has it, the latest first."""
    found = AuditEntry.objects.filter(target__in=targets).order_by("-at")[:MOST_NOTES]
    rows = [
        (
            show_minute(one.at),
            one.actor,
            one.action + (" (refused)" if one.outcome == AuditEntry.Outcome.REFUSED else ""),
            format_html(": <q>{}</q>", one.reason) if one.reason else "",
        )
        for one in found
    ]
    row = "<li><span class='nowrap'>{}</span> <strong>{}</strong> {}{}</li>"
    return format_html('<ul class="event-notes">{}</ul>', format_html_join("", row, rows)) if rows else "–"


def codes_in(text: str) -> list[str]:
    """The order codes that a search may mean: hyphens, spaces and O for 0 do not matter."""
    return [text.upper(), *codes.find_candidates([text], settings.ORDER_CODE_PREFIX)]


def _dialog_of(event: WebhookEvent, slug: str) -> str:
    return reverse("support:dialog", args=("event", event.pk, slug))


def _button(address: str, words: str, label: str) -> SafeString:
    """A button that opens a dialog, over the page where there are scripts. `label` is what tells it from the others."""
    button = '<a class="action-button is-small" href="{0}" hx-get="{0}" hx-target="#staff-dialog-body" {2}>{1}</a>'
    return format_html(button, address, words, format_html('aria-label="{}"', label))


def _time_and_age(at: datetime, remark: str = "") -> SafeString:
    """A time to the second, and below it how long ago that was."""
    return _stacked(
        time_element(at),
        _note(in_words(at - timezone.now())),
        _note(remark) if remark else "",
    )


def _stacked(*lines: str) -> SafeString:
    """Lines of one cell below each other, without those that are empty."""
    return format_html(
        '<div class="stacked">{}</div>', format_html_join("", "<div>{}</div>", ((one,) for one in lines if one))
    )


def _note(text: str) -> SafeString:
    return format_html('<span class="summary-note">{}</span>', text)


def _parts_of_transfer(key: ObjectId) -> list[ObjectId]:
    """The payment, and that which has the event of both if staff split one transfer over several orders."""
    payment = Payment.objects.filter(pk=key).first()
    transaction, mark, _ = ((payment.provider_transaction_id or "") if payment else "").rpartition("#")
    if payment is None or not mark:
        return [key]
    whole = Payment.objects.filter(provider=payment.provider, provider_transaction_id=transaction).first()
    return [key, whole.pk] if whole else [key]
