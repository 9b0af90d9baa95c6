"""More filters of the requests: by status code, by what could not be collected, and by key."""

from http import HTTPStatus
from typing import Any

from django.contrib.admin.views.main import SEARCH_VAR
from django.http import HttpRequest

from accounts.api_keys import list_keys
from accounts.errors import BillingError
from accounts.models import Account
from border.digits import is_digits
from mongo.collections import collection_of
from support.admin.base import names_of
from support.admin.lists import ChoiceFilter
from support.typed import shorten

USUAL_CODES = (200, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529)
FIRST_FAILURE = 400
KEY_ID_LENGTH = 24


class StatusCodeFilter(ChoiceFilter):
    """By the status that the client got, or would have got. Those of failures have an index of their own."""

    title = "status code"
    parameter_name = "status_code"
    takes_any = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get(self.parameter_name, "")
        codes = sorted({*USUAL_CODES, *([int(given)] if _is_code(given) else [])})
        return [(str(code), _in_words(code)) for code in codes]

    @property
    def problems(self) -> list[str]:
        value = self.value()
        if value is None or _is_code(value):
            return []
        return [f"The filter “{self.title}” cannot be “{shorten(value)}”. Choose a number from 100 to 599."]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None or not _is_code(value):
            return queryset
        code = int(value)
        return queryset.filter(status_code=code, **({"is_success": False} if code >= FIRST_FAILURE else {}))


def _is_code(text: str) -> bool:
    return is_digits(text) and len(text) == 3 and 100 <= int(text) < 600


def _in_words(code: int) -> str:
    known = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
    return f"{code} {known.get(code, '')}".strip()


class UncollectedFilter(ChoiceFilter):
    """Requests that cost more than they held: the operator's loss. The list is then in order of it."""

    title = "uncollected"
    parameter_name = "uncollected"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("some", "Cost more than they held")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(uncollected__gt=0) if self.value() == "some" else queryset


class KeyFilter(ChoiceFilter):
    """By the API key that paid, of the account that is searched for: its keys are the choices.

    An address may name any key by its id, that of a deleted one too: whose it is, the index of the keys knows.
    """

    title = "API key"
    parameter_name = "key"
    takes_any = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        account = _account_searched(request)
        try:
            keys = list_keys(account) if account is not None else []
        except BillingError:  # A damaged document lists none.
            keys = []
        choices = {key.key_id: f"{key.entry.name or 'First key'} ({key.key_id[:6]}…)" for key in keys}
        given = request.GET.get(self.parameter_name, "")
        return list(({given: f"key {given[:6]}…"} if _is_key_id(given) else {}).items() | choices.items())

    def has_output(self) -> bool:
        """Without an account there is nothing to choose; what an address asks for is read all the same."""
        return self.value() is not None or super().has_output()

    @property
    def problems(self) -> list[str]:
        value = self.value()
        if value is None or _is_key_id(value):
            return []
        return [f"The filter “{self.title}” cannot be “{shorten(value)}”. Search for an account, and choose its key."]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None or not _is_key_id(value):
            return queryset
        owner = _owner_of(value)
        return queryset.filter(key_id=value, **({"user_id": owner} if owner is not None else {}))


def _is_key_id(text: str) -> bool:
    return len(text) == KEY_ID_LENGTH and all(one in "0123456789abcdef" for one in text)


def _account_searched(request: HttpRequest) -> Account | None:
    text = request.GET.get(SEARCH_VAR, "").strip()
    return Account.objects.filter(pk__in=names_of(text)).first() if text else None


def _owner_of(key_id: str) -> str | None:
    """The account of a key: an id is the beginning of the key's hash, which has an index."""
    begins_so = {"$gte": key_id, "$lt": key_id + "g"}
    for condition in ({"apiKeyHash": begins_so}, {"keyHashes": {"$elemMatch": begins_so}}):
        if owner := collection_of(Account).find_one(condition, {"_id": 1}):
            return str(owner["_id"])
    return None


REQUEST_FILTERS = (StatusCodeFilter, UncollectedFilter, KeyFilter)
