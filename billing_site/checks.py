"""System checks for what would hurt in production. `manage.py check --deploy --database default` runs them all."""

import re
from collections.abc import Sequence
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections
from pymongo.errors import PyMongoError

from accounts.authentication import count_plain_keys
from accounts.expiry import count_undecided
from billing_site import cors
from mongo.backend.base import DatabaseWrapper
from mongo.errors import DATABASE_FAILURES

MINIMUM_SECRET_LENGTH = 32
LARGEST_MAX_KEYS = 200
LONGEST_KEPT_DAYS = 400


@register(Tags.database)
def check_transactions(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Transactions need a replica set or a sharded cluster; without one no credit can be moved."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        try:
            hello = cast(DatabaseWrapper, connections[alias]).database.client.admin.command("hello")
        except PyMongoError as error:
            messages.append(
                Error(f"The database cannot be reached: {error}", hint="Check DATABASE_URL.", id="billing.E001")
            )
            continue
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            messages.append(
                Error(
                    "MongoDB runs as a standalone server: no transactions, so credits cannot be moved.",
                    hint="Start mongod with --replSet and run rs.initiate() once; one node is enough.",
                    id="billing.E002",
                )
            )
        if hello.get("maxWireVersion", 0) < 17:
            messages.append(Error("MongoDB is older than 6.0.", hint="Upgrade the server.", id="billing.E003"))
    return messages


@register()
def check_date_order(**kwargs: Any) -> list[CheckMessage]:
    """A date must have one meaning."""
    if settings.DATE_ORDER in ("dmy", "iso"):
        return []
    hint = "Set DATE_ORDER to dmy or to iso."
    return [Error(f"DATE_ORDER is {settings.DATE_ORDER!r}, which nothing reads.", hint=hint, id="billing.E021")]


@register(Tags.database, deploy=True)
def check_plain_keys(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """API keys that old documents hold as plain text: each can be read in the database, and once in its slow log."""
    if not databases:
        return []
    try:
        count = count_plain_keys()
    except DATABASE_FAILURES:
        return []  # `check_transactions` says that the database cannot be reached.
    if not count:
        return []
    accounts = "1 account holds its API key" if count == 1 else f"{count} accounts hold their API keys"
    return [
        Warning(
            f"{accounts} as plain text, so a key that no hash finds is looked up as it is, and may stand in the "
            "server's log of slow commands.",
            hint="Once no roll-back needs them: python manage.py hash_api_keys. The keys stay valid.",
            id="billing.W016",
        )
    ]


@register(Tags.database, deploy=True)
def check_undecided(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Accounts of the replaced system that nobody has decided on yet: they are refused, or kept from expiring."""
    if not databases:
        return []
    try:
        split, not_converted = count_undecided()
    except DATABASE_FAILURES:
        return []  # `check_transactions` says that the database cannot be reached.
    if not split and not not_converted:
        return []
    return [
        Warning(
            f"Accounts of the replaced system are undecided: {split} with a later second expiry, which the sweep "
            f"leaves alone, and {not_converted} that were never converted, whose requests are refused.",
            hint="python manage.py inspect says whether they stay so by a decision. If not: manage.py take_over.",
            id="billing.W017",
        )
    ]


@register()
def check_hold_age(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A hold must outlive the longest request, or the sweeper gives away what is still being used."""
    if settings.HOLD_MAX_AGE_SECONDS > settings.LONGEST_REQUEST_SECONDS:
        return []
    return [
        Error(
            f"HOLD_MAX_AGE_SECONDS is {settings.HOLD_MAX_AGE_SECONDS:g}, but a request can take "
            f"{settings.LONGEST_REQUEST_SECONDS:g} s: the sweeper would give up requests that still run.",
            hint="Raise it, or lower REQUEST_MAX_SECONDS or UPSTREAM_READ_TIMEOUT_SECONDS.",
            id="billing.E004",
        )
    ]


@register()
def check_room_for_bodies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """One key gets half of the room for bodies; the largest body must fit beside another one."""
    if settings.BODIES_IN_FLIGHT_BYTES >= 2 * settings.MAX_REQUEST_BYTES:
        return []
    return [
        Error(
            f"BODIES_IN_FLIGHT_BYTES is {settings.BODIES_IN_FLIGHT_BYTES:,}, less than two bodies of "
            f"MAX_REQUEST_BYTES, {settings.MAX_REQUEST_BYTES:,}: large requests would be refused as soon as any other "
            "large one runs.",
            hint="Raise it, or lower MAX_REQUEST_BYTES.",
            id="billing.E007",
        )
    ]


@register()
def check_missing_endpoints(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A name that is none switches nothing off, and its requests would go to an upstream that cannot serve them."""
    return [
        Error(
            f"{upstream.upper()}_MISSING_ENDPOINTS names {name!r}, which is no endpoint that can be missing.",
            hint=f"Use {', '.join(sorted(settings.OPTIONAL_ENDPOINTS))}.",
            id="billing.E008",
        )
        for upstream, missing in settings.MISSING_ENDPOINTS.items()
        for name in sorted(missing - settings.OPTIONAL_ENDPOINTS)
    ]


@register()
def check_public_addresses(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Origins that no browser sends allow nobody; an address that is none misleads who is told it."""
    messages: list[CheckMessage] = [
        Error(
            f"CORS_ORIGINS has {origin!r}, which is no origin: a browser never sends it.",
            hint="Write https://host or https://host:port in small letters, without a path or the usual port; or *.",
            id="billing.E009",
        )
        for origin in sorted(settings.CORS_ORIGINS)
        if origin != cors.ANY_ORIGIN and not cors.is_origin(origin)
    ]
    messages += [
        Error(
            f"{upstream.upper()}_PUBLIC_URL is {url!r}: customers would be told an address that is none.",
            hint="Write https://host, https://host:port or either with a path.",
            id="billing.E017",
        )
        for upstream, url in settings.PUBLIC_URLS.items()
        if url and not re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", url)
    ]
    return messages


@register()
def check_most_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The keys of an account stand in its document, which every request reads and writes."""
    if 0 <= settings.MAX_KEYS <= LARGEST_MAX_KEYS:
        return []
    return [Error("MAX_KEYS is no count of keys.", hint=f"Set it to 0 to {LARGEST_MAX_KEYS}.", id="billing.E018")]


@register()
def check_kept_refusals(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What is kept of refusals is bounded, whatever customers send; below 0 the bounds would mean nothing."""
    messages: list[CheckMessage] = []
    if not 1 <= settings.REFUSALS_KEPT_DAYS <= LONGEST_KEPT_DAYS:
        hint = f"Set it to 1 to {LONGEST_KEPT_DAYS}."
        messages.append(Error("REFUSALS_KEPT_DAYS is no number of days.", hint=hint, id="billing.E019"))
    if settings.REFUSALS_KEPT_PER_MINUTE < 0 or settings.REFUSALS_KEPT_PER_DAY < 0:
        words = "REFUSALS_KEPT_PER_MINUTE or REFUSALS_KEPT_PER_DAY is below 0."
        messages.append(Error(words, hint="Set it to 0 to keep none.", id="billing.E019"))
    return messages


@register(Tags.security)
def check_secrets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Secrets that are missing or weak, and debug output."""
    if settings.ENVIRONMENT != "production":
        return []
    messages: list[CheckMessage] = []
    if settings.DEBUG:
        messages.append(
            Error(
                "DEBUG is on in production: errors would show settings and code.",
                hint="Unset DEBUG.",
                id="billing.E010",
            )
        )
    if len(settings.SECRET_KEY) < MINIMUM_SECRET_LENGTH or len(set(settings.SECRET_KEY)) < 5:
        messages.append(
            Error(
                f"SECRET_KEY is shorter than {MINIMUM_SECRET_LENGTH} characters or not random.",
                hint='python -c "import secrets; print(secrets.token_urlsafe(50))"',
                id="billing.E011",
            )
        )
    if not settings.SEPAY_API_KEYS:
        messages.append(
            Warning("SEPAY_API_KEYS is empty: the SePay webhook answers 503.", hint="Set it.", id="billing.W012")
        )
    if not (settings.SEPAY_ACCOUNT_NUMBER and settings.SEPAY_BANK):
        messages.append(
            Warning(
                "SEPAY_ACCOUNT_NUMBER or SEPAY_BANK is empty: nobody can order by bank transfer.",
                hint="Set both to the account that customers pay to.",
                id="billing.W015",
            )
        )
    messages += [
        Warning(f"{name.upper()}_BASE_URL is empty: that upstream answers 502.", hint="Set it.", id="billing.W013")
        for name, upstream in settings.UPSTREAMS.items()
        if not upstream["base_url"]
    ]
    if not settings.HAS_TLS:
        messages.append(
            Warning("HAS_TLS is off: session cookies travel in the clear.", hint="Serve over HTTPS.", id="billing.W014")
        )
    return messages
