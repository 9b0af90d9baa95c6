"""Model fields of amounts and counts, which read old documents as they are: absent, null, or another number type."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from bson import Int64
from django.db import models

from money.amounts import LARGEST_DOUBLE, WIDE, ZERO, number_from_bson, round_usd, to_bson
from mongo.fields import AdoptedField, NotReadable, is_between


def _is_readable(path: str) -> Any:
    return is_between(path, -LARGEST_DOUBLE, LARGEST_DOUBLE)


class MoneyField(AdoptedField, models.DecimalField):
    """USD: a `Decimal` with 8 places in Python, a double in the document. Absent and null read as 0."""

    stands_for_unreadable: Decimal | None = ZERO

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 18)
        kwargs.setdefault("decimal_places", 8)
        kwargs.setdefault("default", Decimal("0E-8"))
        super().__init__(*args, **kwargs)

    def get_internal_type(self) -> str:
        return "FloatField"

    def absent(self) -> Decimal | None:
        return None if self.null else ZERO

    def read(self, value: Any) -> Decimal:
        number = number_from_bson(value)
        if number is None:
            raise NotReadable
        return number

    def readable(self, path: str) -> Any:
        return _is_readable(path)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return to_bson(round_usd(self.to_python(value)))

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if hasattr(value, "as_sql") else self.get_db_prep_value(value, connection)


class PriceField(MoneyField):
    """USD that is never 0 for want of a number: absent, null and text read as None, whether the field may be so or not.

    To migrations it is the field that it stores like.
    """

    stands_for_unreadable = None

    def absent(self) -> None:
        return None

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, f"{MoneyField.__module__}.{MoneyField.__name__}", args, kwargs


class CountField(AdoptedField, models.FloatField):
    """A counter such as tokens: an `int` in Python. Absent and null read as 0, any number type as a whole number."""

    stands_for_unreadable = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", 0)
        super().__init__(*args, **kwargs)

    def get_internal_type(self) -> str:
        return "FloatField"

    def absent(self) -> int:
        return 0

    def read(self, value: Any) -> int:
        number = number_from_bson(value)
        if number is None:
            raise NotReadable
        return int(number)

    def readable(self, path: str) -> Any:
        return _is_readable(path)

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or hasattr(value, "resolve_expression") else Int64(int(value))


class PercentField(models.DecimalField):
    """A percentage with two places, stored as `Decimal128`. Reads any type of number; what is none, or NaN, as None.

    To migrations it is the field that it stores like.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_digits": 6, "decimal_places": 2} | kwargs)

    def from_db_value(self, value: object, expression: object, connection: object) -> Decimal | None:
        number = number_from_bson(value)
        return None if number is None else number.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP, context=WIDE)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DecimalField", args, kwargs
