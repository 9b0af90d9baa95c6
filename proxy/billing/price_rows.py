"""From a price row as it is stored to the `Price` that requests are billed by: the one place that reads rows.

Strict: a field that holds anything but what it may hold makes the whole row unusable, so that no request is free or
cheaper by a slip. Only three fields of older rows are read as they always were: a cache price or a multiplier that is
no number is not there. What a row may say stands in docs/proxy.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from bson import Decimal128
from django.conf import settings

from accounts.models import Balance
from money.amounts import number_from_bson
from proxy.billing.pricing import Price, PriceList, Rates, Tier, ToolFee
from proxy.models import ModelPrice, OutputMember

LARGEST_PRICE = Decimal(1_000_000)
"""USD per million tokens, or per use of a tool. What is above is a slip, and would not fit into a hold."""
LARGEST_MULTIPLIER = Decimal(1000)
MOST_TOKENS = 1_000_000_000
MOST_USES = 1000
MOST_ENTRIES = 100
"""Of a list or an object in one field."""
LONGEST_NAME = 200

Value = TypeVar("Value")


class UnusablePrice(ValueError):
    """A price row that cannot be billed by: the stored field that is wrong, and a sentence that says why."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"{column}: {problem}")
        self.column, self.problem = column, problem


@dataclass(frozen=True)
class PriceRow:
    """A price row as it is read: whom it is for, and how it is billed. `upstream` None stands for both."""

    model_id: str
    aliases: tuple[str, ...]
    upstream: Balance | None
    created_at: datetime | None
    price: Price
    display_name: str | None = None


@dataclass(frozen=True)
class TokenKind:
    """A kind of tokens: its rate, what a tier calls it, its columns, and the rate that it has where none is stated."""

    rate: str
    member: str
    column: str
    own_column: str
    default: str = ""
    times: int = 1


KINDS = (
    TokenKind("input", "input", "inputPricePerMTok", "ownInputPricePerMTok"),
    TokenKind("output", "output", "outputPricePerMTok", "ownOutputPricePerMTok"),
    TokenKind("cache_write", "cacheWrite", "cacheWritePricePerMTok", "ownCacheWritePricePerMTok", "input"),
    TokenKind("cache_write_1h", "cacheWrite1h", "cacheWrite1hPricePerMTok", "ownCacheWrite1hPricePerMTok", "input", 2),
    TokenKind("cache_read", "cacheRead", "cacheHitPricePerMTok", "ownCacheReadPricePerMTok", "input"),
    TokenKind("input_audio", "inputAudio", "inputAudioPricePerMTok", "ownInputAudioPricePerMTok", "input"),
    TokenKind("input_image", "inputImage", "inputImagePricePerMTok", "ownInputImagePricePerMTok", "input"),
    TokenKind("output_audio", "outputAudio", "outputAudioPricePerMTok", "ownOutputAudioPricePerMTok", "output"),
    TokenKind("output_image", "outputImage", "outputImagePricePerMTok", "ownOutputImagePricePerMTok", "output"),
)
_READ_AS_EVER = frozenset(("cacheWritePricePerMTok", "cacheHitPricePerMTok", "multiplier"))
_KIND_OF_MEMBER = {kind.member: kind.rate for kind in KINDS}
_TIER_MEMBERS = {"above", "own", *_KIND_OF_MEMBER}
_FEE_MEMBERS = {"usd", "ownUsd", "maxUses", "inputTokens"}
Stated = dict[str, Decimal]
"""The rates that a row or a tier states, by the names of `Rates`."""


def read_price_row(row: Mapping[str, Any]) -> PriceRow:
    """A stored document of `model_pricing`, read. Pure but for `DEFAULT_MAX_OUTPUT_TOKENS`.

    Raises `UnusablePrice`, never anything else, whatever the document holds.
    """
    model_id = _name(row, "modelId")
    is_active = row.get("isActive")
    if is_active is not None and not isinstance(is_active, bool):
        raise UnusablePrice("isActive", "It must be true or false.")
    stated = _stated_rates(row, {kind.rate: kind.column for kind in KINDS})
    for kind in KINDS[:2]:
        if kind.rate not in stated:
            raise UnusablePrice(kind.column, "The price is missing.")
    own_stated = _stated_own_rates(row)
    tiers, own_tiers = _tiers(row.get("tiers"), stated, own_stated)
    multipliers = _multipliers(row, "optionMultipliers")
    fees, own_fees = _fees(row.get("toolFees"))
    own_multipliers = multipliers | _multipliers(row, "ownOptionMultipliers")
    created_at, shown = row.get("createdAt"), row.get("displayName")
    price = Price(
        price_id=str(row.get("_id")),
        model_id=model_id,
        upstream_model_id=_optional_name(row, "upstreamModelId") or model_id,
        charged=PriceList(_rates(stated), tiers, multipliers, fees),
        multiplier=_optional_amount(row, "multiplier", most=LARGEST_MULTIPLIER, default=Decimal(1)),
        max_output_tokens=_max_output_tokens(row.get("maxOutputTokens")),
        own=PriceList(_rates(own_stated), own_tiers, own_multipliers, own_fees) if own_stated else None,
        attachment_tokens=_attachment_tokens(row.get("attachmentTokens")),
        output_member=_output_member(row.get("outputMember")),
        passed_members=frozenset(_names(row, "passedMembers")),
        has_audio_input="input_audio" in stated,
        has_audio_output="output_audio" in stated,
        has_image_output="output_image" in stated,
    )
    return PriceRow(
        model_id=model_id,
        aliases=_names(row, "aliases"),
        upstream=_upstream(row.get("upstream")),
        created_at=_utc(created_at) if isinstance(created_at, datetime) else None,
        price=price,
        display_name=shown[:LONGEST_NAME] if type(shown) is str and shown else None,  # It is only shown.
    )


@dataclass(frozen=True)
class RowNames:
    """What of a row that cannot be billed by can be read: its models' names, and for which upstreams it may be."""

    model_id: str
    names: frozenset[str]
    upstreams: frozenset[str]
    """Empty for both, and where nobody can say."""
    is_for_both: bool


def names_of(row: Mapping[str, Any]) -> RowNames:
    """The names that an unusable row is for, as far as they can be read. Raises nothing, whatever the row holds."""
    model_id, aliases, upstream = row.get("modelId"), row.get("aliases"), row.get("upstream")
    names = {name for name in (model_id, *(aliases if isinstance(aliases, list) else ())) if type(name) is str}
    is_known = type(upstream) is str and upstream in Balance.values
    return RowNames(
        model_id=model_id if type(model_id) is str else "",
        names=frozenset(names),
        upstreams=frozenset([upstream]) if is_known else frozenset(),  # type: ignore[list-item]
        is_for_both=not _is_there(upstream),
    )


def price_of(row: ModelPrice) -> Price:
    """The price of a row in memory, saved or not. Raises `UnusablePrice`."""
    return read_price_row(document_of(row)).price


def document_of(row: ModelPrice) -> dict[str, Any]:
    """A row in memory by the names of its stored fields."""
    return {field.column: getattr(row, field.attname) for field in row._meta.concrete_fields if field.column}


# --- Rates and tiers ------------------------------------------------------------------------------------------------


def _stated_rates(row: Mapping[str, Any], columns: Mapping[str, str]) -> Stated:
    found = {rate: _optional_amount(row, column, most=LARGEST_PRICE) for rate, column in columns.items()}
    return {rate: amount for rate, amount in found.items() if amount is not None}


def _stated_own_rates(row: Mapping[str, Any]) -> Stated:
    """What the operator pays, empty if the row does not say. A row that says a part of it must say the least."""
    stated = _stated_rates(row, {kind.rate: kind.own_column for kind in KINDS})
    for kind in KINDS[:2]:
        if kind.rate not in stated and (stated or _is_there(row.get("ownOptionMultipliers"))):
            raise UnusablePrice(kind.own_column, "The operator's cost needs at least its input and its output price.")
    return stated


def _rates(stated: Stated) -> Rates:
    """All rates: those that are not stated are the input or the output rate, an hour in the cache twice the input."""
    return Rates(**{kind.rate: stated.get(kind.rate, stated[kind.default or kind.rate] * kind.times) for kind in KINDS})


def _tiers(value: object, stated: Stated, own_stated: Stated) -> tuple[tuple[Tier, ...], tuple[Tier, ...]]:
    """The tiers of what is charged and of what the operator pays, by their borders.

    A tier states what is different in it: the rest are the rates that the row states, or follow from the tier's own.
    """
    if not _is_there(value):
        return (), ()
    if not isinstance(value, list) or len(value) > MOST_ENTRIES:
        raise UnusablePrice("tiers", "The tiers must be a list.")
    charged, own = {}, {}
    for number, tier in enumerate(value, start=1):
        where = f"Tier {number}"
        members = _members("tiers", where, tier, _TIER_MEMBERS)
        above = _count("tiers", f"{where}: 'above'", members.get("above"))
        if above in charged:
            raise UnusablePrice("tiers", f"{where}: there is another tier above {above} tokens.")
        charged[above] = Tier(above, _rates(stated | _tier_rates(where, members)))
        own_members = members.get("own")
        if _is_there(own_members) and not own_stated:
            raise UnusablePrice("tiers", f"{where}: 'own' needs the operator's own prices in the row.")
        if own_stated:
            own_rates = _tier_rates(where, _members("tiers", f"{where}: 'own'", own_members or {}, _KIND_OF_MEMBER))
            own[above] = Tier(above, _rates(own_stated | own_rates))
    return tuple(charged[above] for above in sorted(charged)), tuple(own[above] for above in sorted(own))


def _tier_rates(where: str, members: Mapping[str, Any]) -> Stated:
    return {
        rate: _amount("tiers", f"{where}: {member!r}", members[member], most=LARGEST_PRICE)
        for member, rate in _KIND_OF_MEMBER.items()
        if _is_there(members.get(member))
    }


# --- Options, tools, attachments, members ---------------------------------------------------------------------------


def _multipliers(row: Mapping[str, Any], column: str) -> dict[str, Decimal]:
    return _object(row.get(column), column, _multiplier)


def _multiplier(column: str, name: str, value: object) -> Decimal:
    multiplier = _amount(column, f"The multiplier of {name!r}", value, most=LARGEST_MULTIPLIER)
    if not multiplier:
        raise UnusablePrice(column, f"The multiplier of {name!r} is 0: the option would make requests free.")
    return multiplier


def _fees(value: object) -> tuple[dict[str, ToolFee], dict[str, ToolFee]]:
    """What a use of each server tool costs customers, and the operator: the same where the row says nothing else."""
    pairs = _object(value, "toolFees", _fee)
    return {name: fee for name, (fee, _) in pairs.items()}, {name: own for name, (_, own) in pairs.items()}


def _fee(column: str, name: str, value: object) -> tuple[ToolFee, ToolFee]:
    where = f"The fee of {name!r}"
    members = _members(column, where, value, _FEE_MEMBERS)
    usd = _amount(column, f"{where}: 'usd'", members.get("usd"), most=LARGEST_PRICE)
    own = members.get("ownUsd")
    own_usd = _amount(column, f"{where}: 'ownUsd'", own, most=LARGEST_PRICE) if _is_there(own) else usd
    uses = _count(column, f"{where}: 'maxUses'", members.get("maxUses"), most=MOST_USES)
    tokens = _count(column, f"{where}: 'inputTokens'", members.get("inputTokens"), least=0)
    return ToolFee(usd, uses, tokens), ToolFee(own_usd, uses, tokens)


def _attachment_tokens(value: object) -> dict[str, int]:
    return _object(
        value, "attachmentTokens", lambda column, name, tokens: _count(column, f"The bound of {name!r}", tokens)
    )


def _output_member(value: object) -> str | None:
    if not _is_there(value):
        return None
    if value not in OutputMember.values:
        raise UnusablePrice("outputMember", f"The member must be one of {', '.join(OutputMember.values)}.")
    return str(value)


def _max_output_tokens(value: object) -> int:
    if value is None or number_from_bson(value) == 0:
        return int(settings.DEFAULT_MAX_OUTPUT_TOKENS)
    return _count("maxOutputTokens", "The most output tokens", value)


def _upstream(value: object) -> Balance | None:
    if not _is_there(value):
        return None
    if not isinstance(value, str) or value not in Balance.values:
        raise UnusablePrice("upstream", f"The upstream must be one of {', '.join(Balance.values)}, or empty for both.")
    return Balance(value)


# --- Single values --------------------------------------------------------------------------------------------------


def _is_there(value: object) -> bool:
    return value is not None and value != ""


def _optional_amount(row: Mapping[str, Any], column: str, *, most: Decimal, default: Decimal | None = None) -> Any:
    value = row.get(column)
    if value is None or (column in _READ_AS_EVER and number_from_bson(value) is None):
        return default
    if isinstance(value, str):
        raise UnusablePrice(column, "The price is text, not a number.")
    return _amount(column, "The price" if most == LARGEST_PRICE else "The multiplier", value, most=most)


_DECIMAL = re.compile(r"[0-9]{1,10}(\.[0-9]{1,8})?", re.ASCII)


def _amount(column: str, what: str, value: object, *, most: Decimal) -> Decimal:
    """An amount of at most 8 places: a number of any type, or a decimal as text."""
    if isinstance(value, str):
        number = Decimal(value) if _DECIMAL.fullmatch(value) else None
    else:
        number = number_from_bson(value)
    if number is None:
        raise UnusablePrice(column, f'{what} must be a number such as "0.01", with at most 8 places.')
    if number < 0:
        raise UnusablePrice(column, f"{what} is negative.")
    if number > most:
        raise UnusablePrice(column, f"{what} is more than {most:,f}.")
    if not number and not _is_zero(value):
        raise UnusablePrice(column, f"{what} is less than 8 places can hold.")
    return abs(number)  # A double may be -0.


def _is_zero(value: object) -> bool:
    return (value.to_decimal() if isinstance(value, Decimal128) else Decimal(str(value))).is_zero()


def _count(column: str, what: str, value: object, *, least: int = 1, most: int = MOST_TOKENS) -> int:
    """A whole number of any number type."""
    number = None if isinstance(value, str) else number_from_bson(value)
    if number is None or number != number.to_integral_value() or not least <= number <= most:
        raise UnusablePrice(column, f"{what} must be a whole number from {least} to {most:,}.")
    return int(number)


def _object(value: object, column: str, read: Callable[[str, str, object], Value]) -> dict[str, Value]:
    """An object of names, each value of which is read by a function of the column, the name and the value."""
    if not _is_there(value):
        return {}
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise UnusablePrice(column, 'It must be an object such as {"name": …}.')
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise UnusablePrice(column, "A name in it is empty or too long.")
    return {name: read(column, name, inner) for name, inner in value.items()}


def _members(column: str, where: str, value: object, known: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnusablePrice(column, f"{where} must be an object.")
    for name in value:
        if name not in known:
            names = ", ".join(sorted(known))
            raise UnusablePrice(column, f"{where} has an unknown member {name!r:.60}; known are {names}.")
    return value


def _name(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if type(value) is not str or not value:  # Code is a text to Python.
        raise UnusablePrice(column, "The name must be text.")
    return value


def _optional_name(row: Mapping[str, Any], column: str) -> str | None:
    return _name(row, column) if _is_there(row.get(column)) else None


def _names(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    value = row.get(column)
    if not _is_there(value):
        return ()
    if not isinstance(value, list) or not all(type(name) is str and name for name in value):
        raise UnusablePrice(column, 'It must be a list of names such as ["name"].')
    return tuple(value)


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
