"""System checks of the payment settings: mistakes that would lose or misprice money."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from payments.orders.codes import is_valid_prefix
from payments.providers.base import Provider
from payments.providers.standard import is_usable_secret


@register()
def check_payment_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Order codes that can be found again, prices that are numbers, secrets that can be used, providers that exist."""
    messages: list[CheckMessage] = []
    if not is_valid_prefix(settings.ORDER_CODE_PREFIX):
        messages.append(Error("ORDER_CODE_PREFIX must be three letters A-Z.", id="payments.E001"))
    if settings.ORDER_VND_PER_USD <= 0 or not _is_price(settings.STRIPE_UNITS_PER_USD):
        messages.append(Error("ORDER_VND_PER_USD and STRIPE_UNITS_PER_USD must be above 0.", id="payments.E002"))
    if not 0 < settings.ORDER_MIN_CREDITS <= settings.ORDER_MAX_CREDITS:
        messages.append(Error("ORDER_MIN_CREDITS must be above 0, at most ORDER_MAX_CREDITS.", id="payments.E003"))
    if not all(is_usable_secret(secret) for secret in settings.STANDARD_WEBHOOK_SECRETS):
        messages.append(
            Error("A secret in STANDARD_WEBHOOK_SECRETS is not base64 of 24 bytes or more.", id="payments.E004")
        )
    if settings.WEBHOOK_SILENCE_MINUTES < 1:
        messages.append(Error("WEBHOOK_SILENCE_MINUTES must be above 0.", id="payments.E007"))
    if not 0 <= settings.EXPIRY_RENEWAL_MIN_PERCENT <= 100:
        messages.append(Error("EXPIRY_RENEWAL_MIN_PERCENT must be from 0 to 100.", id="payments.E006"))
    messages += [
        Error(f"PAYMENT_PROVIDERS names {path!r}, which is no provider.", id="payments.E005")
        for path in settings.PAYMENT_PROVIDERS
        if not _is_provider(path)
    ]
    return messages


def _is_price(text: str) -> bool:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    return value.is_finite() and value > 0


def _is_provider(path: str) -> bool:
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, Provider)
