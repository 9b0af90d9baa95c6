"""Payments and promotions as staff see them. Payments are history: read-only here."""

from typing import Any, cast

from bson import ObjectId
from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from books.payment_story import read_story
from payments.inbox.search import events_for
from payments.models import Payment, Promotion, WebhookEvent
from payments.orders.prices import currency_of
from payments.providers import label_of
from support.actions.action import Line
from support.actions.event_lines import REVIEW
from support.admin.base import BigChangeList, BigCollectionAdmin, ReadOnlyAdmin, first_match, name_is, starts_with
from support.admin.business_filters import ThroughFilter, WentBackFilter
from support.admin.display import (
    account_link,
    badge,
    choice_badge,
    copyable_text,
    link,
    list_url,
    show_money,
    time_of,
    unreadable_of,
    usd,
)
from support.admin.edits import ReasonForm
from support.admin.events import EVENT_COLOURS, codes_in, event_url, notes_about, waiting_row
from support.admin.filters import DayRangeFilter, UnreadableFilter
from support.admin.payment_filters import PAYMENT_FILTERS
from support.admin.payment_words import (
    badges_of,
    event_words,
    promotion_words,
    rows_of_reversals,
    rows_of_sums,
    sentences_of,
)
from support.admin.previewed import PreviewedEdits
from support.admin.promotion_preview import lines_of_promotion

MOST_WAITING = 5
PAYMENT_COLOURS = {"success": "success", "pending": "info", "failed": "danger", "expired": "warning"}


class PaymentChangeList(BigChangeList):
    """Sorted by when they were paid where that is what is asked for: the index of the days has that order."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        is_by_day_paid = any(name.startswith("completed_at_") and value for name, value in request.GET.items())
        if is_by_day_paid and ORDER_VAR not in self.params:
            return ["-completed_at"]
        return super().get_ordering(request, queryset)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Orders and what became of them."""

    change_form_outer_before_template = "admin/payments/payment_actions.html"
    search_help_text = "Account, order code, provider transaction, Discord id"
    list_display = (
        "ordered",
        "code",
        "account",
        "price",
        "credits_usd",
        "bonus_usd",
        "status_name",
        "provider_name",
        "transaction",
        "paid",
        "flag_list",
    )
    list_display_links = ("ordered",)
    list_before_template = "support/list_sums.html"
    list_filter = (
        "status",
        *PAYMENT_FILTERS,
        ("created_at", DayRangeFilter),
        ("completed_at", DayRangeFilter),
        ThroughFilter,
        WentBackFilter,
        UnreadableFilter,
    )
    ordering = ("-created_at",)
    fields = (
        ("code", "status_name"),
        ("account", "discord_id"),
        ("credits_usd", "price"),
        ("credited_usd", "bonus_usd"),
        ("received", "flag_list"),
        ("before_usd", "after_usd"),
        ("provider_name", "transaction"),
        ("ordered", "paid"),
        ("pay_before", "events"),
    )
    readonly_fields = tuple(
        name for row in fields for name in ((row,) if isinstance(row, str) else row) if name not in ("discord_id",)
    )

    account = account_link("user_id")
    code = copyable_text("order_code", "order code")
    credits_usd = usd("credits", "credits ordered")
    credited_usd = usd("credited", "credited")
    bonus_usd = usd("bonus", "bonus")
    before_usd = usd("credits_before", "OpenHands credits before")
    after_usd = usd("credits_after", "OpenHands credits after")
    own_status = choice_badge("status", "status", PAYMENT_COLOURS)
    ordered = time_of("created_at", "ordered")
    pay_before = time_of("expires_at", "pay before")
    paid = time_of("completed_at", "paid")

    @admin.display(description="status")
    def status_name(self, payment: Payment) -> SafeString:
        """Its status, and what went back of it: a payment that was refunded is not merely paid."""
        labels = [self.own_status(payment), *badges_of(payment)]
        return format_html_join(" ", "{}", ((one,) for one in labels))

    @admin.display(description="price")
    def price(self, payment: Payment) -> str:
        problem = unreadable_of(payment, "amount") or unreadable_of(payment, "currency")
        return problem or show_money(payment.amount, currency_of(payment))

    @admin.display(description="received")
    def received(self, payment: Payment) -> str:
        if problem := unreadable_of(payment, "received_amount"):
            return problem
        return "–" if payment.received_amount is None else show_money(payment.received_amount, currency_of(payment))

    @admin.display(description="provider")
    def provider_name(self, payment: Payment) -> str:
        if problem := unreadable_of(payment, "provider") or unreadable_of(payment, "payment_method"):
            return problem
        return label_of(payment.provider or payment.payment_method or "–")

    @admin.display(description="provider transaction")
    def transaction(self, payment: Payment) -> str:
        names = ("provider_transaction_id", "sepay_transaction_id")
        if problem := next((found for name in names if (found := unreadable_of(payment, name))), None):
            return problem
        return payment.provider_transaction_id or payment.sepay_transaction_id or "–"

    @admin.display(description="flags")
    def flag_list(self, payment: Payment) -> str:
        if problem := unreadable_of(payment, "flags"):
            return problem
        return ", ".join(str(flag) for flag in payment.flags or ()) or "–"

    @admin.display(description="webhook events")
    def events(self, payment: Payment) -> str:
        return link(list_url(WebhookEvent, q=str(payment.pk)), "Show the events of this payment")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        payment = kwargs.get("obj")
        if payment is not None:
            context |= page_of(payment, may_review=cast(User, request.user).has_perm(REVIEW))
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return PaymentChangeList

    def find(self, text: str) -> Q:
        """Payments by account, order code, provider transaction, Discord id or id; each an index look-up."""
        looked_up = [
            Q(pk=text) if ObjectId.is_valid(text) else Q(order_code=text),
            Q(order_code__in=codes_in(text)),
            starts_with("order_code", text.upper().replace("-", "").replace(" ", "")),
            Q(provider_transaction_id=text),
            Q(sepay_transaction_id=text),
            Q(discord_id=text),
        ]
        return first_match(Payment.objects, *looked_up) or name_is("user_id", text)


def page_of(payment: Payment, *, may_review: bool) -> dict[str, Any]:
    """What became of a payment, for its page."""
    story = read_story(payment)
    waiting = [] if story.is_paid else events_for(payment)
    return {
        "story": story,
        "badges": badges_of(payment),
        "sentences": sentences_of(payment, story),
        "sums": rows_of_sums(story),
        "promotion": promotion_words(payment, story),
        "reversals": rows_of_reversals(story),
        "events": [
            {
                "name": str(event),
                "url": event_url(event),
                "at": event.received_at,
                "status": badge(event.get_status_display(), EVENT_COLOURS.get(event.status, "")),
                "why": event_words(event),
            }
            for event in story.events
        ],
        "waiting": [waiting_row(event, payment, may_review=may_review) for event in waiting[:MOST_WAITING]],
        "notes": notes_about([str(payment.pk), *(str(event.pk) for event in story.events)]),
    }


class PromotionForm(ReasonForm):
    class Meta:
        model = Promotion
        fields = ("name", "percent", "starts_at", "ends_at", "is_active")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        starts_at, ends_at = cleaned.get("starts_at"), cleaned.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            self.add_error("ends_at", "The end must be after the start.")
        return cleaned


@admin.register(Promotion)
class PromotionAdmin(PreviewedEdits, BigCollectionAdmin):
    """Bonuses on what is bought while they run. What was sold keeps the bonus that it was sold with."""

    form = PromotionForm
    list_after_template = "support/list_hints.html"
    search_fields = ()
    list_display = ("name", "percent", "starts", "ends", "is_active")
    ordering = ("-starts_at",)
    fields = ("name", "percent", "starts_at", "ends_at", "is_active")

    names_left_out = ("starts_at", "ends_at")  # The preview has them in one line.

    starts = time_of("starts_at", "starts")
    ends = time_of("ends_at", "ends")

    def effect(self, request: Any, form: Any, *, is_new: bool) -> list[Line]:
        """When it runs, and what usual orders get by it."""
        before = None if is_new else Promotion.objects.filter(pk=form.instance.pk).first()
        return lines_of_promotion(before, form.instance)

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Promotions are turned off, not deleted: orders name them."""
        return False
