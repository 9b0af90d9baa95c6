"""The actions of the payments desk: events in review, refunds, and the purchasing switch."""

from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts.models import Account
from money.amounts import MAX_AMOUNT, ZERO, format_usd
from payments.inbox import facts, review
from payments.inbox.decision import check_waiting
from payments.inbox.preview import preview, preview_rules
from payments.models import Payment, WebhookEvent
from payments.orders.needs_repair import check_payment
from payments.orders.prices import refundable_of
from payments.orders.purchasing import read_purchasing, switch_purchasing
from payments.rules.renewal import renews_expiry
from payments.rules.reversals import credits_of_refund
from support.actions.action import Action, ActionForm, Data, Line, Need, Result, nothing
from support.actions.event_lines import (
    REVIEW,
    balance_line,
    event_lines,
    expiry_line,
    lines_of_reversal,
    received_words,
    reversed_of,
    show_balance,
    show_look_alikes,
    show_received,
)
from support.actions.event_work import WORK
from support.actions.match import MATCH
from support.actions.split import SPLIT
from support.audit.trail import State
from support.forms import AmountField


class CreditForm(ActionForm):
    username = forms.CharField(label="Account", strip=False, widget=UnfoldAdminTextInputWidget)
    amount = AmountField(
        label="Credits (USD)",
        min_value=Decimal("0.00000001"),
        max_value=MAX_AMOUNT,
        decimal_places=8,
    )
    field_order = ("username", "amount", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].help_text = f"Received: {received_words(self.target)}."

    def clean_username(self) -> str:
        """The name exactly as typed, as old names have spaces; without those around it if there is no such account."""
        name: str = self.cleaned_data["username"]
        return name if Account.objects.filter(pk=name).exists() else name.strip()


class RefundForm(ActionForm):
    amount = AmountField(
        label="Amount that was sent back, in the payment's currency",
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=14,
    )
    reference = forms.CharField(
        label="The bank's reference of the transfer",
        max_length=60,
        widget=UnfoldAdminTextInputWidget,
        help_text="With it, the same bank transfer cannot be recorded twice.",
    )
    field_order = ("amount", "reference", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        amount, currency = refundable_of(self.target)
        self.fields["amount"].help_text = f"Received: {amount:,.2f} {currency}."


class SwitchForm(ActionForm):
    notice = forms.CharField(
        label="What customers read while it is off",
        required=False,
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Leave empty for the standard text. It is not used when purchasing is turned on.",
    )
    field_order = ("notice", "reason")


# --- Events ------------------------------------------------------------------------------------------------------


def state_of_event(event: WebhookEvent) -> State:
    found = WebhookEvent.objects.filter(pk=event.pk).first()
    if found is None:
        return None
    payment_id = found.payment_id  # type: ignore[attr-defined]
    return {"status": found.status, "payment": str(payment_id or ""), "taken by": found.assigned_to or ""}


def _need_of_credit(event: WebhookEvent, data: Data) -> Need | None:
    """To credit what was received is to review; to credit more, or when its worth is unknown, is to add credits."""
    money = facts.read_money(event)
    if money is not None and money.value is not None and data["amount"] <= money.value:
        return None
    return Need("support.adjust_credits", f"This is more than what was certainly received ({received_words(event)}).")


def _preview_credit(event: WebhookEvent, data: Data) -> list[Line]:
    check_waiting(event)
    effect = preview(
        lambda: review.credit(
            event_key=event.pk,
            username=data["username"],
            amount=data["amount"],
            actor="preview",
            reason=data["reason"],
        )
    )
    account = Account.objects.get(pk=effect.payment.user_id)
    size = review.size_of_credit(event=event, amount=data["amount"])
    return [
        *event_lines(event, "Done"),
        show_received(event, effect),
        balance_line(effect),
        expiry_line(account, is_renewed=renews_expiry(amount=size), amount=data["amount"]),
        *show_look_alikes(event),
    ]


def _credit(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    payment = review.credit(
        event_key=event.pk, username=data["username"], amount=data["amount"], actor=actor, reason=data["reason"]
    )
    return Result(f"Credited {format_usd(data['amount'])} to {payment.user_id}.")


def _preview_dismiss(event: WebhookEvent, data: Data) -> list[Line]:
    check_waiting(event)
    return [*event_lines(event, "Ignored"), Line("Credits", "not moved", "not moved")]


def _dismiss(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    review.dismiss(event_key=event.pk, actor=actor, reason=data["reason"])
    return Result("The event was dismissed; no credits were moved.")


def _preview_replay(event: WebhookEvent, data: Data) -> list[Line]:
    review.check_replayable(event)
    amount = format_usd(facts.amount_of_replay(event=event))
    lines = [Line("Event", event.get_status_display(), f"as the rules decide now, moving at most {amount}")]
    if not event.is_verified:
        return lines
    outcome, effect = preview_rules(event)
    reason = f": {outcome.reason}" if outcome.reason else ""
    lines.append(Line("The rules say", event.error or "nothing", f"{outcome.status.label}{reason}"))
    if effect and outcome.status == WebhookEvent.Status.DONE:
        is_money = facts.read_money(event) is not None
        before = Payment.objects.get(pk=effect.payment.pk) if not is_money else effect.payment
        moved = [show_received(event, effect)] if is_money else lines_of_reversal(before, effect.payment)
        lines += [Line("Payment", "", f"{effect.payment} of {effect.payment.user_id}"), *moved, balance_line(effect)]
    return lines


def _replay(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    after = review.replay(event_key=event.pk, actor=actor, reason=data["reason"])
    return Result(f"The rules ran again: {after.get_status_display()}. {after.error}".strip())


def _can_replay(event: WebhookEvent) -> bool:
    return event.is_verified and (event.is_waiting_for_staff or event.status == WebhookEvent.Status.IGNORED)


EVENT_ACTIONS = {
    action.slug: action
    for action in (
        MATCH,
        SPLIT,
        Action(
            slug="credit-event",
            title="Credit an account",
            icon="add_card",
            permission=REVIEW,
            submit="Credit",
            form_class=CreditForm,
            preview=_preview_credit,
            change=_credit,
            note="For money without an order. The credits go to OpenHands; what is worth an order restarts the expiry.",
            amount=lambda event, data: data["amount"],
            need=_need_of_credit,
            is_offered=lambda event: event.is_waiting_for_staff,
        ),
        Action(
            slug="dismiss-event",
            title="Dismiss",
            icon="delete_sweep",
            permission=REVIEW,
            submit="Dismiss",
            preview=_preview_dismiss,
            change=_dismiss,
            amount=nothing,
            note="Closes the event without moving credits. It stays in the list.",
            is_offered=lambda event: event.is_waiting_for_staff,
        ),
        Action(
            slug="replay-event",
            title="Run the rules again",
            icon="replay",
            permission=REVIEW,
            submit="Replay",
            preview=_preview_replay,
            change=_replay,
            amount=lambda event, data: facts.amount_of_replay(event=event),
            note="This is safe: nothing is ever credited twice.",
            is_offered=_can_replay,
            is_atomic=False,
        ),
        *WORK,
    )
}

# --- Payments ----------------------------------------------------------------------------------------------------


def state_of_payment(payment: Payment) -> State:
    found = Payment.objects.filter(pk=payment.pk).first()
    if found is None:
        return None
    return {"status": found.status, "refunded": str(found.refunded_amount or 0), "flags": list(found.flags or ())}


def _record_refund(payment: Payment, data: Data, actor: str) -> Payment:
    return review.record_refund(
        payment_key=payment.pk,
        amount=data["amount"],
        reference=data["reference"],
        actor=actor,
        reason=data["reason"],
    )


def _preview_refund(payment: Payment, data: Data) -> list[Line]:
    """What the refund itself does: it is run, read and rolled back."""
    check_payment(payment)
    effect = preview(lambda: _record_refund(payment, data, "preview"))
    lines = lines_of_reversal(payment, effect.payment)
    if (effect.payment.refunded_amount or ZERO) == (payment.refunded_amount or ZERO):
        lines.append(Line("This transfer", "recorded before", "recorded before: nothing more is reversed"))
    return [*lines, balance_line(effect)]


def _refund(payment: Payment, data: Data, operation: str, actor: str) -> Result:
    after = _record_refund(payment, data, actor)
    account = Account.objects.filter(pk=after.user_id).first()
    bonus = f", its bonus of {format_usd(after.reversed_bonus)} included" if after.reversed_bonus else ""
    has_debt = account is not None and account.credits_new < 0
    debt = f" The OpenHands credits are {show_balance(account.credits_new)}." if account and has_debt else ""
    return Result(f"Recorded. In all, {format_usd(reversed_of(after))} of this payment has been reversed{bonus}.{debt}")


PAYMENT_ACTIONS = {
    "record-refund": Action(
        slug="record-refund",
        title="Record a refund",
        icon="undo",
        permission="support.adjust_credits",
        submit="Record",
        form_class=RefundForm,
        preview=_preview_refund,
        change=_refund,
        note="For money sent back by bank transfer. The credits are reversed in proportion, below zero if need be.",
        amount=lambda payment, data: credits_of_refund(payment, data["amount"]),
        is_offered=lambda payment: payment.status == Payment.Status.SUCCESS,
    )
}

# --- The site ----------------------------------------------------------------------------------------------------


def state_of_site(target: Any) -> State:
    purchasing = read_purchasing()
    return {"purchasing": "on" if purchasing.is_on else "off", "notice": purchasing.notice}


def _switch_action(slug: str, title: str, icon: str, *, is_on: bool, note: str) -> Action:
    def change(target: Any, data: Data, operation: str, actor: str) -> Result:
        switch_purchasing(is_on=is_on, actor=actor, reason=data["reason"], notice=data["notice"])
        return Result(f"Purchasing is now {'on' if read_purchasing().is_on else 'off'}.")

    def preview(target: Any, data: Data) -> list[Line]:
        return [Line("Purchasing", "on" if read_purchasing().is_on else "off", "on" if is_on else "off")]

    return Action(
        slug=slug,
        title=title,
        icon=icon,
        permission="support.switch_purchasing",
        submit=title,
        form_class=SwitchForm,
        preview=preview,
        change=change,
        amount=nothing,
        note=note,
        is_offered=lambda target: read_purchasing().is_on is not is_on,
    )


SITE_ACTIONS = {
    action.slug: action
    for action in (
        _switch_action(
            "stop-purchasing",
            "Turn purchasing off",
            "remove_shopping_cart",
            is_on=False,
            note="New orders are refused with this notice. Money that is on its way is still credited.",
        ),
        _switch_action(
            "start-purchasing", "Turn purchasing on", "shopping_cart", is_on=True, note="Customers can buy again."
        ),
    )
}
