"""From an order to instructions for paying it, by method."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from accounts.models import Account
from payments import orders
from payments.errors import PaymentMethodUnavailable
from payments.models import Payment
from payments.providers import get_provider

Instructions = dict[str, Any]
"""What a client shows, in the API's names."""


def start_checkout(
    *,
    account: Account,
    credits: int,
    method: Payment.Method = Payment.Method.SEPAY,
    discord_id: str | None = None,
    now: datetime | None = None,
) -> tuple[Payment, Instructions]:
    """Make an order and say how to pay it. Raises as `orders.create_order`, and `PaymentMethodUnavailable`.

    Every call makes an order.
    """
    explain = _METHODS.get(method)
    if explain is None or not is_available(method):
        raise PaymentMethodUnavailable(method)
    order = orders.create_order(account=account, credits=credits, method=method, discord_id=discord_id, now=now)
    return order, explain(order)


def is_available(method: Payment.Method) -> bool:
    """Whether money paid this way would be noticed: its account and its webhook secret are configured."""
    if method is Payment.Method.SEPAY:
        return bool(settings.SEPAY_ACCOUNT_NUMBER and settings.SEPAY_BANK) and get_provider("sepay").is_enabled()
    return False


def _explain_sepay(order: Payment) -> Instructions:
    query = {
        "acc": settings.SEPAY_ACCOUNT_NUMBER,
        "bank": settings.SEPAY_BANK,
        "amount": int(order.amount),
        "des": order.order_code,
    }
    return {
        "qrCodeUrl": "https://qr.sepay.vn/img?" + urlencode(query),
        "bank": settings.SEPAY_BANK,
        "accountNumber": settings.SEPAY_ACCOUNT_NUMBER,
        "memo": order.order_code,
    }


_METHODS: dict[Payment.Method, Callable[[Payment], Instructions]] = {Payment.Method.SEPAY: _explain_sepay}
