"""What the dialogs of events have in common: the orders that may be meant, and lines of their previews."""

from decimal import Decimal

from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import credits
from accounts.models import Account, Balance
from money.amounts import ZERO
from payments.inbox import facts
from payments.models import WebhookEvent
from payments.orders.prices import currency_of
from support.actions.action import Line
from support.admin.display import show_money

REVIEW = "support.review_payments"
"""The permission of every decision about an event."""


def show_suggestions(event: WebhookEvent) -> SafeString | str:
    """The unpaid orders that may be meant, each with its price, its account and the reason; '' if none is."""
    rows = [
        (
            suggestion.order.order_code or suggestion.order.pk,
            show_money(suggestion.order.amount, currency_of(suggestion.order)),
            suggestion.order.user_id,
            suggestion.order.get_status_display(),
            suggestion.why,
        )
        for suggestion in facts.suggest_for(event)
    ]
    listed = format_html_join("", "<li><code>{}</code> {} of {} ({}): {}</li>", rows)
    return format_html("Perhaps one of these:<ul class='order-suggestions'>{}</ul>", listed) if rows else ""


def event_lines(event: WebhookEvent, after: str) -> list[Line]:
    """What becomes of the event, and who works on it, if somebody does."""
    taken = [Line("Taken by", event.assigned_to, event.assigned_to)] if event.assigned_to else []
    return [Line("Event", event.get_status_display(), after), *taken]


def expiry_line(account: Account, *, is_renewed: bool, amount: Decimal) -> Line:
    """What becomes of the expiry when `amount` USD is credited."""
    present = sum((max(account.balance(one), ZERO) + account.held(one) for one in Balance), ZERO)
    before = credits.format_time(account.expiry) if account.expiry else "never"
    starts = credits.starts_expiry(expires_at=account.expiry, present=present, amount=amount)
    days = f"{settings.CREDIT_VALIDITY_DAYS} days from now"
    return Line("Expiry", before, days if is_renewed or starts else f"{before}: too little to restart it", drifts=True)
