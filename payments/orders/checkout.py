"""From an order to instructions for paying it, by method."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from accounts.models import Account
from payments import orders
from payments.errors import PaymentMethodUnavailable, ProviderUnavailable
from payments.models import Payment
from payments.providers import get_provider, stripe_api, vietqr

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
    """Make an order and say how to pay it. Raises as `orders.create_order`, `PaymentMethodUnavailable`, and
    `ProviderUnavailable`, after which the order has failed. Every call makes an order.
    """
    explain = _METHODS.get(method)
    if explain is None or not is_available(method):
        raise PaymentMethodUnavailable(method)
    order = orders.create_order(account=account, credits=credits, method=method, discord_id=discord_id, now=now)
    try:
        return order, explain(order)
    except ProviderUnavailable:
        orders.fail_order(order)
        raise


def is_available(method: Payment.Method) -> bool:
    """Whether money paid this way would be noticed: its account and its webhook secret are configured."""
    if method is Payment.Method.SEPAY:
        return bool(settings.SEPAY_ACCOUNT_NUMBER and settings.SEPAY_BANK) and get_provider("sepay").is_enabled()
    if method is Payment.Method.STRIPE:
        return bool(settings.STRIPE_SECRET_KEY and settings.CHECKOUT_RETURN_URL) and get_provider("stripe").is_enabled()
    return False


def available_methods() -> list[str]:
    """The ways to pay that a customer can choose now."""
    return [method.value for method in _METHODS if is_available(method)]


def _explain_sepay(order: Payment) -> Instructions:
    """What to transfer, where, with which memo: as text, as a code made here, and as SePay's image of the code."""
    code, account, bank, amount = (
        str(order.order_code),
        settings.SEPAY_ACCOUNT_NUMBER,
        settings.SEPAY_BANK,
        order.amount,
    )
    query = {"acc": account, "bank": bank, "amount": int(amount), "des": code}
    instructions: Instructions = {
        "qrCodeUrl": "https://qr.sepay.vn/img?" + urlencode(query),
        "bank": bank,
        "accountNumber": account,
        "accountName": settings.SEPAY_ACCOUNT_NAME,
        "memo": code,
    }
    bank_bin = vietqr.find_bin(bank)
    if bank_bin:
        payload = vietqr.transfer_payload(bank_bin=bank_bin, account=account, amount_vnd=int(amount), memo=code)
        instructions |= {"qrData": payload, "qrImage": vietqr.image_uri(payload)}
    return instructions


def _explain_stripe(order: Payment) -> Instructions:
    session_id, url = stripe_api.create_session(order)
    orders.record_session(order, session_id)
    return {"checkoutUrl": url}


_METHODS: dict[Payment.Method, Callable[[Payment], Instructions]] = {
    Payment.Method.SEPAY: _explain_sepay,
    Payment.Method.STRIPE: _explain_stripe,
}
