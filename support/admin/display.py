"""How values are shown in lists and on pages, and the addresses that lead from one page to another."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote as quote_url

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Account, Balance
from money.amounts import format_usd
from mongo.days import show_time, zone_name
from mongo.unreadable import id_of_text, is_odd_id, text_of_id

Display = Callable[[Any, Any], str | SafeString]
BALANCE_COLOURS = {"openhands": "primary", "ohmygpt": "info"}


def badge(text: str, colour: str = "") -> SafeString:
    """A coloured label: `success`, `warning`, `danger`, `info`, or neutral."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour, "size": "md"})


def unreadable_of(obj: Any, attribute: str) -> SafeString | None:
    """How a value that its field could not read is shown: what it is, as a warning. None for what was read."""
    problem = getattr(obj, "unreadable", {}).get(attribute)
    return badge(str(problem), "danger") if problem is not None else None


def text_of(attribute: str, label: str, *, ordering: str | None = None) -> Display:
    """A display of any attribute as it is; a dash for nothing."""

    @admin.display(description=label, ordering=ordering)
    def show(self: Any, obj: Any) -> str:
        value = getattr(obj, attribute)
        text = {True: "Yes", False: "No", None: "–", "": "–"}.get(value, value) if _is_plain(value) else value
        return unreadable_of(obj, attribute) or (f"{text:,}" if type(text) is int else str(text))

    return show


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | str)


SHOWN_OF_AN_ID = 16


def short_id(attribute: str, label: str) -> Display:
    """A display of an id by its beginning, by which it can be searched for; whole where it is pointed at, or copied."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        return id_block(getattr(obj, attribute), label)

    return show


def id_block(key: object, what: str = "id") -> SafeString:
    """An id in a list: its beginning, all of it on pointing, and a button that copies it."""
    text = str(key)
    shown = text if len(text) <= SHOWN_OF_AN_ID else f"{text[:SHOWN_OF_AN_ID]}…"
    code = format_html('<code title="{}">{}</code>', text, shown)
    return format_html('<span class="nowrap">{}{}</span>', code, copy_button(text, what))


def copyable_text(attribute: str, label: str) -> Display:
    """A display of a text as it is, and a button that copies it."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        value = getattr(obj, attribute)
        return unreadable_of(obj, attribute) or (copyable(str(value), label) if value else "–")

    return show


def copyable(text: str, what: str) -> SafeString:
    """A text as it is, and a button that copies it."""
    return format_html('<span class="copyable">{}{}</span>', text, copy_button(text, what))


def copy_button(text: str, what: str, *, is_wide: bool = False) -> SafeString:
    """A button that copies `text`, which is the `what` of something; without JavaScript there is none."""
    return render_to_string("support/copy_button.html", {"text": text, "what": what, "is_wide": is_wide})


def usd(attribute: str, label: str, *, is_signed: bool = False, ordering: str | None = None) -> Display:
    """A display of a money attribute, `$1.23`; signed ones say in words and colour which way the money went."""

    @admin.display(description=label, ordering=ordering)
    def show(self: Any, obj: Any) -> str:
        value: Decimal | None = getattr(obj, attribute)
        if problem := unreadable_of(obj, attribute):
            return problem
        if value is None:
            return "–"
        sign = "+" if is_signed and value > 0 else ""
        colour = "money-negative" if value < 0 else "money-positive" if is_signed and value > 0 else ""
        return format_html('<span class="money {}">{}{}</span>', colour, sign, format_usd(value))

    return show


def show_money(amount: Decimal, currency: str) -> str:
    """An amount in the currency that was paid or is to be paid."""
    places = 0 if amount == amount.to_integral_value() and currency == "VND" else 2
    return f"{amount:,.{places}f} {currency}"


def choice_badge(attribute: str, label: str, colours: dict[str, str]) -> Display:
    """A display of a field with choices, as a coloured label."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        value = getattr(obj, attribute)
        if problem := unreadable_of(obj, attribute):
            return problem
        return badge(getattr(obj, f"get_{attribute}_display")() or "–", colours.get(value, "")) if value else "–"

    return show


def _with_zone(label: str) -> str:
    return f"{label} ({zone_name()})"


_in_zone = lazy(_with_zone, str)


def in_zone(label: str) -> str:
    """A heading of times, with the zone that they are in: `time (UTC)`. Read when it is shown."""
    return _in_zone(label)


def time_element(moment: datetime) -> SafeString:
    """A time to the second in the site's zone. Its title says how long ago that was, and the time in UTC."""
    return format_html(
        '<time datetime="{}" title="{}, {} UTC" class="nowrap">{}</time>',
        moment.isoformat(),
        in_words(moment - timezone.now()),
        f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        show_time(moment),
    )


def time_of(attribute: str, label: str, *, ordering: str | None = None) -> Display:
    """A display of a time, under a heading that names the zone."""

    @admin.display(description=in_zone(label), ordering=ordering)
    def show(self: Any, obj: Any) -> str:
        value: datetime | None = getattr(obj, attribute)
        if problem := unreadable_of(obj, attribute):
            return problem
        return "–" if value is None else time_element(value)

    return show


def account_link(attribute: str, label: str = "account") -> Display:
    """A display of an account's name that leads to its page; no look-up, so a missing account does no harm."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        name = getattr(obj, attribute)
        return unreadable_of(obj, attribute) or (link(account_url(name), name) if name else "–")

    return show


def account_url(username: str) -> str:
    """The address of an account's page."""
    return reverse("admin:accounts_account_change", args=(document_key(username),))


LONGEST_KEY = 700
TOO_LONG = "~too-long"
"""In the address of a document whose `_id` no address can hold."""
_NOT_IN_AN_ADDRESS = re.compile(r"\.{1,2}|.*[\0-\x1f\x7f].*|\s.*|.*\s", re.S)


def document_key(key: object) -> str:
    """A document's key in the address of a page, from which `key_of_address` makes the key again.

    Names such as `..`, or with a line break in them, would not arrive as they are: they go as odd keys do.
    """
    text = str(key)
    if len(text) > LONGEST_KEY and not is_odd_id(text):
        return TOO_LONG
    return quote(text_of_id(text) if not text or _NOT_IN_AN_ADDRESS.fullmatch(text) else text)


def key_of_address(part: str) -> Any:
    """The key that a part of an address stands for."""
    text = unquote(part)
    key = id_of_text(text)
    return key if isinstance(key, str) and key else text


def list_url(model: type[Model], /, **filters: str) -> str:
    """The address of a model's list, filtered."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return address + ("?" + "&".join(f"{key}={quote_url(value)}" for key, value in filters.items()) if filters else "")


def usable_list(balance: Balance) -> str:
    """The address of the list of accounts that have credits of a balance which can be spent."""
    return list_url(Account, **{balance.value: "some"}, status="active", expiry="usable")


def link(address: str, text: str) -> SafeString:
    return format_html('<a href="{}" class="text-link">{}</a>', address, text)


def code_block(text: str) -> SafeString:
    """Raw text as it came, in a box that scrolls."""
    return format_html('<pre class="raw-text">{}</pre>', text)


def pretty_json(text: str) -> str:
    """JSON with indentation; other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def in_words(delta: timedelta) -> str:
    """How far away a time is: `in 3 days`, `5 hours ago`."""
    seconds = abs(delta.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            amount = int(seconds // size)
            words = f"{amount} {unit}{'s' if amount > 1 else ''}"
            return f"{words} ago" if delta < timedelta() else f"in {words}"
    return "just now" if delta <= timedelta() else "in less than a minute"
