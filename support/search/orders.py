"""Payments by an order code, however it is typed: for the lists of what belongs to a payment."""

from payments.models import Payment
from support.search.meanings import order_codes_in

MOST = 10


def payments_with_code(text: str) -> list[Payment]:
    """The payments that a text names by their order code. Reads only."""
    codes = order_codes_in(text) if len(text) <= 60 else []
    return list(Payment.objects.filter(order_code__in=codes).order_by()[:MOST]) if codes else []
