"""The action that divides one transfer among several orders."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.models import Account
from money.amounts import ZERO, format_usd
from payments.errors import PaymentNotFound
from payments.inbox import facts
from payments.inbox.decision import check_waiting
from payments.inbox.preview import preview_several
from payments.inbox.split import Part, check_parts
from payments.inbox.split import split as split_transfer
from payments.models import WebhookEvent
from payments.orders.search import find_order
from payments.rules.receipts import credits_of_receipt
from payments.rules.renewal import renews_expiry
from support.actions.action import Action, ActionForm, Data, Line, Result
from support.actions.event_lines import REVIEW, balance_line, event_lines, expiry_line, show_suggestions
from support.admin.display import show_money
from support.typed import NotUnderstood, read_amount, shorten

MOST_PLACES = 3
"""Of an amount, in whatever currency."""
_PART = re.compile(r"(?P<order>\S.*?)[\s:;=]+(?P<amount>[^\s:;=]+)")


class SplitForm(ActionForm):
    parts = forms.CharField(
        label="Orders and amounts, a line each",
        max_length=4000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": "NAP1234567X 25000"}),
    )
    field_order = ("parts", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound:
            return
        money = facts.read_money(self.target)
        whole = show_money(money.amount, money.currency) if money else "what was received"
        text = f"An order code or payment id, then its part, without thousands separators. Together {whole}."
        self.fields["parts"].help_text = format_html("{} {}", text, show_suggestions(self.target))

    def clean_parts(self) -> list[Part]:
        """The parts that were typed, as orders and amounts."""
        found = []
        for line in self.cleaned_data["parts"].splitlines():
            if not line.strip():
                continue
            read = _PART.fullmatch(line.strip())
            try:
                if read is None:
                    raise NotUnderstood("")
                amount = read_amount(read["amount"])
                if amount < 0 or amount != round(amount, MOST_PLACES):
                    raise NotUnderstood("")
                found.append(Part(find_order(read["order"]), amount))
            except NotUnderstood as error:
                words = f"“{shorten(line.strip())}” is no order code with an amount such as 25000. {error}"
                raise forms.ValidationError(words.strip()) from error
            except PaymentNotFound as error:
                raise forms.ValidationError(str(error)) from error
        return found


def _preview_split(event: WebhookEvent, data: Data) -> list[Line]:
    """What the split itself does: it is run, read and rolled back."""
    check_waiting(event)
    parts = check_parts(event=event, parts=data["parts"], now=timezone.now())
    effects = preview_several(
        lambda: split_transfer(event_key=event.pk, parts=data["parts"], actor="preview", reason=data["reason"])
    )
    lines = event_lines(event, "Done")
    for (order, receipt), effect in zip(parts, effects, strict=True):
        ordered = f"{format_usd(order.credits)} for {order.user_id}, {order.get_status_display()}"
        bonus = f", a bonus of {format_usd(effect.bonus)} included" if effect.bonus else ""
        credited = f"{format_usd(effect.credited + effect.bonus)} credited{bonus}"
        lines.append(Line(f"Order {order}", ordered, f"{show_money(receipt.amount, receipt.currency)}: {credited}"))
        if account := Account.objects.filter(pk=order.user_id).first():
            is_renewed = renews_expiry(amount=effect.credited, order=order)
            lines.append(expiry_line(account, is_renewed=is_renewed, amount=effect.credited + effect.bonus))
    of_accounts = {effect.payment.user_id: balance_line(effect) for effect in effects}
    return [*lines, *of_accounts.values()]


def _amount_of_split(event: WebhookEvent, data: Data) -> Decimal:
    found = check_parts(event=event, parts=data["parts"], now=timezone.now())
    return sum((sum(credits_of_receipt(order, receipt), ZERO) for order, receipt in found), ZERO)


def _split(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    paid = split_transfer(event_key=event.pk, parts=data["parts"], actor=actor, reason=data["reason"])
    return Result(f"Split over {len(paid)} orders: {', '.join(f'{one} of {one.user_id}' for one in paid)}.")


SPLIT = Action(
    slug="split-event",
    title="Split over several orders",
    icon="call_split",
    permission=REVIEW,
    submit="Split",
    form_class=SplitForm,
    preview=_preview_split,
    change=_split,
    amount=None,
    estimate=_amount_of_split,
    note="For one transfer that pays several orders. All parts are credited together, by the rules, or none.",
    is_offered=lambda event: event.is_waiting_for_staff,
)
