"""The action that says which order the money of an event is for, or which payment its refund reverses."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.models import Account
from money.amounts import ZERO, format_usd
from payments.inbox import facts, review
from payments.inbox.decision import check_expiry, check_waiting
from payments.inbox.preview import Effect, preview
from payments.models import Payment, WebhookEvent
from payments.orders.needs_repair import check_payment
from payments.orders.prices import currency_of
from payments.orders.search import find_order
from payments.rules.renewal import renews_expiry
from support.actions.action import Action, ActionForm, Data, Line, Result
from support.actions.event_lines import (
    REVIEW,
    balance_line,
    event_lines,
    expiry_line,
    lines_of_reversal,
    show_look_alikes,
    show_received,
    show_suggestions,
)
from support.admin.display import show_money


class MatchForm(ActionForm):
    order = forms.CharField(label="Order code or payment id", max_length=200, widget=UnfoldAdminTextInputWidget)
    field_order = ("order", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_bound:  # A form that was sent is judged in its transaction, and nothing is read before it.
            help_text: Any = SimpleLazyObject(self._suggestions)  # Read only where the field is shown.
            self.fields["order"].help_text = help_text

    def _suggestions(self) -> str:
        return show_suggestions(self.target, opens_match=True) or "No unpaid order fits by amount, time or code."


def _preview_match(event: WebhookEvent, data: Data) -> list[Line]:
    check_waiting(event)
    order = find_order(data["order"])
    check_payment(order)
    expiry = _lines_of_expiry(event, order)
    effect = preview(
        lambda: review.match(event_key=event.pk, payment_key=order.pk, actor="preview", reason=data["reason"])
    )
    is_money = facts.read_money(event) is not None
    return [
        *event_lines(event, "Done"),
        *(_lines_of_order(event, order, effect) if is_money else lines_of_reversal(order, effect.payment)),
        balance_line(effect),
        *expiry,
        *show_look_alikes(event, order),
    ]


def _lines_of_order(event: WebhookEvent, order: Payment, effect: Effect) -> list[Line]:
    """What was ordered and what came, side by side: money that differs from the order is seen before it is credited."""
    credited = f"{format_usd(effect.credited + effect.bonus)} credited by the rules"
    is_second = order.status == Payment.Status.SUCCESS
    if is_second:
        credited += f", as another payment: {order} was paid before"
    ordered = f"{format_usd(order.credits)} for {order.user_id}, {order.get_status_display()}"
    price, currency = order.amount, currency_of(order)
    received = effect.payment.received_amount or ZERO
    loses_bonus = bool(order.bonus_percent) and received < price and not is_second
    differs = f"less than ordered{', so no bonus' if loses_bonus else ''}" if received < price else "more than ordered"
    difference = f": {show_money(abs(received - price), currency)} {differs}" if received != price else ": as ordered"
    return [
        Line(f"Order {order}", ordered, credited),
        Line("Price, and what came", show_money(price, currency), f"{show_money(received, currency)}{difference}"),
        show_received(event, effect),
    ]


def _lines_of_expiry(event: WebhookEvent, order: Payment) -> list[Line]:
    """What a match with `order` does to the expiry of its account. Raises `InvalidDecision`."""
    base = facts.credits_of_match(event=event, payment=order)
    account = Account.objects.filter(pk=order.user_id).first()
    if base is None or account is None:
        return []
    check_expiry(username=account.pk, amount=base, order=order, now=timezone.now())
    return [expiry_line(account, is_renewed=renews_expiry(amount=base, order=order), amount=base)]


def _amount_of_match(event: WebhookEvent, data: Data) -> Decimal:
    return facts.amount_of_match(event=event, payment=find_order(data["order"]))


def _match(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    order = find_order(data["order"])
    payment = review.match(event_key=event.pk, payment_key=order.pk, actor=actor, reason=data["reason"])
    return Result(f"Matched with {payment} of {payment.user_id}.")


MATCH = Action(
    slug="match-event",
    title="Match with an order",
    icon="link",
    permission=REVIEW,
    submit="Match",
    form_class=MatchForm,
    preview=_preview_match,
    change=_match,
    amount=None,
    estimate=_amount_of_match,
    note="For money that belongs to an order, or a refund of a payment. The rules decide what is credited.",
    opens_previewed=True,
    is_offered=lambda event: event.is_waiting_for_staff,
)
