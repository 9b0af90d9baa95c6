"""The payment providers, by name, as the setting PAYMENT_PROVIDERS lists them."""

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from payments.providers.base import Provider


@cache
def _providers() -> dict[str, Provider]:
    providers: list[Provider] = [import_string(path)() for path in settings.PAYMENT_PROVIDERS]
    return {provider.name: provider for provider in providers}


def get_provider(name: str) -> Provider:
    """The provider of this name. Raises `KeyError`."""
    return _providers()[name]


def all_providers() -> tuple[Provider, ...]:
    """Every provider, configured or not."""
    return tuple(_providers().values())
