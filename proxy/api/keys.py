"""`/v1/keys`: how customers list, make, change, replace and delete the keys of their account."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.api_keys import (
    UNCHANGED,
    ApiKey,
    check_may_manage,
    create_key,
    delete_key,
    find_key,
    list_keys,
    rotate_further_key,
    set_key_disabled,
    update_key,
)
from accounts.errors import FirstKeyRequired, FirstKeyStays, InvalidApiKey
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.keys import first_key_hash, hash_key
from accounts.models import Account
from accounts.registration import rotate_key
from money.amounts import usd_text
from mongo.transactions import run_in_transaction
from proxy.billing.price_book import PRICES
from proxy.errors import InvalidRequest
from proxy.formats.json_body import JsonObject

LARGEST_BODY_BYTES = 64 * 1024
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,8})?")


def key_statement(key: ApiKey, *, now: datetime | None = None) -> JsonObject:
    """One key as the API shows it, without its secret. USD as text, 8 places."""
    now, entry = now or timezone.now(), key.entry
    left = entry.left_at(now)
    budget = (
        None
        if entry.budget is None
        else {
            "amount": usd_text(entry.budget),
            "period": entry.budget_period.value,
            "spent": usd_text(entry.spent_at(now)),
            "left": usd_text(max(left or Decimal(0), Decimal(0))),
            "begins_anew_at": _time(entry.budget_period.next_start(now)),
        }
    )
    return {
        "object": "api_key",
        "id": entry.key_id,
        "name": entry.name,
        "prefix": entry.prefix,
        "is_first": key.is_first,
        "disabled": entry.is_disabled,
        "created_at": _time(entry.created_at),
        "last_used_at": _time(entry.last_used_at),
        "expires_at": _time(entry.expires_at),
        "budget": budget,
        "models": None if entry.models is None else list(entry.models),
        "upstreams": None if entry.upstreams is None else list(entry.upstreams),
        **({"unreadable": sorted(entry.problems)} if entry.problems else {}),
    }


def keys_statement(account: Account, api_key: str) -> JsonObject:
    """The keys of an account; for a key that may not manage them, that key alone."""
    keys = list_keys(account)
    try:
        check_may_manage(account, api_key)
    except FirstKeyRequired:
        own = id_of_key(account, api_key)
        keys = [key for key in keys if key.key_id == own]
    return {"object": "list", "data": [key_statement(key) for key in keys]}


def id_of_key(account: Account, api_key: str) -> str:
    """The id of a key of the account. Raises `InvalidApiKey` if it was replaced meanwhile."""
    hashed = hash_key(api_key)
    for key in list_keys(account):
        if key.entry.hash == hashed or (key.is_first and hashed == _first_hash(account)):
            return key.key_id
    raise InvalidApiKey("the key was replaced meanwhile")


def make_key(account: Account, api_key: str, asked: JsonObject) -> JsonObject:
    """`POST /v1/keys`. The answer alone has the secret. Raises `FirstKeyRequired`, `InvalidRequest`, and more."""
    check_may_manage(account, api_key)
    _check_members(asked, "name", *_LIMITS)
    if "name" not in asked:
        raise InvalidRequest("Give the key a name.", param="name")
    limits = Limits(**{name: read(asked[name]) for name, read in _LIMITS.items() if name in asked})
    key, secret = create_key(username=account.pk, name=_text(asked["name"], "name"), limits=limits)
    return key_statement(key) | {"api_key": secret}


def change_key(account: Account, api_key: str, wanted_id: str, asked: JsonObject) -> JsonObject:
    """`PATCH /v1/keys/<id>`: what is named changes, null takes a limit away. All of it or nothing. Safe to repeat."""
    check_may_manage(account, api_key)
    _check_members(asked, "name", "disabled", *_LIMITS)
    if find_key(account, wanted_id).is_first and asked.keys() - {"name"}:
        raise FirstKeyStays(
            "The first key manages the others, so it can neither be limited nor disabled here. Replace it with "
            "POST /v1/keys/rotate, or ask support."
        )
    disabled = asked.get("disabled", UNCHANGED)
    if disabled is not UNCHANGED and not isinstance(disabled, bool):
        raise InvalidRequest("'disabled' must be true or false.", param="disabled")
    wanted: dict[str, Any] = {name: read(asked[name]) for name, read in _LIMITS.items() if name in asked}
    if "name" in asked:
        wanted["name"] = _text(asked["name"], "name")

    def change() -> ApiKey:
        changed = update_key(username=account.pk, wanted_id=wanted_id, **wanted)
        if isinstance(disabled, bool):
            changed = set_key_disabled(username=account.pk, wanted_id=wanted_id, is_disabled=disabled)
        return changed

    return key_statement(run_in_transaction(change))


def remove_key(account: Account, api_key: str, wanted_id: str) -> JsonObject:
    """`DELETE /v1/keys/<id>`. A second call raises `KeyNotFound`."""
    check_may_manage(account, api_key)
    delete_key(username=account.pk, wanted_id=wanted_id)
    return {"object": "api_key", "id": wanted_id, "deleted": True}


def replace_key(account: Account, api_key: str, wanted_id: str | None) -> JsonObject:
    """Another secret for a key, told once; None for the key in use, which any key may replace."""
    own = id_of_key(account, api_key)
    if wanted_id is not None and wanted_id != own:
        check_may_manage(account, api_key)
    is_own = wanted_id is None or wanted_id == own
    if is_own and hash_key(api_key) == _first_hash(account):
        secret = rotate_key(username=account.pk, current_key=api_key)
        account.refresh_from_db()
        key = next(key for key in list_keys(account) if key.is_first)
    else:
        key, secret = rotate_further_key(
            username=account.pk, wanted_id=wanted_id or own, current_key=api_key if is_own else None
        )
    return key_statement(key) | {"api_key": secret}


def _first_hash(account: Account) -> str | None:
    return first_key_hash({"apiKey": account.legacy_api_key, "apiKeyHash": account.api_key_hash})


def _check_members(asked: JsonObject, *known: str) -> None:
    for name in asked:
        if name not in known:
            raise InvalidRequest(f"A key has no {name[:60]!r}. It has {', '.join(known)}.", param=name[:60])


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"'{name}' must be a text.", param=name)
    return value


def _texts(name: str) -> Callable[[object], tuple[str, ...] | None]:
    def read(value: object) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not isinstance(value, list):
            raise InvalidRequest(f"'{name}' must be a list of texts, or null for all.", param=name)
        return tuple(_text(one, name) for one in value)

    return read


def _models(value: object) -> tuple[str, ...] | None:
    """Names of models that are sold here; a name that is misspelt would refuse everything, unseen."""
    names = _texts("models")(value)
    for name in names or ():
        if not PRICES.has_model(name):
            raise InvalidRequest(
                f"The model {name[:100]!r} does not exist here. GET /v1/models lists them.", param="models"
            )
    return names


def _budget(value: object) -> Budget | None:
    if value is None:
        return None
    sentence = 'A budget is null or such as {"amount": "5.00", "period": "day"}: USD, and a day or a month of UTC.'
    if not isinstance(value, dict) or value.keys() != {"amount", "period"}:
        raise InvalidRequest(sentence, param="budget")
    text, period = value["amount"], value["period"]
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = format(Decimal(str(text)), "f")
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text) or period not in list(BudgetPeriod):
        raise InvalidRequest(sentence, param="budget")
    return Budget(Decimal(text), BudgetPeriod(period))


def _expiry(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        expires_at = datetime.fromisoformat(_text(value, "expires_at"))
    except ValueError:
        expires_at = None
    if expires_at is None or expires_at.tzinfo is None:
        raise InvalidRequest(
            "'expires_at' must be null or a time with its zone, such as 2027-01-31T12:00:00Z.", param="expires_at"
        )
    return expires_at


_LIMITS: dict[str, Callable[[object], Any]] = {
    "budget": _budget,
    "models": _models,
    "upstreams": _texts("upstreams"),
    "expires_at": _expiry,
}
"""The members that limit a key, and how each is read."""


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
