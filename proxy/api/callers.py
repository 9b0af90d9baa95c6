"""Who calls the proxy, and from where: the key of a request, and what is counted against it in this process."""

from django.http import HttpRequest

from accounts import throttle
from accounts.authentication import read_keys
from accounts.errors import BillingError, KeyDisabled, KeyExpired, RequestThrottled
from accounts.models import Account, Balance
from proxy.api.addresses import endpoint_path, prefix_of
from proxy.api.responses import STATUS_OF
from proxy.billing import refused_requests
from proxy.billing.terms import PricedCall

_KEY = "billing.api_key"
"""In `request.META`: the key that a request was read to mean."""
_PRICED = "billing.priced"
"""In `request.META`: what billing has read of a request's body."""
KEPT_STATUSES = frozenset((402, 403, 429))
ALSO_KEPT = frozenset((KeyDisabled.code, KeyExpired.code))
"""Refusals of another status that a known account asks about."""


def read_caller_key(request: HttpRequest) -> str:
    """The key of a request that may go on to the database. Raises `InvalidApiKey`, `RequestThrottled`."""
    meta, address = request.META, address_of(request)
    keys = read_keys(meta.get("HTTP_AUTHORIZATION"), meta.get("HTTP_X_API_KEY"), meta.get("HTTP_API_KEY"))
    api_key = throttle.choose_key(keys, address)
    request.META[_KEY] = api_key
    throttle.admit(api_key, address)
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


def note_priced(request: HttpRequest, priced: PricedCall) -> None:
    """Remember what was asked for, in case that it is refused later on."""
    request.META[_PRICED] = priced


def keep_refusal(request: HttpRequest, error: BillingError, *, request_id: str, balance: Balance) -> None:
    """Keep why a request of a known account was refused, for staff and for the customer. Never raises.

    A request that was refused without asking the database is only counted.
    """
    api_key, status = request.META.get(_KEY), STATUS_OF.get(error.code, 500)
    if api_key is None or not (status in KEPT_STATUSES or error.code in ALSO_KEPT):
        return
    if isinstance(error, RequestThrottled):
        refused_requests.count_unseen(api_key)
        return
    refused_requests.keep_refusal(
        error,
        request_id=request_id,
        api_key=api_key,
        balance=balance,
        endpoint=endpoint_path(request.path_info.removeprefix(prefix_of(balance))),
        status=status,
        priced=request.META.get(_PRICED),
    )


def address_of(request: HttpRequest) -> str:
    """The other end of the connection: the client, or the proxy in front."""
    return str(request.META.get("REMOTE_ADDR") or "")
