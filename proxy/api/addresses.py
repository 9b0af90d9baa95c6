"""Where customers reach each upstream: on a port of its own, or below a prefix of the site. And at which paths."""

import re

from django.conf import settings
from django.http import HttpRequest

from accounts.models import Balance

STANDS_AT_ROOT = "billing.stands_at_root"
"""In `request.META`, true of a request that came without the upstream's prefix, which was put in front since."""
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")


def port_of(balance: Balance) -> int:
    """The port whose requests `balance` pays for."""
    port: int = settings.OPENHANDS_PORT if balance is Balance.OPENHANDS else settings.OHMYGPT_PORT
    return port


def prefix_of(balance: Balance) -> str:
    """The path on the site below which the same requests are served."""
    return f"/{balance.value}"


def public_address_of(balance: Balance) -> str | None:
    """The address that customers are told for an upstream, without `/v1`; None where the settings name none."""
    return settings.PUBLIC_URLS[balance.value].rstrip("/").removesuffix("/v1") or None


def endpoint_path(path: str) -> str:
    """The path of the endpoint that is meant, below the upstream's prefix. Pure.

    Clients are given an address with `/v1` or without it, and add a part of their own: so no `/v1` and several are the
    same as one, and empty parts between slashes do not count. (They could not be redirected: most would lose the body.)
    """
    parts = [part for part in path.split("/") if part]
    first = next((position for position, part in enumerate(parts) if part != "v1"), len(parts))
    rest = "/".join(parts[first:])
    return f"/v1/{rest}" if rest not in ("", "health") else f"/{rest}"


def advice(request: HttpRequest, balance: Balance) -> str:
    """One sentence for each upstream on the base address that clients of it should use."""
    sentences = []
    for each in (balance, balance.other):
        if address := public_address_of(each) or _address_here(request, each, is_asked=each is balance):
            sentences.append(
                f"For {each.label} use the base address {address}/v1 in OpenAI-style clients, "
                f"and {address} (without /v1) in Anthropic-style clients."
            )
    return " ".join(sentences)


def _address_here(request: HttpRequest, balance: Balance, *, is_asked: bool) -> str | None:
    """An upstream's address as a request shows it. None where it does not: the other one's may be another host."""
    host = request.META.get("HTTP_HOST", "")
    if not _HOST.fullmatch(host):
        host = f"{request.META['SERVER_NAME']}:{request.META['SERVER_PORT']}"
    if not request.META.get(STANDS_AT_ROOT):
        return f"{request.scheme}://{host}{prefix_of(balance)}"
    if is_asked:
        return f"{request.scheme}://{host}"
    name, _, port = host.rpartition(":")
    return f"{request.scheme}://{name}:{port_of(balance)}" if port == str(port_of(balance.other)) else None
