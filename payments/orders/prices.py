"""The rules of money about one payment, each once: its price, rate and currency, and what came of it.

Documents of the replaced system have no rate, and perhaps neither a currency nor what was received and credited. Each
function says what absent means. The expressions below them read the same in the database.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings

from money.amounts import round_usd
from mongo.collections import Document
from payments.currencies import decimals_of
from payments.models import Payment

DEFAULT_CURRENCY = "VND"
"""The only currency of the replaced system: what absent means."""


@dataclass(frozen=True)
class OrderPrice:
    """What one order costs: `amount` units of `currency` for its credits at `rate` units a USD."""

    amount: Decimal
    currency: str
    rate: Decimal


def price_of(*, credits: int, method: Payment.Method) -> OrderPrice:
    """The price of whole USD `credits` now, rounded to what the currency can pay."""
    if method is Payment.Method.STRIPE:
        rate, currency = Decimal(settings.STRIPE_UNITS_PER_USD), settings.STRIPE_CURRENCY.upper()
    else:
        rate, currency = Decimal(settings.ORDER_VND_PER_USD), "VND"
    smallest_unit = Decimal(1).scaleb(-decimals_of(currency))
    amount = (credits * rate).quantize(smallest_unit, rounding=ROUND_HALF_UP)
    return OrderPrice(amount=amount, currency=currency, rate=rate)


def value_of(*, amount: Decimal, currency: str) -> Decimal | None:
    """What money is worth now at the rates of new orders, in USD; None for a currency that nothing is sold in."""
    rates = {
        "USD": Decimal(1),
        settings.STRIPE_CURRENCY.upper(): Decimal(settings.STRIPE_UNITS_PER_USD),
        "VND": Decimal(settings.ORDER_VND_PER_USD),
    }
    rate = rates.get(currency.upper())
    return round_usd(amount / rate) if rate else None


def currency_of(payment: Payment) -> str:
    """The payment's currency, a code in capitals. What is absent, empty or no text is VND."""
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


# --- The same in the database ------------------------------------------------------------------------------------

RECEIVED: Document = {"$ifNull": ["$receivedAmount", "$amount"]}
"""`received_of` as an aggregation expression; as stored, so read it by `money.expressions`."""

_IS_CODE: Document = {"$and": [{"$eq": [{"$type": "$currency"}, "string"]}, {"$ne": ["$currency", ""]}]}
CURRENCY: Document = {"$cond": [_IS_CODE, {"$toUpper": "$currency"}, DEFAULT_CURRENCY]}
"""`currency_of` as an aggregation expression."""
