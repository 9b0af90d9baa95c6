"""What of a request's headers and query goes on to the upstream, and what of its answer's headers comes back.

Lists of what may pass, and nothing else does: docs/proxy.md says why, and a test compares the two.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from django.http import HttpRequest

from proxy.billing.pricing import Price
from proxy.formats.anthropic_betas import passing_betas

LONGEST_QUERY = 2000
"""Characters that are read."""
_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}", re.ASCII)

REQUEST_HEADERS = {"anthropic-version": _VERSION}
"""Headers of requests that pass as they are, if their values look like that. `anthropic-beta` passes in part."""
QUERY = {"beta": re.compile("true"), "api-version": _VERSION}
"""Parts of the query that pass. Anthropic's clients mark the use of betas by the first; Azure's name a version."""
ANSWER_HEADERS = {"openai-processing-ms": re.compile(r"[0-9.]{1,20}", re.ASCII), "openai-version": _VERSION}
"""Headers of the upstream's answers that pass."""

_IN_META = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in REQUEST_HEADERS}


def request_headers(request: HttpRequest, price: Price) -> dict[str, str]:
    """The headers that go on to the upstream; of `anthropic-beta` the values that change no price, or have one."""
    meta = request.META  # Where a header is read as it was sent: `request.headers` maps them all first.
    headers = {name: value for name, key in _IN_META.items() if (value := meta.get(key)) and _VERSION.fullmatch(value)}
    if asked := meta.get("HTTP_ANTHROPIC_BETA"):
        betas = passing_betas(asked, price)
        headers |= {"anthropic-beta": betas} if betas else {}
    return headers


def query_of(request: HttpRequest) -> str:
    """What is put behind the upstream's path: of the query, what may pass, with its question mark; else nothing."""
    text = request.META.get("QUERY_STRING")
    if not text:
        return ""
    query = dict(parse_qsl(text[:LONGEST_QUERY]))
    passed = [f"{name}={query[name]}" for name, value in QUERY.items() if value.fullmatch(query.get(name, ""))]
    return f"?{'&'.join(passed)}" if passed else ""


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream's answer that the client gets, too."""
    return {
        name: value
        for name, allowed in ANSWER_HEADERS.items()
        if (value := headers.get(name)) and allowed.fullmatch(value)
    }
