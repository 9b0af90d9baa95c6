"""Model fields that the ORM may read and only `accounts/credits` may change."""

from typing import Any

from django.db import models

from accounts.errors import BalanceWriteForbidden
from money.fields import MoneyField


class BalanceField(MoneyField):
    """A balance or a counter of what was spent. The ORM can read it; only `accounts/credits` changes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value != 0:
            raise BalanceWriteForbidden(f"{self.name} is changed by accounts/credits only")
        return super().get_db_prep_save(value, connection)


class HoldsField(models.Field):
    """`{request id: {"balance", "amount", "at"}}`: credits set aside for requests in flight. Read-only here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(editable=False, default=dict)
        super().__init__(*args, **kwargs)

    def db_type(self, connection: Any) -> str:
        return "object"

    def from_db_value(self, value: object, expression: object, connection: object) -> dict[str, Any]:
        return value if isinstance(value, dict) else {}

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value:
            raise BalanceWriteForbidden("holds are changed by accounts/credits only")
        return {}
