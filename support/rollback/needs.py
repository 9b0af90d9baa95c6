"""What one account needs before the replaced programs can serve it again, by its raw document. Writes nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from accounts import credits
from accounts.administration import set_expiry
from accounts.key_changes import Keys
from accounts.key_entry import KeyEntry, read_entry
from accounts.key_limits import unusable_key
from accounts.models import Balance
from accounts.needs_repair import problems_of
from accounts.replaced_system import (
    bring_split_dates,
    has_older_split_dates,
    plain_key_of,
    refuse_plain_key,
    user_keys,
)
from books.reconciliation import reconcile_account
from money.amounts import ZERO, from_bson, number_from_bson, usd_text
from mongo.collections import Document, current_session
from mongo.times import aware
from mongo.unreadable import text_of_id
from support.rollback.report import Row

REASON = "Roll-back to the replaced programs"


@dataclass(frozen=True)
class Options:
    """What an operator allows. Without any, nothing moves that the sweep would not move."""

    transfers: bool = False
    expires_in: timedelta | None = None
    gives_new_keys: bool = False
    cancels_orders: bool = False
    reason: str = REASON


@dataclass(frozen=True)
class Need:
    """One thing that an account needs, and what is at stake (USD). `do` is None where nobody may or can do it.

    `label` names it instead of the account, `listed` are the things themselves, for the list of all of them.
    """

    row: str
    usd: Decimal = ZERO
    do: Callable[[], object] | None = None
    label: str = ""
    listed: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Deed:
    """Who does it, when, and under which operation."""

    actor: str
    operation: str
    now: datetime


def account_rows() -> dict[str, Row]:
    """The rows that `needs_of` counts in."""
    return {
        "unopened": Row("Accounts without a ledger, opened"),
        "expired": Row("Expired credits, taken off"),
        "undated": Row(
            "Credits without an expiry date",
            "the old log-in sets OhMyGPT credits without a date to 0. Give them one: --expires-in DAYS.",
        ),
        "undecided": Row(
            "Credits with a second, later date",
            "a later version gave it to them, and nobody has decided which counts. manage.py take_over decides.",
        ),
        "openhands": Row(
            "OpenHands credits, transferred",
            "the old programs do not see them; they wait here. To give them as OhMyGPT credits: --transfer"
            " (with --expires-in DAYS for those without an expiry date).",
        ),
        "debts": Row("OpenHands debts", "the old programs do not see them; they wait here."),
        "numbers": Row("Numbers that are Decimal128 or null, stored as doubles"),
        "odd": Row(
            "Fields that the old proxy cannot decode", "it refuses these accounts. Repair the documents by hand."
        ),
        "dates": Row("Dates of a later version, brought up to date"),
        "hashed_keys": Row(
            "Keys that are only hashed",
            "they cannot be given back, so these accounts cannot use the old proxy. --new-keys FILE makes new ones.",
        ),
        "disabled_keys": Row("Own keys that are not valid here, made inactive in user_keys"),
        "further_keys": Row(
            "Accounts with further keys made here",
            "only their hashes are kept, so they cannot be given back: the old proxy takes none of them. The first key"
            " of the account does their work there; after coming back they work again. --json lists them.",
        ),
        "limited_keys": Row(
            "Accounts with limits of a key",
            "the old programs know no budgets, models or upstreams of a key. --json lists them. Disable here"
            " first the keys that must not work without their limits.",
        ),
        "disabled": Row("Disabled accounts", "they stay disabled there."),
        "unmigrated": Row(
            "Accounts with migration: false", "the old proxy refuses them until they are converted there."
        ),
        "reviewed": Row("Accounts under review", "the old programs do not know of it, and serve them."),
        "repair": Row("Accounts that need repair", "nothing was done for them. See docs/odd-documents.md."),
    }


def needs_of(document: Document, deed: Deed, options: Options, *, new_key: Callable[[], object] | None) -> list[Need]:
    """What a raw account needs, in the order in which to do it.

    `new_key` gives it a new key; None where its own was given back. Each `do` is for the transaction in which the
    document was read, and raises what the domain raises.
    """
    if problems_of(document):
        return [Need("repair", sum_of(document))]
    username, present = document["_id"], sum_of(document)
    odd = odd_numbers_of(document)
    needs = [Need("unopened", do=partial(reconcile_account, username))] if not credits.is_ledger_open(username) else []
    needs += _money(document, deed, options)
    if credits.unlike_doubles(document):
        needs.append(Need("numbers", do=partial(credits.store_as_doubles, username=username)))
    if odd:
        needs.append(Need("odd", present))
    if has_older_split_dates(document):
        needs.append(Need("dates", do=partial(bring_split_dates, username=username)))
    if new_key and not plain_key_of(document) and document.get("apiKeyHash"):
        needs.append(Need("hashed_keys", present, do=new_key if options.gives_new_keys else None))
    needs += _keys(document, deed.now)
    if document.get("isActive") is False:
        needs.append(Need("disabled", present))
    if document.get("migration") is False:
        needs.append(Need("unmigrated", present))
    if document.get("reviewSince") is not None:
        needs.append(Need("reviewed", present))
    return needs


def _money(document: Document, deed: Deed, options: Options) -> Iterator[Need]:
    username, expires_at = document["_id"], aware(document.get("expiresAt"))
    openhands, ohmygpt = (from_bson(document.get(balance.field)) for balance in (Balance.OPENHANDS, Balance.OHMYGPT))
    if openhands < 0:
        yield Need("debts", openhands)
    second = aware(document.get("expiresAtNew"))
    if second is not None and (expires_at is None or expires_at < second):
        if (present := sum_of(document)) > 0:
            yield Need("undecided", present)
        return
    if expires_at is not None and expires_at <= deed.now:
        if (lost := sum_of(document)) > 0:
            expire = partial(credits.expire, username=username, seen_expires_at=expires_at, now=deed.now)
            yield Need("expired", lost, do=expire)
        return
    is_converted = document.get("migration") is not False
    until = deed.now + options.expires_in if options.expires_in and is_converted else None
    moves = is_converted and openhands > 0 and options.transfers and (expires_at is not None or until is not None)
    if expires_at is None and (ohmygpt > 0 or (openhands > 0 and options.transfers)):
        date = partial(set_expiry, username=username, expires_at=until, seen_expires_at=None, now=deed.now)
        yield Need("undated", max(ohmygpt, ZERO), do=date if until else None)
    if openhands > 0:
        transfer = partial(
            credits.transfer,
            username=username,
            source=Balance.OPENHANDS,
            amount=openhands,
            operation=deed.operation,
            actor=deed.actor,
            reason=options.reason,
            now=deed.now,
        )
        yield Need("openhands", openhands, do=transfer if moves else None)


def _keys(document: Document, now: datetime) -> Iterator[Need]:
    """What the replaced programs do not know of the keys. A key of `user_keys` is none of those that were made here."""
    username, plain = document["_id"], plain_key_of(document)
    is_refused = bool(plain) and unusable_key(username, document.get("keys"), plain, now=now) is not None
    if is_refused and user_keys().find_one({"_id": plain}, {"_id": 1}, session=current_session()) is None:
        yield Need("disabled_keys", do=partial(refuse_plain_key, username=username, key=plain))
    keys = Keys.of(document)
    entries = [read_entry(path, stored) for path, stored in keys.entries.items()]
    usable = [entry for entry in entries if entry.is_usable_at(now)]
    if made_here := [entry for entry in usable if entry.hash in keys.hashes and not entry.is_adopted]:
        yield Need("further_keys", listed=tuple({"key": one.prefix, "name": one.name} for one in made_here))
    if limited := [entry for entry in usable if entry.has_limits]:
        yield Need("limited_keys", listed=tuple(_limits_of(one) for one in limited))


def _limits_of(entry: KeyEntry) -> dict[str, str]:
    limits = {
        "budget": None if entry.budget is None else f"{usd_text(entry.budget)} a {entry.budget_period.value}",
        "models": None if entry.models is None else ", ".join(entry.models),
        "upstreams": None if entry.upstreams is None else ", ".join(entry.upstreams),
        "expires": None if entry.expires_at is None else credits.format_time(entry.expires_at),
    }
    return {
        "key": entry.prefix,
        "name": entry.name,
        **{name: text for name, text in limits.items() if text is not None},
    }


def sum_of(document: Document) -> Decimal:
    """What an account has on both balances together, without debts, in USD."""
    return sum((max(from_bson(document.get(balance.field)), ZERO) for balance in Balance), ZERO)


def odd_numbers_of(document: Document) -> list[str]:
    """The numbers of an account that the replaced proxy cannot decode and nobody can store as a double."""
    return [
        name
        for name in credits.NUMBERS
        if document.get(name) is not None and not isinstance(document[name], float) and _is_no_number(document[name])
    ]


def _is_no_number(value: Any) -> bool:
    return number_from_bson(value) is None


def name_of(document: Document) -> str:
    """The account's name as text, whatever it is."""
    username = document.get("_id")
    return username if isinstance(username, str) else text_of_id(username)
