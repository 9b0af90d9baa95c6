"""Who calls the proxy, and from where: the key of a request, and what is counted against it in this process."""

from django.http import HttpRequest

from accounts import throttle
from accounts.authentication import read_keys
from accounts.errors import BillingError
from accounts.models import Account

_KEY = "billing.api_key"
"""In `request.META`: the key of a request that went on to the database."""


def read_caller_key(request: HttpRequest) -> str:
    """The key of a request that may go on to the database. Raises `InvalidApiKey`, `RequestThrottled`."""
    meta, address = request.META, address_of(request)
    keys = read_keys(meta.get("HTTP_AUTHORIZATION"), meta.get("HTTP_X_API_KEY"), meta.get("HTTP_API_KEY"))
    api_key = throttle.choose_key(keys, address)
    throttle.admit(api_key, address)
    request.META[_KEY] = api_key
    return api_key


def find_free_caller(request: HttpRequest) -> Account:
    """The account that asks an endpoint which is not billed. Counts the request.

    Raises `InvalidApiKey`, `AccountDisabled`, `RequestThrottled`.
    """
    return throttle.find_free_caller(read_caller_key(request))


def note_refused(request: HttpRequest, error: BillingError) -> None:
    """Count a refusal against the request's key, if the request came as far as to cost anything."""
    if api_key := request.META.get(_KEY):
        throttle.note_refused(api_key, address_of(request), error)


def address_of(request: HttpRequest) -> str:
    """The other end of the connection: the client, or the proxy in front."""
    return str(request.META.get("REMOTE_ADDR") or "")
