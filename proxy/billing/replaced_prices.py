"""The price files of the replaced proxies, read and written: a JSON object with `models`, or the list itself.

Those proxies charge by these files and by nothing else. Strict, as a slip here is sold: an entry that says of its price
what is not known here, or does not say all of it, is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from accounts.models import Balance
from border import strict_json
from money.amounts import round_usd
from mongo.collections import Document, collection_of
from proxy.billing.price_files import UnreadableFile
from proxy.billing.price_import import add_row
from proxy.billing.price_rows import LARGEST_MULTIPLIER, LARGEST_PRICE, MOST_TOKENS, UnusablePrice, price_of
from proxy.errors import PriceRowChanged
from proxy.models import ModelPrice

MEMBERS = {
    "id": ("id", "modelId", "model_id"),
    "display_name": ("name", "displayName", "display_name"),
    "upstream_model_id": ("upstream_model_id", "upstreamModelId"),
    "upstream": ("billing_upstream", "upstream"),
    "aliases": ("aliases",),
    "max_output_tokens": ("max_output_tokens", "maxOutputTokens"),
    "input_price": ("input_price_per_mtok", "inputPricePerMTok"),
    "output_price": ("output_price_per_mtok", "outputPricePerMTok"),
    "cache_write_price": ("cache_write_price_per_mtok", "cacheWritePricePerMTok"),
    "cache_read_price": (
        "cache_hit_price_per_mtok",
        "cacheHitPricePerMTok",
        "cache_read_price_per_mtok",
        "cacheReadPricePerMTok",
    ),
    "multiplier": ("billing_multiplier", "multiplier", "billingMultiplier"),
}
"""The fields of `ModelPrice`, and the names that the files have for them."""
REQUIRED = ("id", "input_price", "output_price", "multiplier")
PRICES = ("input_price", "output_price", "cache_write_price", "cache_read_price")
ABOUT_MONEY = ("price", "multiplier", "cost", "rate", "discount", "markup", "fee")
"""A member with one of these in its name, and none of the above, is refused; all others say nothing of a price."""
STALE: Document = {"upstream": None, "isActive": {"$ne": False}, "multiplier": {"$in": [None, 1]}}
"""Filter: rows of the replaced system that are sold, on both upstreams, without any multiplier."""


class _Odd(ValueError):
    """An entry that no price can be taken from."""


@dataclass
class ReplacedPrices:
    """The rows of one file, unsaved, and which entries were refused, and why."""

    rows: list[ModelPrice] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def read_replaced_prices(data: bytes, *, upstream: Balance) -> ReplacedPrices:
    """Read the file of the proxy that served `upstream`. Raises `UnreadableFile`."""
    try:
        document = strict_json.parse(data.removeprefix(b"\xef\xbb\xbf"), parse_float=Decimal)
    except strict_json.InvalidJson as error:
        raise UnreadableFile(str(error)) from error
    entries = document.get("models") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise UnreadableFile("It has no list of models.")
    found = ReplacedPrices()
    for number, entry in enumerate(entries, 1):
        name = f"entry {number}"
        try:
            if not isinstance(entry, dict):
                raise _Odd("It is not an object.")
            name = str(_of(entry, "id") or name)[:100]
            if any(row.model_id == name for row in found.rows):
                raise _Odd("The file has it twice.")
            found.rows.append(_read(entry, upstream))
        except (_Odd, UnusablePrice) as error:
            found.refused[name] = str(error)
    return found


def _of(entry: Mapping[str, Any], name: str) -> Any:
    """A member under any of its names. Raises `_Odd` where two of them say different things."""
    values = [entry[member] for member in MEMBERS[name] if entry.get(member) is not None]
    if any(value != values[0] for value in values):
        raise _Odd(f"It says two things of its {name.replace('_', ' ')}.")
    return values[0] if values else None


def _read(entry: Mapping[str, Any], upstream: Balance) -> ModelPrice:
    known = {member for members in MEMBERS.values() for member in members}
    for member in entry.keys() - known:
        if any(word in member.lower() for word in ABOUT_MONEY):
            raise _Odd(f"{member} is not known here, and may say something of its price.")
    values = {name: _of(entry, name) for name in MEMBERS}
    if missing := [name for name in REQUIRED if values[name] is None]:
        raise _Odd(f"It has no {', no '.join(missing).replace('_', ' ')}.")
    if values["upstream"] not in (None, upstream.value):
        raise _Odd(f"It is sold on {values['upstream']}, not on {upstream.value}.")
    texts = {name: _text(name, values[name]) for name in ("id", "display_name", "upstream_model_id")}
    row = ModelPrice(
        id=f"{upstream.value}/{texts['id']}",
        model_id=texts["id"] or "",
        upstream=upstream.value,
        aliases=values["aliases"] if isinstance(values["aliases"], list) else [],
        display_name=texts["display_name"],
        upstream_model_id=texts["upstream_model_id"],
        max_output_tokens=_count(values["max_output_tokens"]),
        multiplier=_amount("multiplier", values["multiplier"], LARGEST_MULTIPLIER),
        **{name: _amount(name, values[name], LARGEST_PRICE) for name in PRICES if values[name] is not None},
    )
    price_of(row)
    return row


def _text(name: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise _Odd(f"Its {name.replace('_', ' ')} is no text.")
    return value


def _amount(name: str, value: object, most: Decimal) -> Decimal:
    label = name.replace("_", " ")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Odd(f"Its {label} is not a number.")
    if not 0 < value <= most or round_usd(Decimal(value)) != value:
        raise _Odd(f"Its {label} must be above 0, at most {most}, with at most 8 decimal places.")
    return round_usd(Decimal(value))


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_TOKENS:
        raise _Odd("Its max output tokens are no count.")
    return value


STATED = (*PRICES, "multiplier", "display_name", "upstream_model_id", "max_output_tokens")


def changes_of(row: ModelPrice) -> dict[str, Any] | None:
    """What the stored row of the same model and upstream would get; None if there is none, so that `row` is new."""
    there = ModelPrice.objects.filter(upstream=row.upstream, model_id=row.model_id).first()
    if there is None:
        return None
    stated = {name: getattr(row, name) for name in STATED if getattr(row, name) not in (None, "")}
    changes = {name: value for name, value in stated.items() if getattr(there, name) != value}
    return changes if there.is_active else changes | {"is_active": True}


def write_row(row: ModelPrice) -> None:
    """Store what the file says of one model, inside a transaction; a row keeps what the file says nothing of.

    Raises `PriceRowChanged` where somebody else was first. Safe to repeat.
    """
    changes = changes_of(row)
    if changes is None:
        add_row(row)
    elif changes:
        there = ModelPrice.objects.filter(upstream=row.upstream, model_id=row.model_id).first()
        if there is None:
            raise PriceRowChanged(row.model_id)
        for name, value in changes.items():
            setattr(there, name, value)
        there.save(update_fields=[*changes, "updated_at"])


def find_stale() -> list[Document]:
    """The stored rows that `STALE` selects: their keys and models. Raises `PyMongoError`."""
    return list(collection_of(ModelPrice).find(STALE, {"modelId": 1}).sort("_id"))
