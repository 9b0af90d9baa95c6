"""The actions on single API keys of an account: add, change, disable, enable, replace, delete."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.api_keys import (
    ApiKey,
    create_key,
    delete_key,
    find_key,
    list_keys,
    rotate_further_key,
    set_key_disabled,
    update_key,
)
from accounts.errors import KeyNotFound
from accounts.key_choices import LONGEST_NAME, Budget, Limits, check_limits, check_name
from accounts.key_entry import BudgetPeriod
from accounts.models import Account, Balance
from money.amounts import MAX_AMOUNT, format_usd
from mongo.days import show_minute, zone_name
from proxy.billing.price_book import PRICES
from support.actions.action import Action, ActionForm, Data, Line, Result, nothing
from support.admin.display import in_zone
from support.audit.things import FIRST_KEY
from support.forms import AmountField, MomentField

PERMISSION = "support.rotate_key"
BOTH = ""
"""As the choice of an upstream: no limit."""


class LimitedForm(ActionForm):
    """What can be chosen for a key."""

    name = forms.CharField(max_length=LONGEST_NAME, widget=UnfoldAdminTextInputWidget)
    budget = AmountField(
        label="Budget (USD)",
        required=False,
        max_value=MAX_AMOUNT,
        decimal_places=8,
        help_text="Leave empty for none. Requests beyond it are refused until it begins anew.",
    )
    budget_period = forms.ChoiceField(
        label="The budget is for",
        choices=[(BudgetPeriod.DAY.value, "a day (UTC)"), (BudgetPeriod.MONTH.value, "a month (UTC)")],
        initial=BudgetPeriod.MONTH.value,
        widget=UnfoldAdminSelectWidget,
    )
    models = forms.CharField(
        label="Allowed models",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Names or aliases, separated by spaces. Leave empty to allow all.",
    )
    upstream = forms.ChoiceField(
        label="Allowed upstreams",
        required=False,
        choices=[(BOTH, "Both"), *((balance.value, f"{balance.label} only") for balance in Balance)],
        widget=UnfoldAdminSelectWidget,
    )
    expires_at = MomentField(label=in_zone("Expires"), required=False, help_text="Leave empty for never.")

    def clean_models(self) -> tuple[str, ...] | None:
        names = tuple(self.cleaned_data["models"].replace(",", " ").split())
        unknown = [name for name in names if not PRICES.has_model(name)]
        if unknown:
            raise forms.ValidationError(f"No price row has the model {', '.join(unknown)[:200]}.")
        return names or None

    @property
    def limits(self) -> Limits:
        """What was chosen."""
        return limits_of(self.cleaned_data)


class AddKeyForm(LimitedForm):
    field_order = ("name", "budget", "budget_period", "models", "upstream", "expires_at", "reason")


class KeyForm(ActionForm):
    """Of one key: the one that the dialog was opened for."""

    key = forms.ChoiceField(label="Key", widget=UnfoldAdminSelectWidget)
    field_order: tuple[str, ...] = ("key", "reason")
    takes_first_key = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        wanted = self.data.get("key") or self.initial.get("key")
        offered = [key for key in list_keys(self.target) if self.takes_first_key or not key.is_first]
        self.chosen = next((key for key in offered if key.key_id == wanted), offered[0] if offered else None)
        choices = [(self.chosen.key_id, label_of(self.chosen))] if self.chosen else []
        self.fields["key"].choices = choices  # type: ignore[attr-defined]


class FurtherKeyForm(KeyForm):
    takes_first_key = False


class ChangeKeyForm(LimitedForm, KeyForm):
    field_order = ("key", "name", "budget", "budget_period", "models", "upstream", "expires_at", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.chosen is None:
            return
        entry = self.chosen.entry
        upstreams = entry.upstreams or ()
        present = {
            "name": entry.name,
            "budget": entry.budget,
            "budget_period": entry.budget_period.value,
            "models": " ".join(entry.models or ()),
            "upstream": upstreams[0] if len(set(upstreams)) == 1 else BOTH,
            "expires_at": entry.expires_at,
        }
        for name, value in present.items():
            self.fields[name].initial = value


def limits_of(data: Data) -> Limits:
    """The limits that a form of a key asks for."""
    budget = data["budget"]
    return Limits(
        budget=None if budget is None else Budget(budget, BudgetPeriod(data["budget_period"])),
        models=data["models"],
        upstreams=(data["upstream"],) if data["upstream"] else None,
        expires_at=data["expires_at"],
    )


def label_of(key: ApiKey) -> str:
    """A key in a word or two, without its secret."""
    return f"{key.entry.name or 'without a name'} ({key.entry.prefix or 'prefix unknown'})"


def show_budget(budget: Budget | None) -> str:
    return "none" if budget is None else f"{format_usd(budget.amount)} a {budget.period.value}"


def show_names(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"


def show_time(value: datetime | None) -> str:
    return "never" if value is None else f"{show_minute(value)} {zone_name()}"


def limits_of_key(key: ApiKey) -> Limits:
    """The limits that a key has."""
    entry = key.entry
    budget = None if entry.budget is None else Budget(entry.budget, entry.budget_period)
    return Limits(budget, entry.models, entry.upstreams, entry.expires_at)


def lines_of_limits(limits: Limits) -> list[tuple[str, str]]:
    """The limits of a key in words, each with its label."""
    return [
        ("Budget", show_budget(limits.budget)),
        ("Models", show_names(limits.models)),
        ("Upstreams", show_names(limits.upstreams)),
        ("Expires", show_time(limits.expires_at)),
    ]


def _preview_addition(account: Account, data: Data) -> list[Line]:
    limits = limits_of(data)
    check_limits(limits, now=timezone.now())
    return [
        Line("Name", "–", check_name(data["name"])),
        *(Line(label, "–", after) for label, after in lines_of_limits(limits)),
    ]


def _add(account: Account, data: Data, operation: str, actor: str) -> Result:
    key, secret = create_key(username=account.pk, name=data["name"], limits=limits_of(data))
    return Result("The key was added.", api_key=secret, part=key.key_id)


def _changes(key: ApiKey, data: Data) -> dict[str, Any]:
    """What a form changes of a key. Times are compared to the minute, as the form has them."""
    before, after = limits_of_key(key), limits_of(data)
    changes: dict[str, Any] = {}
    for field in ("budget", "models", "upstreams"):
        if getattr(before, field) != getattr(after, field):
            changes[field] = getattr(after, field)
    if show_time(before.expires_at) != show_time(after.expires_at):
        changes["expires_at"] = after.expires_at
    unreadable = {"budgetPeriod": "budget", "expiresAt": "expires_at"}
    for column in key.entry.problems.keys() & {"budget", "budgetPeriod", "models", "upstreams", "expiresAt"}:
        field = unreadable.get(column, column)
        changes[field] = getattr(after, field)
    return changes


def _preview_change(account: Account, data: Data) -> list[Line]:
    key = find_key(account, data["key"])
    check_limits(Limits(**_changes(key, data)), now=timezone.now())
    before, after = lines_of_limits(limits_of_key(key)), lines_of_limits(limits_of(data))
    return [
        Line("Name", key.entry.name or "–", check_name(data["name"])),
        *(Line(label, old, new) for (label, old), (_, new) in zip(before, after, strict=True)),
    ]


def _change(account: Account, data: Data, operation: str, actor: str) -> Result:
    changes = _changes(find_key(_read_again(account), data["key"]), data)
    update_key(username=account.pk, wanted_id=data["key"], name=data["name"], **changes)
    return Result("The key was changed.")


def _read_again(account: Account) -> Account:
    found = Account.objects.filter(pk=account.pk).first()
    if found is None:
        raise KeyNotFound(account.pk)
    return found


def _status(key: ApiKey) -> str:
    return "disabled" if key.entry.is_disabled else "enabled"


def _status_action(slug: str, title: str, icon: str, *, is_disabled: bool, note: str) -> Action:
    def preview(account: Account, data: Data) -> list[Line]:
        key = find_key(account, data["key"])
        return [Line(label_of(key), _status(key), "disabled" if is_disabled else "enabled")]

    def change(account: Account, data: Data, operation: str, actor: str) -> Result:
        set_key_disabled(username=account.pk, wanted_id=data["key"], is_disabled=is_disabled)
        return Result(f"The key was {'disabled' if is_disabled else 'enabled'}.")

    return _action(slug, title, icon, form_class=KeyForm, preview=preview, change=change, note=note)


def _preview_replacement(account: Account, data: Data) -> list[Line]:
    key = find_key(account, data["key"])
    return [Line(label_of(key), key.entry.prefix or "the old secret", "a new secret")]


def _replace(account: Account, data: Data, operation: str, actor: str) -> Result:
    _, secret = rotate_further_key(username=account.pk, wanted_id=data["key"])
    return Result("The key was replaced.", api_key=secret)


def _preview_deletion(account: Account, data: Data) -> list[Line]:
    key = find_key(account, data["key"])
    return [Line(label_of(key), _status(key), "deleted")]


def _delete(account: Account, data: Data, operation: str, actor: str) -> Result:
    delete_key(username=account.pk, wanted_id=data["key"])
    return Result("The key was deleted.")


def _part(account: Account, data: Data) -> str | None:
    """What the audit calls the key that an action is about; None for one that is still to be made."""
    return next((part_of(key) for key in list_keys(account) if key.key_id == data.get("key")), data.get("key"))


def part_of(key: ApiKey) -> str:
    """What the audit calls a key, whatever its secret is."""
    return FIRST_KEY if key.is_first else key.key_id


def _action(
    slug: str,
    title: str,
    icon: str,
    *,
    form_class: type[ActionForm],
    preview: Callable[[Account, Data], list[Line]],
    change: Callable[[Account, Data, str, str], Result],
    note: str,
    is_offered: bool = False,
) -> Action:
    """`is_offered` beside the account's other actions; what is done to one key is offered beside that key."""
    return Action(
        slug=slug,
        title=title,
        icon=icon,
        permission=PERMISSION,
        submit=title,
        form_class=form_class,
        preview=preview,
        change=change,
        amount=nothing,
        note=note,
        part=_part,
        is_offered=lambda account: is_offered,
    )


KEY_ACTIONS = (
    _action(
        "add-key",
        "Add an API key",
        "add",
        form_class=AddKeyForm,
        preview=_preview_addition,
        change=_add,
        note="It pays from the same balances, within its own limits. It is shown only once.",
        is_offered=True,
    ),
    _action(
        "change-key",
        "Change the key",
        "edit",
        form_class=ChangeKeyForm,
        preview=_preview_change,
        change=_change,
        note="Its name and its limits. A budget that is now for a day, and was for a month, counts from now on.",
    ),
    _status_action(
        "disable-key",
        "Disable the key",
        "block",
        is_disabled=True,
        note="New requests with this key are refused at once; requests in flight end as usual.",
    ),
    _status_action("enable-key", "Enable the key", "check_circle", is_disabled=False, note="It can be used again."),
    _action(
        "replace-key",
        "Replace the key",
        "key",
        form_class=FurtherKeyForm,
        preview=_preview_replacement,
        change=_replace,
        note="The old secret stops working at once; name and limits stay. The new one is shown only once.",
    ),
    _action(
        "delete-key",
        "Delete the key",
        "delete",
        form_class=FurtherKeyForm,
        preview=_preview_deletion,
        change=_delete,
        note="It is refused at once and for good; requests in flight end as usual.",
    ),
)
SLUGS_OF_FIRST = ("change-key", "disable-key", "enable-key")
"""What is offered beside the first key, which is replaced by an action of its own and never deleted."""


def state_of_keys(account: Account) -> str:
    """What the audit keeps of an account's keys."""
    return "; ".join(
        f"{label_of(key)} {_status(key)}, " + ", ".join(f"{label.lower()} {text}" for label, text in lines)
        for key in list_keys(account)
        for lines in [lines_of_limits(limits_of_key(key))]
    )


def actions_of(key: ApiKey) -> list[Action]:
    """What can be done to a key now."""
    hidden = "enable-key" if not key.entry.is_disabled else "disable-key"
    return [
        action
        for action in KEY_ACTIONS
        if action.slug not in ("add-key", hidden) and (not key.is_first or action.slug in SLUGS_OF_FIRST)
    ]
