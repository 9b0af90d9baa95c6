"""The actions on an account: transfer, adjustment, expiry, status, key, limits."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget

from accounts import credits
from accounts.administration import set_active, set_expiry, set_limits
from accounts.errors import BillingError
from accounts.models import Account, Balance
from accounts.needs_repair import check_account
from accounts.registration import rotate_key
from accounts.review import clear_review
from accounts.undecided import check_converted
from money.amounts import MAX_AMOUNT, ZERO, format_usd
from mongo.days import show_with_zone
from support.actions.action import Action, ActionForm, Data, Line, Result, ledger_mark, nothing
from support.actions.event_work import NoteForm
from support.actions.keys import KEY_ACTIONS, state_of_keys
from support.admin.display import in_zone
from support.audit.things import FIRST_KEY
from support.audit.trail import State
from support.forms import AmountField, MomentField, WholeNumberField
from support.typed import write_amount, write_moment


class TransferForm(ActionForm):
    source = forms.ChoiceField(
        label="Direction",
        choices=[(balance.value, f"From {balance.label} to {balance.other.label}") for balance in Balance],
        widget=UnfoldAdminRadioSelectWidget,
    )
    is_all = forms.BooleanField(label="Everything that is available", required=False)
    amount = AmountField(
        label="Amount (USD)",
        required=False,
        min_value=Decimal("0.00000001"),
        max_value=MAX_AMOUNT,
        decimal_places=8,
    )
    field_order = ("source", "amount", "is_all", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.target.balance(Balance.OPENHANDS) <= 0:
            self.fields["source"].initial = Balance.OHMYGPT.value
        else:
            self.fields["source"].initial = Balance.OPENHANDS.value

    def clean(self) -> Data:
        cleaned = super().clean() or {}
        if "source" not in cleaned:
            return cleaned
        if cleaned.get("is_all"):
            cleaned["amount"] = self.target.balance(Balance(cleaned["source"]))
            if cleaned["amount"] <= 0:
                self.add_error("source", "There is nothing to transfer from this balance.")
        elif cleaned.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", "Enter an amount, or choose everything.")
        return cleaned

    def fixed_values(self) -> dict[str, str]:
        """`Everything` becomes the amount that the preview showed: a refund in between is not moved unseen."""
        return super().fixed_values() | {"amount": write_amount(self.cleaned_data["amount"]), "is_all": ""}


class AdjustForm(ActionForm):
    balance = forms.ChoiceField(
        choices=[(balance.value, f"{balance.label} credits") for balance in Balance],
        widget=UnfoldAdminRadioSelectWidget,
        initial=Balance.OPENHANDS.value,
    )
    direction = forms.ChoiceField(
        label="What to do", choices=[("add", "Add"), ("deduct", "Deduct")], widget=UnfoldAdminRadioSelectWidget
    )
    amount = AmountField(
        label="Amount (USD)",
        min_value=Decimal("0.00000001"),
        max_value=MAX_AMOUNT,
        decimal_places=8,
    )
    field_order = ("balance", "direction", "amount", "reason")


NOTE = "note-account"
LATER = "+"
"""Before a number of days that are added to the expiry that is set."""


class ExpiryForm(ActionForm):
    choice = forms.ChoiceField(
        label="New expiry",
        choices=[
            (f"{LATER}3", "3 days later than it is"),
            (f"{LATER}7", "7 days later than it is"),
            ("1", "In 1 day"),
            ("7", "In 7 days"),
            ("30", "In 30 days"),
            ("never", "Never"),
            ("date", "At the date below"),
        ],
        initial="7",
        widget=UnfoldAdminSelectWidget,
    )
    date = MomentField(label=in_zone("Date and time"), required=False)
    field_order = ("choice", "date", "reason")

    def clean(self) -> Data:
        cleaned = super().clean() or {}
        if cleaned.get("choice") == "date" and not cleaned.get("date") and "date" not in self.errors:
            self.add_error("date", "Choose a date.")
        if "choice" in cleaned and not self.errors:
            cleaned["expires_at"] = _new_expiry(cleaned, self.target.expiry)
        return cleaned

    def fixed_values(self) -> dict[str, str]:
        """A number of days becomes the date that the preview showed, to the microsecond."""
        values = super().fixed_values()
        if self.cleaned_data["choice"] in ("never", "date"):
            return values
        return values | {"choice": "date", "date": write_moment(self.cleaned_data["expires_at"])}


class LimitsForm(ActionForm):
    requests_per_minute = WholeNumberField(
        required=False,
        min_value=0,
        max_value=1_000_000,
        help_text="Leave empty for the platform's limit. 0 refuses every request.",
    )
    concurrent_requests = WholeNumberField(
        required=False,
        min_value=0,
        max_value=100_000,
        help_text="Leave empty for the platform's limit.",
    )
    field_order = ("requests_per_minute", "concurrent_requests", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("requests_per_minute", "concurrent_requests"):
            self.fields[name].initial = getattr(self.target, name)


# --- Actions -----------------------------------------------------------------------------------------------------


def _money_lines(account: Account, changes: dict[Balance, Decimal]) -> list[Line]:
    mark = ledger_mark(account.pk)
    return [
        Line(
            f"{balance.label} credits",
            _shown(account, name, format_usd(account.balance(balance))),
            _shown(account, name, format_usd(account.balance(balance) + changes.get(balance, ZERO))),
            drifts=True,
            mark=mark,
        )
        for balance, name in ((Balance.OPENHANDS, "credits_new"), (Balance.OHMYGPT, "credits"))
    ]


def _shown(account: Account, name: str, text: str) -> str:
    """A value in words, or what is stored in its place and cannot be read."""
    return str(account.unreadable.get(name, text))


def _show_expiry(value: datetime | None) -> str:
    return show_with_zone(value) if value else "never"


def _utc(value: datetime | None) -> str:
    """As the audit keeps it, whatever the site's zone is then."""
    return credits.format_time(value) if value else "never"


def state_of(target: Account) -> State:
    """What the audit keeps of an account, read now: both balances, the expiry, the status and the masked key."""
    account = Account.objects.filter(pk=target.pk).first()
    if account is None:
        return None

    def shown(name: str, value: Any) -> Any:
        return str(account.unreadable[name]) if name in account.unreadable else value

    per_minute = shown("requests_per_minute", _limit(account.requests_per_minute))
    return {
        "openhands": shown("credits_new", format_usd(account.credits_new)),
        "ohmygpt": shown("credits", format_usd(account.credits)),
        "expires": shown("expires_at", shown("expires_at_new", _utc(account.expiry))),
        "active": shown("is_active", account.is_active),
        "review": shown("review_since", account.review_since is not None),
        "key": account.api_key_prefix or "",
        **({"keys": state_of_keys(account)} if account.keys else {}),
        "limits": f"{per_minute} / {shown('concurrent_requests', _limit(account.concurrent_requests))}",
    }


def _preview_transfer(account: Account, data: Data) -> list[Line]:
    check_account(account)
    source = Balance(data["source"])
    credits.check_not_expired(account.pk, account.expiry, timezone.now())
    check_converted(account.pk, account.is_migrated)
    if account.balance(source) < data["amount"]:
        held = account.held(source)
        raise BillingError(
            f"Only {format_usd(account.balance(source))} of the {source.label} credits is available"
            + (f"; {format_usd(held)} more is held for requests in flight." if held else ".")
        )
    return _money_lines(account, {source: -data["amount"], source.other: data["amount"]})


def _transfer(account: Account, data: Data, operation: str, actor: str) -> Result:
    source = Balance(data["source"])
    credits.transfer(
        username=account.pk,
        source=source,
        amount=data["amount"],
        operation=operation,
        actor=actor,
        reason=data["reason"],
    )
    return Result(f"Transferred {format_usd(data['amount'])} from {source.label} to {source.other.label}.")


def _signed(data: Data) -> Decimal:
    amount: Decimal = data["amount"]
    return amount if data["direction"] == "add" else -amount


def _preview_adjustment(account: Account, data: Data) -> list[Line]:
    check_account(account)
    credits.check_not_expired(account.pk, account.expiry, timezone.now())
    balance, amount = Balance(data["balance"]), _signed(data)
    if balance is Balance.OHMYGPT:
        check_converted(account.pk, account.is_migrated)
    if amount < 0 and account.balance(balance) < -amount:
        raise BillingError(
            f"Only {format_usd(account.balance(balance))} of the {balance.label} credits can be deducted."
        )
    return _money_lines(account, {balance: amount})


def _adjust(account: Account, data: Data, operation: str, actor: str) -> Result:
    balance, amount = Balance(data["balance"]), _signed(data)
    credits.adjust(
        username=account.pk, balance=balance, amount=amount, operation=operation, actor=actor, reason=data["reason"]
    )
    verb = "Added" if amount > 0 else "Deducted"
    return Result(f"{verb} {format_usd(abs(amount))} of {balance.label} credits.")


def _new_expiry(data: Data, present: datetime | None) -> datetime | None:
    """The date that was chosen; None = never. More days are added to the present one, or to now if that has passed."""
    if data["choice"] == "never" or (data["choice"].startswith(LATER) and present is None):
        return None
    if data["choice"].startswith(LATER):
        return max(cast(datetime, present), timezone.now()) + timedelta(days=int(data["choice"].removeprefix(LATER)))
    if data["choice"] == "date":
        value: datetime = data["date"]
        return value.astimezone(UTC)
    return (timezone.now() + timedelta(days=int(data["choice"]))).replace(
        second=0, microsecond=0
    )  # As the field has it.


def _preview_expiry(account: Account, data: Data) -> list[Line]:
    check_account(account)
    if data["choice"].startswith(LATER) and account.expiry is None:
        raise BillingError("These credits never expire, so there is no date to move. Choose a date instead.")
    # `set_expiry` knows which expiry was seen, and says what became of it.
    lines = [Line("Expiry", _show_expiry(account.expiry), _show_expiry(data["expires_at"]), drifts=True)]
    if account.is_expired():
        lost = {balance: -account.balance(balance) for balance in Balance if account.balance(balance) > 0}
        return lines + _money_lines(account, lost)
    return lines


def _set_expiry(account: Account, data: Data, operation: str, actor: str) -> Result:
    until = data["expires_at"]
    set_expiry(username=account.pk, expires_at=until, seen_expires_at=data["seen_expires_at"])
    return Result(f"The credits now expire at {_show_expiry(until)}." if until else "The credits never expire.")


def _at_stake(account: Account, data: Data) -> Decimal:
    """What lives longer or shorter by another expiry, held or not. What has expired is lost whatever is set."""
    if account.is_expired():
        return ZERO
    return sum((max(account.balance(balance) + account.held(balance), ZERO) for balance in Balance), ZERO)


def _status_action(slug: str, title: str, icon: str, *, is_active: bool, note: str) -> Action:
    def change(account: Account, data: Data, operation: str, actor: str) -> Result:
        set_active(username=account.pk, is_active=is_active)
        return Result(f"The account is now {'enabled' if is_active else 'disabled'}.")

    def preview(account: Account, data: Data) -> list[Line]:
        words = {True: "active", False: "disabled"}
        before = _shown(account, "is_active", words[account.is_active])
        return [Line("Status", before, words[is_active]), *_money_lines(account, {})]

    return Action(
        slug=slug,
        title=title,
        icon=icon,
        permission="support.set_status",
        submit=title,
        preview=preview,
        change=change,
        amount=nothing,
        note=note,
        is_offered=lambda account: account.is_active is not is_active or "is_active" in account.unreadable,
    )


def _clear_review(account: Account, data: Data, operation: str, actor: str) -> Result:
    clear_review(username=account.pk)
    return Result("The account can be used again; what was not collected is counted from zero.")


def _rotate(account: Account, data: Data, operation: str, actor: str) -> Result:
    return Result("The key was replaced.", api_key=rotate_key(username=account.pk))


def _limit(value: int | None) -> str:
    return "the platform's" if value is None else str(value)


def _preview_limits(account: Account, data: Data) -> list[Line]:
    return [
        Line(label, _shown(account, name, _limit(getattr(account, name))), _limit(data[name]))
        for label, name in (
            ("Requests per minute", "requests_per_minute"),
            ("Concurrent requests", "concurrent_requests"),
        )
    ]


def _set_limits(account: Account, data: Data, operation: str, actor: str) -> Result:
    set_limits(
        username=account.pk,
        requests_per_minute=data["requests_per_minute"],
        concurrent_requests=data["concurrent_requests"],
    )
    return Result("The limits were set.")


ACTIONS = {
    action.slug: action
    for action in (
        Action(
            slug="transfer",
            title="Transfer credits",
            icon="swap_horiz",
            permission="support.transfer_credits",
            submit="Transfer",
            form_class=TransferForm,
            preview=_preview_transfer,
            change=_transfer,
            note="Moves credits between the two balances of this account, but not those held for requests in flight.",
            amount=lambda account, data: data["amount"],
        ),
        Action(
            slug="adjust",
            title="Add or deduct credits",
            icon="exposure",
            permission="support.adjust_credits",
            submit="Adjust",
            form_class=AdjustForm,
            preview=_preview_adjustment,
            change=_adjust,
            note="Does not change the expiry. If the credits have expired, set the expiry first.",
            amount=lambda account, data: data["amount"],
        ),
        Action(
            slug="expiry",
            title="Set the expiry",
            icon="event",
            permission="support.set_expiry",
            submit="Set",
            form_class=ExpiryForm,
            preview=_preview_expiry,
            change=_set_expiry,
            amount=_at_stake,
            note="Both balances share one expiry. Credits that have already expired do not come back.",
        ),
        _status_action(
            "disable",
            "Disable",
            "block",
            is_active=False,
            note="New requests are refused at once; requests in flight end as usual. Credits stay as they are.",
        ),
        _status_action("enable", "Enable", "check_circle", is_active=True, note="The account can be used again."),
        Action(
            slug="clear-review",
            title="End the review",
            icon="fact_check",
            permission="support.set_status",
            submit="End it",
            preview=lambda account, data: [
                Line("Review", _shown(account, "review_since", f"since {_show_expiry(account.review_since)}"), "ended")
            ],
            change=_clear_review,
            amount=nothing,
            note="It is refused because its requests cost more than they held. Look at their uncollected cost first.",
            is_offered=lambda account: account.review_since is not None or "review_since" in account.unreadable,
        ),
        Action(
            slug="rotate-key",
            title="Replace the API key",
            icon="key",
            permission="support.rotate_key",
            submit="Replace",
            preview=lambda account, data: [Line("API key", account.api_key_prefix or "the old key", "a new key")],
            change=_rotate,
            amount=nothing,
            part=lambda account, data: FIRST_KEY,
            note="The old key stops working at once. The new key is shown only once.",
        ),
        Action(
            slug="limits",
            title="Set or reset limits",
            icon="speed",
            permission="support.set_status",
            submit="Set",
            form_class=LimitsForm,
            preview=_preview_limits,
            change=_set_limits,
            amount=nothing,
            note="Sets the limits of this account alone. Leave both empty to use the platform's limits.",
        ),
        Action(
            slug=NOTE,
            title="Write a note",
            icon="edit_note",
            permission="support.set_status",
            submit="Keep",
            form_class=NoteForm,
            preview=lambda account, data: [Line("Written", "–", "now, with your name")],
            change=lambda account, data, operation, actor: Result("The note was kept."),  # As its own audit entry.
            amount=nothing,
            note="For others who look at this account. It changes nothing, and is not a field of the account.",
        ),
        *KEY_ACTIONS,
    )
}
