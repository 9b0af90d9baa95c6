"""Every page of the admin, over the history that `manage.py load_history` invents."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from typing import Any
from urllib.parse import quote, urlencode

from bson import ObjectId
from pymongo.database import Database

HEAVY = "bench-heavy"
ACCOUNT = "bench0000042"
UNUSED_MODEL = "claude-opus-4-5-20251101"
"""Never used on OhMyGPT."""
MODELS = ("claude-sonnet-4-5-20250929", UNUSED_MODEL, "never-used")

ACCOUNTS, LEDGER, PAYMENTS = "/admin/accounts/account/", "/admin/accounts/ledgerentry/", "/admin/payments/payment/"
EVENTS, REQUESTS, AUDIT = "/admin/payments/webhookevent/", "/admin/proxy/requestlog/", "/admin/support/auditentry/"
LISTS = {"Accounts": ACCOUNTS, "Ledger": LEDGER, "Payments": PAYMENTS}
REFUSALS = "/admin/proxy/refusedrequest/"
LISTS |= {"Webhook events": EVENTS, "Requests": REQUESTS, "Refusals": REFUSALS, "Audit": AUDIT}


@dataclass(frozen=True)
class Page:
    """An address, and which row of the report it belongs to. `is_cold`: no day has been counted before."""

    group: str
    address: str
    is_cold: bool = False
    is_export: bool = False


def filters_of(today: datetime) -> dict[str, dict[str, tuple[str, ...]]]:
    """The filters of each list, with their values."""

    def days(field: str) -> dict[str, tuple[str, ...]]:
        return {f"{field}_from": (f"{today - timedelta(days=30):%Y-%m-%d}",), f"{field}_to": ("2020-01-31",)}

    balances = dict.fromkeys(("openhands", "ohmygpt"), ("debt", "zero", "some", "20"))
    kinds = ("opening", "purchase", "bonus", "transfer", "adjustment", "expiry", "refund", "chargeback")
    return {
        "Accounts": {
            "expiry": ("soon", "valid", "expired", "never"),
            "status": ("active", "disabled"),
            **balances,
            "credits_new_from": ("99.5",),
            "credits_to": ("0.01",),
        },
        "Ledger": {"balance__exact": ("openhands", "ohmygpt"), "kind__exact": kinds, **days("created_at")},
        "Payments": {
            "status__exact": ("pending", "success", "failed", "expired"),
            "provider": ("sepay", "stripe"),
            "flag": ("late",),
            "promotion": ("any", "none"),
            **days("created_at"),
        },
        "Webhook events": {
            "queue": ("waiting",),
            "provider": ("sepay", "stripe"),
            "status__exact": ("received", "done", "ignored", "review", "dead"),
            **days("received_at"),
        },
        "Requests": {
            "upstream": ("openhands", "ohmygpt"),
            "model": MODELS,
            "result": ("failed", "ok"),
            "status_code": ("200", "502"),
            "uncollected": ("some",),
            **days("created_at"),
        },
        "Refusals": {
            "code": ("insufficient_credits", "rate_limit_exceeded", "key_expired"),
            "upstream": ("openhands", "ohmygpt"),
            "model": (MODELS[0], "never-used"),
            **days("created_at"),
        },
        "Audit": {"outcome__exact": ("done", "refused"), "action": ("transfer", "switch"), **days("at")},
    }


SEARCHES = {
    "Accounts": (ACCOUNT, "bench00", "BENCH", "zzz", "sk-trollllm-00", "sk-trollllm-00ff", f"{10**17 + 43}"),
    "Ledger": (ACCOUNT, HEAVY, "bench:77", "zzz"),
    "Payments": (ACCOUNT, "BENCH77", "bench77", "77", f"{10**17 + 43}", "zzz"),
    "Webhook events": ("bench77", "BENCH78", ACCOUNT, "zzz", "50.000", "50k nguyễn văn a", "FT0000"),
    "Requests": (ACCOUNT, HEAVY, "bench-000000077", "req_00", "65a00000", "zzz"),
    "Refusals": (ACCOUNT, HEAVY, "bench-refused-000000003", "req_00", "zzz"),
    "Audit": ("sam7", ACCOUNT, "bench:77", "zzz"),
}
SEARCHED = (
    *(ACCOUNT, "bench00", "0042", "nobody at all", "sk-trollllm-00", f"{10**17 + 43}", "BENCH77", "bench 77", "NAP-7K"),
    *("bench77", "req_00", "bench-000000077", "65a00000", "50000", "50.000đ", "$20", "FT26333", "bench:77"),
)
"""What is typed into the search box of every page."""
DEAREST = "-4"
"""The column of the cost in the list of requests."""
ORDERS = {"Accounts": ("1", "-1", "5", "-5")}


def pages_of(database: Database[dict[str, Any]], *, now: datetime | None = None) -> Iterator[Page]:
    """All of them; `database` tells the keys of what has no invented one."""
    now = now or datetime.now(UTC)
    yield Page("Dashboard, nothing counted yet", "/admin/", is_cold=True)
    yield Page("Dashboard", "/admin/")
    yield from (Page("Search box", _with("/admin/support/search/", q=text)) for text in SEARCHED)
    yield from _business_pages(now)
    yield from _list_pages(now)
    yield from _account_pages(HEAVY, "the heavy account", now)
    yield from _account_pages(ACCOUNT, "an account", now)
    yield from _detail_pages(database)
    yield from (Page("Help", "/admin/support/help/"), Page("Second factor", "/admin/support/second-factor/"))
    for path in ("payments/promotion/", "proxy/modelprice/", "auth/user/", "auth/group/", "support/secondfactor/"):
        yield Page("Short lists", f"/admin/{path}")
    for path in ("payments/promotion/add/", "proxy/modelprice/add/", "accounts/account/add/", "auth/user/add/"):
        yield Page("Forms", f"/admin/{path}")


def _business_pages(now: datetime) -> Iterator[Page]:
    """The owner's page, and the lists that only it leads to."""
    for days in ("today", "7", "30", "90"):
        yield Page("Business", _with("/admin/support/business/", days=days))
    year = f"{now - timedelta(days=364):%Y-%m-%d}"
    yield Page("Business: a year", _with("/admin/support/business/", first=year, last=f"{now:%Y-%m-%d}"))
    for balance in ("openhands", "ohmygpt"):
        for status, expiry in (("active", "usable"), ("active", "expired"), ("disabled", "")):
            yield Page("Business: its lists", _with(ACCOUNTS, **{balance: "some"}, status=status, expiry=expiry))
    for first in (now, now - timedelta(days=29), now - timedelta(days=89)):
        period = (f"{first:%Y-%m-%d}", f"{now:%Y-%m-%d}")
        paid, came, asked = (
            dict(zip((f"{field}_from", f"{field}_to"), period, strict=True))
            for field in ("completed_at", "received_at", "created_at")
        )
        for address in (
            _with(PAYMENTS, status__exact="success", **paid),
            _with(PAYMENTS, status__exact="success", through="sepay:VND", **paid),
            _with(PAYMENTS, went_back="..".join(period), through="sepay:VND"),
            _with(EVENTS, came="review", **came),
            _with(EVENTS, came="dead", **came),
            _with(REFUSALS, code="insufficient_credits", upstream="openhands", **asked),
            _with(REQUESTS, upstream="ohmygpt", model=MODELS[0], result="failed", **asked),
        ):
            yield Page("Business: its lists", address)


def _list_pages(now: datetime) -> Iterator[Page]:
    for name, filters in filters_of(now).items():
        address = LISTS[name]
        yield Page(f"{name}: list", address)
        yield from (Page(f"{name}: search", _with(address, q=text)) for text in SEARCHES[name])
        yield from (Page(f"{name}: order", _with(address, o=order)) for order in ORDERS.get(name, ()))
        yield from (Page(f"{name}: second and deep pages", _with(address, p=page)) for page in ("2", "100", "200"))
        yield from (Page(f"{name}: one filter", _with(address, **query)) for query in _queries(filters, 1))
        yield from (Page(f"{name}: two filters", _with(address, **query)) for query in _queries(filters, 2))
        yield Page("Export, first rows", address.replace("/admin/", "/admin/support/export/"), is_export=True)
    for query in _queries(filters_of(now)["Requests"], 1):
        yield Page("Requests: the heavy account, one filter", _with(REQUESTS, q=HEAVY, **query))
    day = f"{now - timedelta(days=1):%Y-%m-%d}"
    yesterday = {"created_at_from": day, "created_at_to": day}
    dearest = {"q": HEAVY, "o": DEAREST}
    yield Page("Requests: the heavy account, dearest first", _with(REQUESTS, **dearest))
    yield Page("Requests: the heavy account, dearest first", _with(REQUESTS, **dearest, **yesterday))
    yield Page("Requests: totals of the heavy account", _with(REQUESTS, q=HEAVY, p="1"))
    yield Page("Requests: totals of the heavy account", _with(REQUESTS, q=HEAVY, p="1", **yesterday))
    for query in _queries(filters_of(now)["Requests"], 3):
        yield Page("Requests: three filters", _with(REQUESTS, **query))


def _queries(filters: dict[str, tuple[str, ...]], count: int) -> Iterator[dict[str, str]]:
    """Every choice of values of `count` filters at once."""
    for names in combinations(filters, count):
        for values in product(*(filters[name] for name in names)):
            yield dict(zip(names, values, strict=True))


def _account_pages(account: str, words: str, now: datetime) -> Iterator[Page]:
    timeline = f"/admin/support/accounts/{account}/timeline/"
    yield Page(f"Page of {words}", f"{ACCOUNTS}{_quoted(account)}/change/")
    yield Page(f"Timeline of {words}", timeline)
    for days in (1, 20, 50, 90, 200):
        before = (now - timedelta(days=days)).isoformat()
        yield Page(f"Timeline of {words}: older pages", _with(timeline, before=before))
    for query in (
        {"kind": "purchase"},
        {"kind": "use"},
        {"kind": "chargeback"},
        {"kind": "refused"},
        {"balance": "ohmygpt"},
    ):
        yield Page(f"Timeline of {words}: filters", _with(timeline, **query))
    day = {"first": f"{now - timedelta(days=2):%Y-%m-%d}", "last": f"{now - timedelta(days=1):%Y-%m-%d}"}
    use = {"balance": "ohmygpt", "model": MODELS[0]}
    yield Page(f"Requests of a day of {words}", _with(f"{timeline}requests/", **use, **day))
    for action in ("transfer", "adjust", "expiry", "disable", "enable", "rotate-key", "limits"):
        yield Page("Dialogs", f"/admin/support/do/account/{_quoted(account)}/{action}/")
    yield Page("Dialogs", _with("/admin/support/bulk/transfer/", account=account))


def _detail_pages(database: Database[dict[str, Any]]) -> Iterator[Page]:
    def key_of(collection: str, **query: Any) -> str:
        found = database[collection].find_one(query, {"_id": 1})
        return _quoted(str(found["_id"])) if found else str(ObjectId())

    event, payment = key_of("webhook_events", status="review"), key_of("payments", orderCode="BENCH77")
    yield Page("Detail pages", f"{LEDGER}{key_of('ledger_entries', operation='bench:77')}/change/")
    yield Page("Detail pages", f"{PAYMENTS}{payment}/change/")
    yield Page("Detail pages", f"{EVENTS}{event}/change/")
    yield Page("Detail pages", f"{REQUESTS}{key_of('request_logs', userId=HEAVY)}/change/")
    yield Page("Detail pages", f"{REFUSALS}{key_of('refused_requests', userId=HEAVY)}/change/")
    yield Page("Detail pages", f"{AUDIT}{_quoted('bench:77')}/change/")
    for action in ("match-event", "credit-event", "dismiss-event", "replay-event", "take-event"):
        yield Page("Dialogs", f"/admin/support/do/event/{event}/{action}/")
    yield Page("Dialogs", f"/admin/support/do/event/{event}/match-event/?order={payment}")
    yield Page("Dialogs", f"/admin/support/do/payment/{payment}/record-refund/")
    yield Page("Dialogs", "/admin/support/do/site/purchasing/stop-purchasing/")


def _with(address: str, **query: str) -> str:
    return f"{address}?{urlencode(query)}"


def _quoted(key: str) -> str:
    """A key as the admin writes it in addresses."""
    return quote("".join(f"_{ord(one):02X}" if one in '":/_#?;@&=+$,"[]<>%\n\\' else one for one in key))
