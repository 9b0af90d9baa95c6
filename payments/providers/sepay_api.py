"""SePay's list of transfers (API v2), which has what webhooks missed.

https://developer.sepay.vn/vi/sepay-api/v2/giao-dich/danh-sach
"""

import json
import math
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import requests
from django.conf import settings

from payments.errors import ProviderUnavailable

TIMEOUT_SECONDS = 20
_PAGE = 100
_MAX_PAGES = 5000
"""More transfers than one account receives in any window; only an answer without an end has more."""
_MAX_WAIT_SECONDS = 10.0
_ATTEMPTS = 3


def list_transfers(*, since: datetime, until: datetime) -> Iterator[bytes]:
    """Incoming transfers of the window (times of Vietnam), oldest first, each as its own JSON body.

    Raises `ProviderUnavailable`.
    """
    query: dict[str, str | int] = {
        "transaction_date_from": f"{since:%Y-%m-%d %H:%M:%S}",
        "transaction_date_to": f"{until:%Y-%m-%d %H:%M:%S}",
        "transfer_type": "in",
        "transaction_date_sort": "asc",
        "per_page": _PAGE,
    }
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {settings.SEPAY_API_TOKEN}"
        for number in range(1, _MAX_PAGES + 1):
            page = _get(session, query | {"page": number})
            yield from (json.dumps(transfer, sort_keys=True).encode() for transfer in page["data"])
            if not _has_more(page):
                return
    raise ProviderUnavailable(f"SePay's list does not end after {_MAX_PAGES} pages")


def _get(session: requests.Session, query: dict[str, str | int]) -> dict[str, Any]:
    """One page; waits and asks again when asked to slow down."""
    for _ in range(_ATTEMPTS):
        try:
            response = session.get(f"{settings.SEPAY_API_URL}/transactions", params=query, timeout=TIMEOUT_SECONDS)
            if response.status_code == 429:
                time.sleep(_wait_seconds(response))
                continue
            response.raise_for_status()
            page = response.json()
        except (requests.RequestException, ValueError) as error:
            raise ProviderUnavailable(f"SePay's list cannot be read: {error}") from error
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise ProviderUnavailable("SePay's list has an unknown form")
        return page
    raise ProviderUnavailable("SePay keeps asking to slow down")


def _wait_seconds(response: requests.Response) -> float:
    try:
        seconds = float(response.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
    return min(max(seconds, 0.1), _MAX_WAIT_SECONDS) if math.isfinite(seconds) else 1.0


def _has_more(page: dict[str, Any]) -> bool:
    meta = page.get("meta")
    pagination = meta.get("pagination") if isinstance(meta, dict) else None
    return bool(isinstance(pagination, dict) and pagination.get("has_more"))
