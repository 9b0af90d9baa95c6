"""Accounts as support staff see them, and the read-only ledger."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.authentication import find_any_account_by_key
from accounts.errors import BillingError, InvalidApiKey
from accounts.keys import mask_key
from accounts.models import Account, Balance, LedgerEntry, Role
from accounts.needs_repair import problems_of_account
from accounts.registration import create_account
from border.digits import is_digits
from proxy.api.addresses import port_of
from support.admin.base import (
    BigCollectionAdmin,
    ReadOnlyAdmin,
    first_match,
    name_is,
    name_starts_with,
    starts_with,
)
from support.admin.display import (
    BALANCE_COLOURS,
    account_link,
    account_url,
    badge,
    choice_badge,
    in_words,
    list_url,
    text_of,
    time_of,
    unreadable_of,
    usd,
)
from support.admin.edits import RepairForm
from support.admin.filters import (
    FIELDS,
    SOON,
    BalanceRangeFilter,
    DayRangeFilter,
    ExpiryFilter,
    OhMyGPTFilter,
    OpenHandsFilter,
    StatusFilter,
    UnreadableFilter,
)
from support.search.orders import payments_with_code

BALANCE_LABELS = {balance: f"{balance.label} credits (port {port_of(balance)})" for balance in Balance}
WHOLE_KEY_LENGTH = 32


def expiry_badge(account: Account, now: datetime | None = None) -> SafeString:
    """When the credits expire, in words and in a colour that says whether anybody must act."""
    now = now or timezone.now()
    if problem := unreadable_of(account, "expires_at") or unreadable_of(account, "expires_at_new"):
        return problem
    if account.expiry is None:
        return badge("Never expires")
    left = account.expiry - now
    if left <= timedelta():
        return badge(f"Expired {in_words(left)}", "danger")
    if left >= timedelta(days=1):
        return badge(f"{left.days} day{'s' if left.days > 1 else ''} left", "success" if left > 2 * SOON else "warning")
    return badge(f"Expires {in_words(left)}", "warning")


def status_badge(account: Account) -> SafeString:
    """Whether the account can be used at all."""
    if problems_of_account(account):
        return badge("Needs repair", "danger")
    if not account.is_active:
        return badge("Disabled", "danger")
    if account.review_since is not None:
        return badge("Under review", "danger")
    return badge("Not converted", "danger") if account.is_migrated is False else badge("Active", "success")


def masked_key(account: Account) -> str:
    """Enough of the API key to recognise it; never the key, nor its hash."""
    if not account.unreadable.keys().isdisjoint(("api_key_hash", "legacy_api_key", "api_key_prefix")):
        return "unreadable"
    if account.legacy_api_key:
        return mask_key(account.legacy_api_key)
    return (account.api_key_prefix or "set (prefix unknown)") if account.api_key_hash else "none"


def looks_like_a_key(text: str) -> bool:
    return len(text) >= WHOLE_KEY_LENGTH and text.startswith("sk-") and "…" not in text


def to_account_of_key(request: HttpRequest, key: str) -> HttpResponseRedirect:
    """To the page of the account with this key, disabled or not; back to the list with a message if none has it."""
    try:
        account = find_any_account_by_key(key)
    except InvalidApiKey:
        messages.warning(request, "No account has this API key. It may have been replaced.")
        return HttpResponseRedirect(list_url(Account))
    return HttpResponseRedirect(account_url(account.pk))


class AccountForm(RepairForm):
    def clean_discord_id(self) -> str | None:
        """The model's rule, in the digits of ASCII alone."""
        text: str | None = self.cleaned_data["discord_id"]
        if text and not is_digits(text):
            raise ValidationError("A Discord id has 17 to 19 digits.")
        return text


@admin.register(Account)
class AccountAdmin(BigCollectionAdmin):
    """Find an account, see what it has, change its role or Discord id. Money is read-only here."""

    form = AccountForm
    search_help_text = "Name, API key or its first characters, Discord id, order code"
    list_display = ("name", "status", "openhands_usd", "ohmygpt_usd", "expiry", "key", "purchased")
    list_display_links = ("name",)
    actions = ("transfer_selected", "expiry_selected", "disable_selected", "enable_selected")
    list_before_template = "support/list_sums.html"
    list_filter = (
        ExpiryFilter,
        StatusFilter,
        OpenHandsFilter,
        ("credits_new", BalanceRangeFilter),
        OhMyGPTFilter,
        ("credits", BalanceRangeFilter),
        UnreadableFilter,
    )
    sortable_by = ("name", "expiry")
    ordering = ("username",)
    readonly_fields = (
        "openhands_used_usd",
        "ohmygpt_used_usd",
        "expires",
        "purchased",
        "referral_usd",
        "tokens_user_new",
        "total_input_tokens",
        "total_output_tokens",
        "key",
        "key_made",
        "requests_per_minute",
        "concurrent_requests",
        "created",
        "last_login",
    )
    fieldsets = (
        ("Account", {"fields": ("username", "role", "discord_id")}),
        (
            "API key and limits",
            {
                "classes": ("tab",),
                "fields": (("key", "key_made"), ("requests_per_minute", "concurrent_requests")),
            },
        ),
        (
            "Use since the account was created",
            {
                "classes": ("tab",),
                "fields": (
                    ("openhands_used_usd", "ohmygpt_used_usd"),
                    ("tokens_user_new", "referral_usd"),
                    ("total_input_tokens", "total_output_tokens"),
                ),
            },
        ),
        ("Dates", {"classes": ("tab",), "fields": (("purchased", "expires"), ("created", "last_login"))}),
    )
    add_fieldsets = ((None, {"fields": ("username", "role", "discord_id")}),)

    name = text_of("username", "username", ordering="username")
    openhands_usd = usd("credits_new", BALANCE_LABELS[Balance.OPENHANDS])
    ohmygpt_usd = usd("credits", BALANCE_LABELS[Balance.OHMYGPT])
    openhands_used_usd = usd("credits_new_used", "OpenHands credits used")
    ohmygpt_used_usd = usd("credits_used", "OhMyGPT credits used")
    referral_usd = usd("ref_credits", "Referral credits")
    purchased = time_of("purchased_at", "last purchase")
    expires = time_of("expiry", "credits expire")
    key_made = time_of("api_key_created_at", "key created")
    created = time_of("created_at", "account created")
    last_login = time_of("last_login_at", "last log-in")

    @admin.display(description="status")
    def status(self, account: Account) -> str:
        return status_badge(account)

    @admin.display(description="expiry", ordering="expires_at")
    def expiry(self, account: Account) -> str:
        return expiry_badge(account)

    @admin.display(description="API key")
    def key(self, account: Account) -> str:
        return format_html('<span class="nowrap">{}</span>', masked_key(account))

    def has_transfer_permission(self, request: HttpRequest) -> bool:
        return _may(request, "support.transfer_credits")

    def has_expiry_permission(self, request: HttpRequest) -> bool:
        return _may(request, "support.set_expiry")

    def has_status_permission(self, request: HttpRequest) -> bool:
        return _may(request, "support.set_status")

    @admin.action(description="Transfer credits …", permissions=["transfer"])
    def transfer_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _open_bulk(queryset, "transfer")

    @admin.action(description="Set the expiry …", permissions=["expiry"])
    def expiry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _open_bulk(queryset, "expiry")

    @admin.action(description="Disable …", permissions=["status"])
    def disable_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _open_bulk(queryset, "disable")

    @admin.action(description="Enable …", permissions=["status"])
    def enable_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _open_bulk(queryset, "enable")

    unreadable_note = (
        "It is kept as it is stored. While the status says “Needs repair”, its requests are refused and no credits of "
        "it move: an engineer repairs the document."
    )

    def find(self, text: str) -> Q:
        """Accounts by name, by the first characters of their key, by Discord id, or by an order code."""
        if text.startswith("sk-"):
            # No more than pages show of a key: a longer prefix would let one find it letter by letter.
            prefix = text[:16].rstrip("….")
            return starts_with("api_key_prefix", prefix) | starts_with("legacy_api_key", prefix)
        condition = name_starts_with("username", text)
        condition = condition | Q(discord_id=text) if is_digits(text) else condition
        if Account.objects.filter(condition).exists():
            return condition
        owners = [payment.user_id for payment in payments_with_code(text) if payment.user_id]
        return Q(pk__in=owners) if owners else condition

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """By the index that serves the filter."""
        for balance, name in FIELDS.items():
            if request.GET.get(balance.value) == "zero" and request.GET.get("expiry"):
                continue  # Those with $0 are in no order by it.
            if any(request.GET.get(parameter) for parameter in (balance.value, f"{name}_from", f"{name}_to")):
                return (name,) if request.GET.get(balance.value) == "debt" else (f"-{name}",)
        return ("expires_at",) if request.GET.get("expiry") else ("username",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A pasted whole key leads straight to its account, so that no page or link repeats the key."""
        text = request.GET.get("q", "").strip()
        if looks_like_a_key(text) and self.has_view_permission(request):
            return to_account_of_key(request, text)
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().add_view(request, form_url, extra_context)
        except BillingError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        account = kwargs.get("obj")
        if account is not None:
            # Its lists are those of the other admins, which import this one for the names of the balances.
            from support.pages.account_tabs import context_of

            context |= {"summary": summary_of(account)} | context_of(request, account, is_form=request.method == "POST")
        context["show_save_and_add_another"] = False
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, "username"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """A new account comes from the one function that makes accounts; an old one saves what was changed."""
        if change:
            obj.save(update_fields=form.names_to_save())
            return
        _, api_key = create_account(username=obj.username, role=Role(obj.role or Role.USER), discord_id=obj.discord_id)
        request.new_api_key = api_key  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Account, post_url_continue: str | None = None) -> HttpResponse:
        """Show the new key, in this one response: not in a message, which would travel in a cookie."""
        return show_key_once(self, request, obj, request.new_api_key)  # type: ignore[attr-defined]


def _may(request: HttpRequest, permission: str) -> bool:
    return isinstance(request.user, User) and request.user.has_perm(permission)


def _open_bulk(queryset: Any, slug: str) -> HttpResponse:
    """To the page that asks, previews and does it for the selected accounts (at most a page of the list)."""
    names = list(queryset.order_by("pk").values_list("pk", flat=True)[: AccountAdmin.list_per_page])
    return HttpResponseRedirect(f"{reverse('support:bulk', args=(slug,))}?{urlencode({'account': names}, doseq=True)}")


def summary_of(account: Account) -> dict[str, Any]:
    """What the top of an account's page says: both balances with what each pays for, held credits, and the expiry."""
    return {
        "balances": [
            {
                "label": BALANCE_LABELS[balance],
                "pays_for": f"Pays for {balance.label} requests on port {port_of(balance)} only.",
                "available": account.balance(balance),
                "problem": unreadable_of(account, FIELDS[balance]),
                "held_problem": unreadable_of(account, "holds"),
                "held": account.held(balance),
                "requests_in_flight": sum(hold["balance"] == balance for hold in account.holds.values()),
                "is_expired": account.is_expired(),
            }
            for balance in Balance
        ],
        "expiry": expiry_badge(account),
        "expires_at": account.expiry,
        "status": status_badge(account),
        "key": masked_key(account),
        "discord_problem": unreadable_of(account, "discord_id"),
    }


def show_key_once(model_admin: Any, request: HttpRequest, account: Account, api_key: str) -> TemplateResponse:
    """The page that shows a key that was just made; it cannot be shown again."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"API key of {account.username}",
        "api_key": api_key,
        "account": account,
        "account_url": account_url(account.pk),
    }
    response = TemplateResponse(request, "support/key_shown_once.html", context)
    response["Cache-Control"] = "no-store"
    return response


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    """Every movement of credits but the use by requests, which stands in the request log."""

    search_help_text = "Account name, operation id or order code"
    list_display = ("time", "account_page", "balance_name", "kind_name", "amount_usd", "after_usd", "actor", "reason")
    list_display_links = ("time",)
    list_filter = ("balance", "kind", ("created_at", DayRangeFilter))
    ordering = ("-created_at",)
    fields = (
        ("account_page", "time"),
        ("balance_name", "kind_name"),
        ("amount_usd", "after_usd"),
        ("actor", "operation"),
        "reason",
    )
    readonly_fields = ("account_page", "time", "balance_name", "kind_name", "amount_usd", "after_usd")

    account_page = account_link("account_id")
    time = time_of("created_at", "time")
    balance_name = choice_badge("balance", "balance", BALANCE_COLOURS)
    kind_name = choice_badge("kind", "kind", {"refund": "danger", "chargeback": "danger", "expiry": "warning"})
    amount_usd = usd("amount", "amount", is_signed=True)
    after_usd = usd("balance_after", "balance after")

    def find(self, text: str) -> Q:
        found = first_match(LedgerEntry.objects, Q(operation=text), name_is("account_id", text))
        if found is None and (operations := [f"payment:{payment.pk}" for payment in payments_with_code(text)]):
            return Q(operation__in=operations)
        return found or name_is("account_id", text)
