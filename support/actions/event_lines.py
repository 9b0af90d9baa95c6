"""What the dialogs of events have in common: the orders that may be meant, and lines of their previews."""

from decimal import Decimal
from urllib.parse import urlencode

from bson import ObjectId
from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import credits
from accounts.models import Account, Balance
from money.amounts import ZERO, format_usd
from mongo.days import show_with_zone
from payments.inbox import facts, review
from payments.inbox.preview import Effect
from payments.models import Payment, WebhookEvent
from payments.orders.prices import currency_of, refundable_of
from payments.rules.likeness import Likeness
from support.actions.action import Line, ledger_mark
from support.admin.display import show_money

REVIEW = "support.review_payments"
"""The permission of every decision about an event."""


def show_suggestions(event: WebhookEvent, *, opens_match: bool = False) -> SafeString | str:
    """The unpaid orders that may be meant, each with its price, its account and the reason; '' if none is.

    `opens_match`: a click on a code shows what a match with it would do.
    """
    rows = [
        (
            _match_link(event, suggestion.order) if opens_match else _code_of(suggestion.order),
            show_money(suggestion.order.amount, currency_of(suggestion.order)),
            suggestion.order.user_id,
            suggestion.order.get_status_display(),
            suggestion.why,
        )
        for suggestion in facts.suggest_for(event)
    ]
    listed = format_html_join("", "<li>{} {} of {} ({}): {}</li>", rows)
    return format_html("Perhaps one of these:<ul class='order-suggestions'>{}</ul>", listed) if rows else ""


def match_address(event: WebhookEvent, order: Payment) -> str:
    """Where the dialog is that matches an event with an order, and shows at once what that does."""
    address = reverse("support:dialog", args=("event", event.pk, "match-event"))
    key = order.pk if isinstance(order.pk, ObjectId) else order.order_code  # Old orders may share a code.
    return f"{address}?{urlencode({'order': str(key)})}"


def _code_of(order: Payment) -> SafeString:
    return format_html("<code>{}</code>", order.order_code or order.pk)


def _match_link(event: WebhookEvent, order: Payment) -> SafeString:
    link = '<a class="text-link" href="{0}" hx-get="{0}" hx-target="#staff-dialog-body">{1}</a>'
    return format_html(link, match_address(event, order), _code_of(order))


def event_lines(event: WebhookEvent, after: str) -> list[Line]:
    """What becomes of the event, and who works on it, if somebody does."""
    taken = [Line("Taken by", event.assigned_to, event.assigned_to)] if event.assigned_to else []
    return [Line("Event", event.get_status_display(), after), *taken]


def expiry_line(account: Account, *, is_renewed: bool, amount: Decimal) -> Line:
    """What becomes of the expiry when `amount` USD is credited."""
    present = sum((max(account.balance(one), ZERO) + account.held(one) for one in Balance), ZERO)
    before = show_with_zone(account.expiry) if account.expiry else "never"
    starts = credits.starts_expiry(expires_at=account.expiry, present=present, amount=amount)
    days = f"{settings.CREDIT_VALIDITY_DAYS} days from now"
    return Line("Expiry", before, days if is_renewed or starts else f"{before}: too little to restart it", drifts=True)


def show_received(event: WebhookEvent, effect: Effect) -> Line:
    """What was received, and what of it is credited, with its bonus."""
    bonus = f", and a bonus of {format_usd(effect.bonus)}" if effect.bonus else ""
    return Line("Received", received_words(event), f"{format_usd(effect.credited)} credited{bonus}")


def balance_line(effect: Effect) -> Line:
    """The balance that a decision changes, before and after; it moves while requests run."""
    name, mark = f"OpenHands credits of {effect.payment.user_id}", ledger_mark(effect.payment.user_id)
    before, after = format_usd(effect.balance_before), show_balance(effect.balance_after)
    return Line(name, before, after, drifts=True, mark=mark)


def show_balance(amount: Decimal) -> str:
    """A balance (USD), and in words what it means that it is below zero."""
    if amount >= 0:
        return format_usd(amount)
    return f"{format_usd(amount)}: below zero, so requests are refused until {format_usd(-amount)} and more is bought"


def show_look_alikes(event: WebhookEvent, *orders: Payment) -> list[Line]:
    """Other reports of the same money, or perhaps of it: a person compares them before money is credited twice."""
    lines = []
    for twin in review.find_look_alikes(event, *orders)[:5]:
        receipt = twin.receipt
        what = (
            f"{twin}, {receipt.amount:,f} {receipt.currency} at {show_with_zone(receipt.occurred_at)}"
            if receipt
            else str(twin)
        )
        if twin.is_credited:
            became = f"credited before, with payment {twin.payment}"
        else:
            became = twin.event.get_status_display() if twin.event else ""
        likeness = "The same money" if twin.likeness == Likeness.SAME else "Perhaps the same money"
        lines.append(Line(likeness, what, became))
    return lines


def received_words(event: WebhookEvent) -> str:
    """What an event says was received, and what that is worth."""
    money = facts.read_money(event)
    if money is None:
        return "an amount that cannot be read"
    worth = "of unknown worth" if money.value is None else f"worth {format_usd(money.value)}"
    return f"{money.amount:,f} {money.currency}, {worth}"


def lines_of_reversal(payment: Payment, after: Payment) -> list[Line]:
    """What went back of a payment, and what is reversed of its credits and its bonus, before and after."""
    _, currency = refundable_of(payment)
    before, refunded = payment.refunded_amount or ZERO, after.refunded_amount or ZERO
    lines = [
        Line("Refunded", f"{before:,.2f} {currency}", f"{refunded:,.2f} {currency}"),
        _reversed_line("Credits reversed", payment.reversed_credits, after.reversed_credits),
    ]
    if after.bonus:
        lines += [
            _reversed_line("Bonus reversed", payment.reversed_bonus, after.reversed_bonus),
            _reversed_line("Reversed in all", reversed_of(payment), reversed_of(after)),
        ]
    return lines


def reversed_of(payment: Payment) -> Decimal:
    """What has been reversed of a payment, bonus and all. USD."""
    return (payment.reversed_credits or ZERO) + (payment.reversed_bonus or ZERO)


def _reversed_line(label: str, before: Decimal | None, after: Decimal | None) -> Line:
    return Line(label, format_usd(before or ZERO), format_usd(after or ZERO))
