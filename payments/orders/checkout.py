"""From an order to instructions for paying it: what can be bought now, and the start of a purchase."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings

from accounts.models import Account
from payments import orders
from payments.errors import PaymentMethodUnavailable, ProviderUnavailable
from payments.models import Payment, Promotion
from payments.orders.prices import DEFAULT_CURRENCY
from payments.orders.promotions import find_promotion
from payments.orders.purchasing import Purchasing, read_purchasing
from payments.providers import get_seller, selling_providers
from payments.providers.base import Instructions


@dataclass(frozen=True)
class Checkout:
    """A new order, and how to pay it."""

    order: Payment
    instructions: Instructions


def start_checkout(
    *,
    account: Account,
    credits: int,
    method: str | None = None,
    discord_id: str | None = None,
    now: datetime | None = None,
) -> Checkout:
    """Make an order of whole USD `credits` and say how to pay it, through the provider `method` (None = the first).

    Raises as `orders.create_order`, `PaymentMethodUnavailable` when money paid so would not be noticed, and
    `ProviderUnavailable`, after which the order has failed. Not safe to repeat: every call makes an order.
    """
    provider = get_seller(method)
    if not provider.can_sell():
        raise PaymentMethodUnavailable(provider.name)
    order = orders.create_order(account=account, credits=credits, method=provider.name, discord_id=discord_id, now=now)
    try:
        instructions = provider.instructions(order)
    except ProviderUnavailable:
        orders.fail_order(order)
        raise
    if instructions.session_id:
        orders.record_session(order, instructions.session_id)
    return Checkout(order, instructions)


@dataclass(frozen=True)
class Offer:
    """What can be bought now, and how. Credits in whole USD."""

    min_credits: int
    max_credits: int
    vnd_per_usd: Decimal
    currency: str
    validity_days: int
    purchasing: Purchasing
    methods: list[str]
    """The names of the providers that a customer can pay through now."""
    promotion: Promotion | None

    @property
    def features(self) -> list[str]:
        """What a purchase brings, in sentences for customers."""
        lines = [
            f"${self.min_credits} to ${self.max_credits} of credits for OpenHands",
            f"All credits last {self.validity_days} days from the latest purchase",
        ]
        if self.promotion is not None and self.promotion.percent:
            lines.append(f"{self.promotion.percent.normalize():f} % more credits: {self.promotion.name}")
        return lines


def read_offer(*, at: datetime) -> Offer:
    """What a client needs to know before a purchase at `at`. Reads only."""
    return Offer(
        min_credits=settings.ORDER_MIN_CREDITS,
        max_credits=settings.ORDER_MAX_CREDITS,
        vnd_per_usd=Decimal(settings.ORDER_VND_PER_USD),
        currency=DEFAULT_CURRENCY,
        validity_days=settings.CREDIT_VALIDITY_DAYS,
        purchasing=read_purchasing(),
        methods=[provider.name for provider in selling_providers() if provider.can_sell()],
        promotion=find_promotion(at=at),
    )
