"""The rules of money about one payment, each once: its price, rate and currency, and what came of it.

Documents of the replaced system have no rate, and perhaps neither a currency nor what was received and credited. Each
function says what absent means. The expressions below them read the same in the database.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from bson import Decimal128
from django.conf import settings

from money.amounts import round_usd
from money.expressions import exact
from mongo.collections import Document
from payments.currencies import smallest_amount
from payments.errors import InvalidOrder
from payments.models import Payment
from payments.providers import get_seller, selling_providers

DEFAULT_CURRENCY = "VND"
"""The only currency of the replaced system: what absent means."""

CREDITS_CURRENCY = "USD"
"""What credits are counted in, and so is money whose amount nobody knows."""


@dataclass(frozen=True)
class OrderPrice:
    """What one order costs: `amount` units of `currency` for its credits at `rate` units a USD."""

    amount: Decimal
    currency: str
    rate: Decimal


def price_of(*, credits: int, method: str | None = None) -> OrderPrice:
    """The price of whole USD `credits` now, by the provider `method` (None = the first one that sells).

    Rounded half-up to what the currency can pay. Raises `PaymentMethodUnavailable` for what sells nothing, and
    `InvalidOrder` for what would cost nothing.
    """
    rate = get_seller(method).rate()
    amount = (credits * rate.units).quantize(smallest_amount(rate.currency), rounding=ROUND_HALF_UP)
    if amount <= 0:
        raise InvalidOrder(f"{credits} USD of credits cost less than can be paid in {rate.currency}. Order more.")
    return OrderPrice(amount=amount, currency=rate.currency, rate=rate.units)


def value_of(*, amount: Decimal, currency: str) -> Decimal | None:
    """What `amount` units of `currency` are worth in USD, at the rates of new orders; None if nothing is sold in it."""
    rates = {"USD": Decimal(1)}
    for provider in reversed(selling_providers()):  # Where two sell in one currency, the first one's rate counts.
        rate = provider.rate()
        rates[rate.currency] = rate.units
    units = rates.get(currency.upper())
    return round_usd(amount / units) if units else None


def currency_of(payment: Payment) -> str:
    """The payment's currency, a code in capitals. What is absent, empty or not a text is VND."""
    currency = payment.currency
    return currency.upper() if isinstance(currency, str) and currency else DEFAULT_CURRENCY


def rate_of(payment: Payment) -> Decimal:
    """Units of the currency for one USD, as fixed with the order; an old order's follows from its price."""
    if payment.rate:
        return payment.rate
    if payment.credits > 0 and payment.amount > 0:
        return payment.amount / payment.credits
    return Decimal(settings.ORDER_VND_PER_USD)


def received_of(payment: Payment) -> Decimal:
    """What the payer paid, in units of the currency. An old document only has the price; a received 0 is 0."""
    return payment.amount if payment.received_amount is None else payment.received_amount


def credited_of(payment: Payment) -> Decimal:
    """What a paid payment credited, in USD, without bonus. An old document only has what was ordered."""
    return payment.credits if payment.credited is None else payment.credited


def refundable_of(payment: Payment) -> tuple[Decimal, str]:
    """What was paid, as its refunds are counted: an amount, and its currency.

    What staff credited from a body that nobody can read counts as worth its credits, in USD; earlier releases wrote
    that 0 VND was paid.
    """
    is_known = payment.received_amount is not None or payment.amount > 0
    if is_known or not payment.credited:
        return received_of(payment), currency_of(payment)
    return credited_of(payment), CREDITS_CURRENCY


def adopt_refundable(payment: Payment) -> None:
    """Write what `refundable_of` says into a payment whose document says that nothing was paid. Safe to repeat."""
    amount, currency = refundable_of(payment)
    if amount == received_of(payment):
        return
    fields = {"amount": amount, "currency": currency, "rate": Decimal(1), "received_amount": None}
    Payment.objects.filter(pk=payment.pk).update(**fields)
    for name, value in fields.items():
        setattr(payment, name, value)


# --- The same in the database ------------------------------------------------------------------------------------

RECEIVED: Document = {"$ifNull": ["$receivedAmount", "$amount"]}
"""`received_of` as an aggregation expression; as stored, so read it by `money.expressions`."""


def rate_expression() -> Document:
    """`rate_of` as an aggregation expression: a Decimal128 above 0."""
    rate, credits, price = exact("rate"), exact("credits"), exact("amount")
    of_price = {"$and": [{"$gt": [credits, 0]}, {"$gt": [price, 0]}]}
    default = Decimal128(Decimal(settings.ORDER_VND_PER_USD))
    return {"$cond": [{"$gt": [rate, 0]}, rate, {"$cond": [of_price, {"$divide": [price, credits]}, default]}]}


_IS_CODE: Document = {"$and": [{"$eq": [{"$type": "$currency"}, "string"]}, {"$ne": ["$currency", ""]}]}
CURRENCY: Document = {"$cond": [_IS_CODE, {"$toUpper": "$currency"}, DEFAULT_CURRENCY]}
"""`currency_of` as an aggregation expression."""
