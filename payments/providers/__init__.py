"""The payment providers, by name, as the setting PAYMENT_PROVIDERS lists them."""

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from payments.errors import PaymentMethodUnavailable
from payments.providers.base import Provider


@cache
def _providers() -> dict[str, Provider]:
    providers: list[Provider] = [import_string(path)() for path in settings.PAYMENT_PROVIDERS]
    return {provider.name: provider for provider in providers}


def reload_providers() -> None:
    """Read PAYMENT_PROVIDERS anew at the next call. For tests: in a running site the setting never changes."""
    _providers.cache_clear()


def get_provider(name: str) -> Provider:
    """The provider of this name. Raises `KeyError`."""
    return _providers()[name]


def all_providers() -> tuple[Provider, ...]:
    """Every provider, configured or not."""
    return tuple(_providers().values())


def selling_providers() -> tuple[Provider, ...]:
    """Those that orders are paid through, configured or not; the first is meant when a customer names none."""
    return tuple(provider for provider in all_providers() if provider.sells)


def get_seller(name: str | None) -> Provider:
    """The provider that an order is to be paid through; None = the first one that sells.

    Raises `PaymentMethodUnavailable` for what sells nothing.
    """
    for provider in selling_providers():
        if name is None or provider.name == name:
            return provider
    raise PaymentMethodUnavailable(name or "")


def label_of(name: str) -> str:
    """What people call a provider; its name if it is not (or no longer) listed."""
    provider = _providers().get(name)
    return provider.label or name if provider else name
