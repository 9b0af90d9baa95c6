"""Which payments nothing is credited or reversed for, because their document cannot be read."""

from decimal import Decimal

from money.fields import MoneyField
from mongo.unreadable import Unreadable
from payments.errors import PaymentNeedsRepair
from payments.models import Payment

HARMLESS = {"discord_id", "username", "session_id"}
"""Fields that no rule of money reads."""
LARGEST = Decimal(10) ** 15
"""Of any currency. More cannot be reckoned with exactly."""


def check_payment(payment: Payment) -> None:
    """Raise `PaymentNeedsRepair` if a field of the payment that a rule of money reads holds what cannot be read."""
    names = {field.attname: str(field.column) for field in payment._meta.concrete_fields}
    problems = {names[name]: problem for name, problem in payment.unreadable.items() if name not in HARMLESS}
    for field in payment._meta.concrete_fields:
        amount = getattr(payment, field.attname) if isinstance(field, MoneyField) else None
        if amount is not None and abs(amount) > LARGEST:
            problems[str(field.column)] = Unreadable.of(f"{amount:.3e}")
    if problems:
        raise PaymentNeedsRepair(str(payment)[:100], problems)
