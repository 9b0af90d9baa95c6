"""Which columns of which list can be exported; nothing secret is among them."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.utils import timezone

from accounts.authentication import find_any_account_by_key
from accounts.errors import InvalidApiKey
from accounts.keys import mask_key, mask_keys_in
from accounts.models import Account, LedgerEntry
from payments.models import Payment, WebhookEvent
from proxy.models import RefusedRequest, RequestLog
from support.access.roles import sees_margin
from support.admin.display import list_url
from support.audit.actors import actor_of
from support.audit.trail import record
from support.models import AuditEntry
from support.pages.csv_export import stream_csv

COLUMNS_OF_OWNERS = frozenset({"own_cost", "own_cost_source"})
"""What only those may export who may see margins."""
MAX_ROWS = 1_000_000
MAX_WORDS = 20
"""Of a search that are looked up as keys."""
COLUMNS: dict[type[Model], tuple[str, ...]] = {
    Account: (
        "username",
        "role",
        "is_active",
        "credits_new",
        "credits",
        "credits_new_used",
        "credits_used",
        "tokens_user_new",
        "expires_at",
        "purchased_at",
        "created_at",
        "discord_id",
    ),
    LedgerEntry: (
        "created_at",
        "account_id",
        "balance",
        "kind",
        "amount",
        "balance_after",
        "actor",
        "reason",
        "operation",
    ),
    Payment: (
        "created_at",
        "order_code",
        "user_id",
        "credits",
        "amount",
        "currency",
        "status",
        "provider",
        "provider_transaction_id",
        "sepay_transaction_id",
        "credited",
        "bonus",
        "credits_before",
        "credits_after",
        "completed_at",
    ),
    WebhookEvent: ("received_at", "provider", "event_id", "is_verified", "status", "attempts", "error"),
    RequestLog: (
        "created_at",
        "id",
        "user_id",
        "credit_type",
        "model",
        "input_tokens",
        "output_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "cache_read_tokens",
        "input_audio_tokens",
        "input_image_tokens",
        "output_audio_tokens",
        "output_image_tokens",
        "cost",
        "uncollected",
        "own_cost",
        "own_cost_source",
        "status_code",
        "is_success",
        "latency_ms",
    ),
    RefusedRequest: (
        "created_at",
        "id",
        "user_id",
        "upstream",
        "endpoint",
        "model",
        "status_code",
        "code",
        "needed",
        "available",
        "held",
        "message",
    ),
    AuditEntry: ("at", "actor", "action", "target", "reason", "outcome", "error"),
}


def export_list(request: HttpRequest, app: str, model: str) -> StreamingHttpResponse | HttpResponseRedirect:
    """The list of a model as CSV, with the search and the filters of its address. Needs the permission to export."""
    found = next((one for one in COLUMNS if one._meta.label_lower == f"{app}.{model}"), None)
    if found is None:
        raise Http404
    model_admin = admin.site.get_model_admin(found)
    user = cast(User, request.user)
    if not user.has_perm("support.export_lists") or not model_admin.has_view_permission(request):
        raise PermissionDenied
    shown = _filtered(request, model_admin)
    if shown.problems:
        messages.error(request, _without_keys(f"Nothing was exported. {' '.join(shown.problems)}"))
        asked = [(name, _without_keys(value)) for name, values in request.GET.lists() for value in values]
        return HttpResponseRedirect(list_url(found) + ("" if shown.has_undeclared else f"?{urlencode(asked)}"))
    queryset = shown.queryset
    asked = [(name, value) for name, values in request.GET.lists() for value in values]
    filters = "&".join(f"{_without_keys(name)}={_without_keys(value)}" for name, value in asked)
    record(actor=actor_of(user), action="export", target=found.__name__, reason=filters[:500])
    columns = tuple(one for one in COLUMNS[found] if one not in COLUMNS_OF_OWNERS or sees_margin(user))
    name = f"{model}-{timezone.now():%Y%m%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        stream_csv(columns, _rows(queryset, columns)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _without_keys(text: str) -> str:
    """A part of the address as the audit may keep it: what has the form of a key, or is the key of an account, masked.

    Keys of old accounts can have any form.
    """
    for word in text.split()[:MAX_WORDS]:
        with contextlib.suppress(InvalidApiKey):
            find_any_account_by_key(word)
            text = text.replace(word, mask_key(word))
    return mask_keys_in(text)


def _filtered(request: HttpRequest, model_admin: Any) -> Any:
    """The list that the address shows a page of."""
    query = request.GET.copy()
    query.pop(PAGE_VAR, None)
    request.GET = query  # type: ignore[assignment]
    return model_admin.get_changelist_instance(request)


def _rows(queryset: Any, columns: tuple[str, ...]) -> Iterator[list[Any]]:
    """The rows in the order of the list; the last one says so where there are more than `MAX_ROWS`."""
    for index, found in enumerate(queryset[: MAX_ROWS + 1].iterator(chunk_size=100)):
        if index == MAX_ROWS:
            yield [f"The export ends here, after {MAX_ROWS:,} rows; there are more. Narrow the list by its filters."]
            return
        odd = getattr(found, "unreadable", {})
        yield (
            [odd.get(column) or getattr(found, column) for column in columns]
            if odd
            else [getattr(found, column) for column in columns]
        )
