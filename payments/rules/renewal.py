"""Whether a payment restarts the expiry of its account, and what becomes of one that is too small for it."""

from datetime import datetime
from decimal import Decimal

from django.conf import settings

from accounts.models import Account
from money.amounts import format_usd
from payments.models import Payment


def renews_expiry(*, amount: Decimal, order: Payment | None = None) -> bool:
    """Whether a payment that buys `amount` USD of credits restarts its account's expiry. The one place of this rule.

    It takes `EXPIRY_RENEWAL_MIN_PERCENT` of its order, or of the smallest order that anybody can make, whichever is
    less: else a single dong would keep all credits alive, again and again. Each transfer is judged alone, also when
    several pay one order. `order` is None for what staff credit without one.
    """
    least = Decimal(settings.ORDER_MIN_CREDITS)
    if order is not None and order.credits > 0:
        least = min(least, order.credits)
    return bool(amount * 100 >= least * settings.EXPIRY_RENEWAL_MIN_PERCENT)


def why_credits_would_expire(*, username: str, amount: Decimal, order: Payment | None, now: datetime) -> str:
    """Why `amount` USD of credits would be lost as soon as they are credited, or ''. Reads only.

    They do not restart the expiry, and it has come. Staff set another one first, or send the money back.
    """
    if renews_expiry(amount=amount, order=order):
        return ""
    account = Account.objects.filter(pk=username).first()
    if account is None or not account.is_expired(now):
        return ""
    return (
        f"too little to restart the expiry ({format_usd(amount)}), and the credits of {username} have expired: set "
        "their expiry, then match this, or send the money back"
    )
