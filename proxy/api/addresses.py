"""Where customers reach each upstream: on a port of its own, or below a prefix of the site."""

from django.conf import settings

from accounts.models import Balance


def port_of(balance: Balance) -> int:
    """The port whose requests `balance` pays for."""
    port: int = settings.OPENHANDS_PORT if balance is Balance.OPENHANDS else settings.OHMYGPT_PORT
    return port


def prefix_of(balance: Balance) -> str:
    """The path on the site below which the same requests are served."""
    return f"/{balance.value}"
