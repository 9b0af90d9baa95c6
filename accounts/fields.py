"""Model fields that the ORM may read and only `accounts/credits` may change."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import DBRef

from accounts.errors import BalanceWriteForbidden
from money.amounts import LARGEST_BALANCE, number_from_bson, to_bson
from money.fields import MoneyField
from mongo.fields import AdoptedField, NotReadable, is_between, is_of_type


class BalanceField(MoneyField):
    """A balance or a counter of what was spent. The ORM can read it; only `accounts/credits` changes it.

    What is larger than can be counted with to 8 places is not read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def read(self, value: Any) -> Decimal:
        amount = super().read(value)
        if abs(amount) > LARGEST_BALANCE:
            raise NotReadable
        return amount

    def readable(self, path: str) -> Any:
        most = to_bson(LARGEST_BALANCE)
        return is_between(path, -most, most)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value != 0:
            raise BalanceWriteForbidden(f"{self.name} is changed by accounts/credits only")
        return super().get_db_prep_save(value, connection)


class ObjectField(AdoptedField):
    """An object of what is known by name; absent, it is empty. Nobody edits it."""

    stored_types = ("object",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(editable=False, default=dict)
        super().__init__(*args, **kwargs)

    @property
    def stands_for_unreadable(self) -> dict[str, Any]:  # type: ignore[override]
        return {}

    def db_type(self, connection: Any) -> str:
        return "object"

    def absent(self) -> dict[str, Any]:
        return {}


class HoldsField(ObjectField):
    """`{request id: {"balance", "amount", "at"}}`: credits set aside for requests in flight. Read-only here.

    The database says only whether it is an object; Python looks at each hold.
    """

    def read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(is_hold(key, hold) for key, hold in value.items()):
            raise NotReadable
        return value

    def readable_in_full(self, path: str) -> Any:
        hold = "$$hold.v"
        is_one = [
            {"$eq": [{"$type": hold}, "object"]},
            {"$in": [f"{hold}.balance", list(BALANCES)]},
            is_of_type(f"{hold}.at", "date"),
            {"$gte": [f"{hold}.amount", 0]},
            {"$lte": [f"{hold}.amount", to_bson(LARGEST_BALANCE)]},
            {"$not": [{"$regexMatch": {"input": "$$hold.k", "regex": r"^$|^\$|\."}}]},
        ]
        holds = {"$map": {"input": {"$objectToArray": path}, "as": "hold", "in": {"$and": is_one}}}
        is_object = {"$eq": [{"$type": path}, "object"]}
        return {"$cond": [is_object, {"$allElementsTrue": [holds]}, self.readable(path)]}

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value:
            raise BalanceWriteForbidden("holds are changed by accounts/credits only")
        return {}


class KeysField(ObjectField):
    """`{the beginning of a key's hash: its entry}`: what is known of an account's keys. Read-only here.

    It says only whether that is an object. What an entry holds is judged when its key is used, and harms that key alone
    (`accounts/key_limits.py`).
    """

    def read(self, value: Any) -> dict[str, Any]:
        value = value.as_doc() if isinstance(value, DBRef) else value  # To the database it is an object.
        if not isinstance(value, Mapping):
            raise NotReadable
        return dict(value)


class KeyHashesField(AdoptedField):
    """A list of the hashes of an account's further keys, by which they are found. Read-only here."""

    stored_types = ("array",)
    is_secret = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(editable=False, default=list)
        super().__init__(*args, **kwargs)

    @property
    def stands_for_unreadable(self) -> list[Any]:  # type: ignore[override]
        return []

    def db_type(self, connection: Any) -> str:
        return "array"

    def absent(self) -> list[Any]:
        return []

    def read(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise NotReadable
        return value


BALANCES = ("openhands", "ohmygpt")
"""The values of `accounts.models.Balance`, which is made of these fields."""


def is_hold(request_id: str, hold: object) -> bool:
    """Whether a stored hold can be settled: its balance and its amount are known, and its name is a path."""
    if not request_id or request_id.startswith("$") or "." in request_id or not isinstance(hold, Mapping):
        return False
    amount = number_from_bson(hold.get("amount"))
    return (
        hold.get("balance") in BALANCES
        and isinstance(hold.get("at"), datetime | None)
        and amount is not None
        and 0 <= amount <= LARGEST_BALANCE
    )
