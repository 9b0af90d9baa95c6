"""What a published price list would change in the price rows of one upstream: pure, but for writing a change that was
looked at.

Charged and own prices become the list prices; a row keeps its multiplier, its names, and whatever the file says nothing
of. No row is deleted or switched off because a file does not have its model any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from accounts.models import Balance
from proxy.billing.price_files import SEARCH_INPUT_TOKENS, SEARCH_USES, WEB_SEARCH, ListedPrice, PriceFile
from proxy.billing.price_rows import KINDS, TokenKind, UnusablePrice, price_of
from proxy.billing.pricing import Price, PriceList, Rates, Usage
from proxy.errors import PriceRowChanged
from proxy.models import ModelPrice

LARGEST_FACTOR = Decimal(3)
"""A price that would change by more than this, up or down, is more likely a mistake of the file."""
LONGEST_NAME = 150
_FIELD_OF_COLUMN = {field.column: field.name for field in ModelPrice._meta.concrete_fields}
_UNSTATED = "–"


@dataclass(frozen=True)
class ValueChange:
    """One value that changes, in words; `factor` is how many times it becomes, None where it was not there."""

    what: str
    old: str
    new: str
    factor: Decimal | None = None

    @property
    def is_too_large(self) -> bool:
        return self.factor is not None and not 1 / LARGEST_FACTOR <= self.factor <= LARGEST_FACTOR


@dataclass(frozen=True)
class RowChange:
    """What changes in one row: the new values of its fields, those before, and the same in words."""

    row: ModelPrice
    values: dict[str, Any]
    changes: tuple[ValueChange, ...]

    @property
    def before(self) -> dict[str, Any]:
        return {name: getattr(self.row, name) for name in self.values}


@dataclass
class ImportPlan:
    """What an import would do. `refused` are models and why; `gone` are rows whose model the file does not have."""

    new: list[ModelPrice] = field(default_factory=list)
    changed: list[RowChange] = field(default_factory=list)
    gone: list[ModelPrice] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    not_chat: int = 0


def plan_import(
    file: PriceFile,
    rows: Sequence[ModelPrice],
    *,
    upstream: Balance,
    markup: Decimal,
    only: str = "*",
    is_forced: bool = False,
) -> ImportPlan:
    """What `file` would change in `rows`, all of which are rows of `upstream`.

    `markup` is the multiplier of new rows. `only` is a pattern of model names, as of files in a shell. Changes by more
    than × 3 are refused unless `is_forced`; a price that is 0, or no price, always is.
    """
    plan = ImportPlan(not_chat=sum(fnmatchcase(name, only) for name in file.not_chat))
    for row in rows:
        if fnmatchcase(row.model_id, only):
            _plan_row(plan, file, row, is_forced=is_forced)
    taken = {name for row in rows for name in _names(row)}
    for name in sorted(name for name in file.listed if name not in taken and fnmatchcase(name, only)):
        _plan_new(plan, file.listed[name], upstream=upstream, markup=markup)
    for name in sorted(name for name in file.refused if name not in taken and fnmatchcase(name, only)):
        plan.refused[name] = file.refused[name]
    return plan


def _names(row: ModelPrice) -> list[str]:
    """The names that a file may have a row's model by, the upstream's own name first: it is what is paid for."""
    aliases = row.aliases if isinstance(row.aliases, list) else []
    return [name for name in (row.upstream_model_id, row.model_id, *aliases) if name and isinstance(name, str)]


def _plan_row(plan: ImportPlan, file: PriceFile, row: ModelPrice, *, is_forced: bool) -> None:
    names = _names(row)
    listed = next((file.listed[name] for name in names if name in file.listed), None)
    if listed is None:
        odd = next((file.refused[name] for name in names if name in file.refused), None)
        if odd is not None:
            plan.refused[row.model_id] = odd
        elif any(name in file.not_chat for name in names):
            plan.refused[row.model_id] = "The file says that this is no model that chats."
        else:
            plan.gone.append(row)
        return
    if row.unreadable:
        problems = "; ".join(f"{name}: {problem}" for name, problem in sorted(row.unreadable.items()))
        plan.refused[row.model_id] = f"The row cannot be used. {problems}"
        return
    try:
        change = _compare(row, price_of(row), listed)
        price_of(_with(row, change.values))
    except UnusablePrice as error:
        plan.refused[row.model_id] = f"The row cannot be used. {error}"
        return
    too_large = [f"{value.what} {value.old} → {value.new}" for value in change.changes if value.is_too_large]
    if too_large and not is_forced:
        plan.refused[row.model_id] = f"More than × {LARGEST_FACTOR} is taken only with --force: {'; '.join(too_large)}."
    elif change.changes:
        plan.changed.append(change)
    else:
        plan.unchanged += 1


def _plan_new(plan: ImportPlan, listed: ListedPrice, *, upstream: Balance, markup: Decimal) -> None:
    empty = ModelPrice(
        id=f"{upstream.value}:{listed.name}",
        model_id=listed.name,
        upstream=upstream.value,
        aliases=[],
        display_name=listed.display_name,
        multiplier=markup,
        max_output_tokens=listed.max_output_tokens,
        output_member=listed.output_member,
    )
    columns = ((_charged(kind), kind.rate) for kind in KINDS), ((_own(kind), kind.rate) for kind in KINDS)
    values = {name: listed.rates[rate] for pairs in columns for name, rate in pairs if rate in listed.rates}
    others = _tier_values(listed) | _option_values(None, listed) | _fee_values(None, listed)
    row = _with(empty, values | others)
    try:
        price_of(row)
    except UnusablePrice as error:
        plan.refused[listed.name] = str(error)
    else:
        if len(listed.name) > LONGEST_NAME:
            plan.refused[listed.name] = "Its name is too long."
        else:
            plan.new.append(row)


def _with(row: ModelPrice, values: dict[str, Any]) -> ModelPrice:
    fields = {field.attname: getattr(row, field.attname) for field in ModelPrice._meta.concrete_fields}
    return ModelPrice(**(fields | values))


# --- What is different ------------------------------------------------------------------------------------------------


def _charged(kind: TokenKind) -> str:
    return _FIELD_OF_COLUMN[kind.column]


def _own(kind: TokenKind) -> str:
    return _FIELD_OF_COLUMN[kind.own_column]


def _compare(row: ModelPrice, price: Price, listed: ListedPrice) -> RowChange:
    values: dict[str, Any] = {}
    changes: list[ValueChange] = []
    for name_of, prices, prefix in ((_charged, price.charged, ""), (_own, price.own, "own ")):
        for kind in KINDS:
            name, amount = name_of(kind), listed.rates.get(kind.rate)
            if amount is None or getattr(row, name) == amount:
                continue
            values[name] = amount
            is_stated = getattr(row, name) is not None
            old = getattr(prices.rates, kind.rate) if prices else None
            changes.append(
                ValueChange(
                    f"{prefix}{kind.rate.replace('_', ' ')}",
                    amount_text(old) if is_stated else f"{_UNSTATED} ({amount_text(old)})" if old else _UNSTATED,
                    amount_text(amount),
                    amount / old if old else None,
                )
            )
    parts = (
        (_tier_values(listed), _tier_changes),
        (_option_values(price, listed), _option_changes),
        (_fee_values(price, listed), _fee_changes),
    )
    after = price_of(_with(row, values | {name: value for part, _ in parts for name, value in part.items()}))
    for part, changes_of in parts:
        if part and (found := list(changes_of(price, after))):
            values |= part
            changes += found
    return RowChange(row, values, tuple(changes))


def _tier_values(listed: ListedPrice) -> dict[str, Any]:
    """The tiers of a file as a row has them; nothing if the file has none."""
    if not listed.tiers:
        return {}
    members = {kind.rate: kind.member for kind in KINDS}
    tiers = []
    for above, rates in sorted(listed.tiers.items()):
        texts = {members[rate]: amount_text(amount) for rate, amount in rates.items()}
        tiers.append({"above": above, **texts, "own": texts})
    return {"tiers": tiers}


def _tier_changes(old: Price, new: Price) -> Iterable[ValueChange]:
    for prefix, before, after in (("", old.charged, new.charged), ("own ", old.own, new.own)):
        if after is None or (before is not None and before.tiers == after.tiers):
            continue
        for tier in after.tiers:
            rates = _rates_above(before, tier.above)
            for kind in KINDS:
                was, amount = getattr(rates, kind.rate) if rates else None, getattr(tier.rates, kind.rate)
                if was != amount:
                    what = f"{prefix}{kind.rate.replace('_', ' ')} above {tier.above} tokens"
                    factor = amount / was if was else None
                    yield ValueChange(what, amount_text(was), amount_text(amount), factor)
        for tier in before.tiers if before else ():
            if all(tier.above != other.above for other in after.tiers):
                yield ValueChange(f"{prefix}tier above {tier.above} tokens", "there", _UNSTATED)


def _rates_above(prices: PriceList | None, above: int) -> Rates | None:
    if prices is None:
        return None
    tier = prices.tier_of(Usage(input_tokens=above + 1))
    return tier.rates if tier else prices.rates


def _option_values(price: Price | None, listed: ListedPrice) -> dict[str, Any]:
    if not listed.multipliers:
        return {}
    known = price.charged.multipliers if price else {}
    return {"option_multipliers": _texts(known) | _texts(listed.multipliers)}


def _option_changes(old: Price, new: Price) -> Iterable[ValueChange]:
    for name, multiplier in new.charged.multipliers.items():
        was = old.charged.multipliers.get(name)
        if was != multiplier:
            factor = multiplier / was if was else None
            yield ValueChange(
                name, f"× {amount_text(was)}" if was else _UNSTATED, f"× {amount_text(multiplier)}", factor
            )


def _fee_values(price: Price | None, listed: ListedPrice) -> dict[str, Any]:
    """The fee of a search, beside what the row says of other tools; the bounds of a tool that the row has stay."""
    if listed.search_usd is None:
        return {}
    known = price.charged.fees if price else {}
    own = price.own.fees if price and price.own else {}
    fees = {}
    for name, fee in known.items():
        fees[name] = {"usd": amount_text(fee.usd), "maxUses": fee.most_uses, "inputTokens": fee.input_tokens}
        if name in own and own[name].usd != fee.usd:
            fees[name]["ownUsd"] = amount_text(own[name].usd)
    bounds = {"maxUses": SEARCH_USES, "inputTokens": SEARCH_INPUT_TOKENS}
    if WEB_SEARCH in known:
        bounds = {"maxUses": known[WEB_SEARCH].most_uses, "inputTokens": known[WEB_SEARCH].input_tokens}
    return {"tool_fees": fees | {WEB_SEARCH: {"usd": amount_text(listed.search_usd), **bounds}}}


def _fee_changes(old: Price, new: Price) -> Iterable[ValueChange]:
    for prefix, before, after in (("", old.charged, new.charged), ("own ", old.own, new.own)):
        fee = after.fees.get(WEB_SEARCH) if after else None
        was = before.fees.get(WEB_SEARCH) if before else None
        if fee and (was is None or was.usd != fee.usd):
            old_text, factor = (
                amount_text(was.usd) if was else _UNSTATED,
                fee.usd / was.usd if was and was.usd else None,
            )
            yield ValueChange(f"{prefix}{WEB_SEARCH} per use", old_text, amount_text(fee.usd), factor)


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: amount_text(amount) for name, amount in amounts.items()}


def amount_text(amount: Decimal | None) -> str:
    """An amount without needless zeros, `3.75`; a dash for none."""
    return _UNSTATED if amount is None else f"{amount.normalize():f}"


# --- Writing ----------------------------------------------------------------------------------------------------------


def apply_change(change: RowChange) -> None:
    """Write what was planned for one row, inside a transaction.

    Raises `PriceRowChanged` if the row is not as it was then, as it is on a second call.
    """
    row = ModelPrice.objects.filter(pk=change.row.pk).first()
    if row is None or {name: getattr(row, name) for name in change.values} != change.before:
        raise PriceRowChanged(change.row.model_id)
    for name, value in change.values.items():
        setattr(row, name, value)
    row.save(update_fields=[*change.values, "updated_at"])


def add_row(row: ModelPrice) -> None:
    """Insert a planned row. Raises `PriceRowChanged` if there is one for its model and upstream by now."""
    if ModelPrice.objects.filter(upstream=row.upstream, model_id=row.model_id).exists():
        raise PriceRowChanged(row.model_id)
    row.save(force_insert=True)


def stated_fields(row: ModelPrice) -> list[str]:
    """The names of the fields that a planned row fills."""
    fields = (field.name for field in ModelPrice._meta.concrete_fields)
    return [name for name in fields if getattr(row, name) not in (None, "", [])]


def stated_prices(row: ModelPrice) -> dict[str, str]:
    """The charged prices that a row states, in words."""
    found = ((kind.rate.replace("_", " "), getattr(row, _charged(kind))) for kind in KINDS)
    return {name: amount_text(amount) for name, amount in found if amount is not None}
