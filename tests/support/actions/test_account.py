"""What staff do to an account: preview, confirmation, exactly once, permission, audit."""

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.authentication import find_account_by_key
from accounts.models import Account, Balance, LedgerEntry
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import page, text_of

FORMS: dict[str, dict[str, str]] = {
    "transfer": {"source": "ohmygpt", "amount": "4", "reason": "asked"},
    "adjust": {"balance": "openhands", "direction": "add", "amount": "4", "reason": "asked"},
    "expiry": {"choice": "30", "reason": "asked"},
    "disable": {"reason": "asked"},
    "enable": {"reason": "asked"},
    "rotate-key": {"reason": "asked"},
    "limits": {"requests_per_minute": "5", "concurrent_requests": "", "reason": "asked"},
}
ALLOWED: dict[str | None, set[str]] = {
    "Viewer": set(),
    "Support": {"transfer", "disable", "enable", "rotate-key", "limits"},
    "Billing admin": set(FORMS),
    None: set(FORMS),
}


def url(slug: str, username: str = "alice") -> str:
    return f"/admin/support/do/account/{username}/{slug}/"


def field(response: Any, name: str) -> str:
    """The value of a hidden input of the dialog."""
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found, text_of(response)
    return found[1]


def preview(client: Client, slug: str, **fields: str) -> Any:
    """Open the dialog and send its form once."""
    token = field(client.get(url(slug)), "token")
    return client.post(url(slug), {**FORMS[slug], **fields, "token": token})


def confirmed(response: Any) -> dict[str, str]:
    """What the confirmation button of a preview sends."""
    inputs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode())
    return {**dict(inputs), "confirm": "1"}


def do(client: Client, slug: str, **fields: str) -> Any:
    return client.post(url(slug), confirmed(preview(client, slug, **fields)))


@pytest.fixture
def alice(insert_user: InsertUser) -> str:
    return insert_user("alice", credits=10, creditsNew=2.5, strange="kept")


def done_to_accounts() -> Any:
    """The audit trail without the tests' own log-ins."""
    return AuditEntry.objects.exclude(action="log-in")


def balances() -> tuple[Decimal, Decimal]:
    account = Account.objects.get(pk="alice")
    return account.credits_new, account.credits


def test_a_transfer_shows_before_and_after_then_happens_with_reason_and_audit(admin_client: Client, alice: str) -> None:
    shown = preview(admin_client, "transfer")
    assert "OpenHands credits $2.50 $6.50" in text_of(shown)
    assert "OhMyGPT credits $10.00 $6.00" in text_of(shown)
    assert balances() == (Decimal("2.5"), 10)

    response = admin_client.post(url("transfer"), confirmed(shown), follow=True)

    assert "Transferred $4.00 from OhMyGPT to OpenHands." in text_of(response)
    assert balances() == (Decimal("6.5"), 6)
    assert {(entry.actor, entry.reason) for entry in LedgerEntry.objects.all()} == {("staff:admin", "asked")}
    (entry,) = done_to_accounts().all()
    assert (entry.actor, entry.action, entry.target, entry.reason) == ("staff:admin", "transfer", "alice", "asked")
    assert (entry.before["ohmygpt"], entry.after["ohmygpt"], entry.outcome) == ("$10.00", "$6.00", "done")


def test_a_second_click_on_confirm_does_nothing_more(admin_client: Client, alice: str) -> None:
    data = confirmed(preview(admin_client, "transfer"))
    admin_client.post(url("transfer"), data)
    again = admin_client.post(url("transfer"), data, follow=True)
    assert "This was done already; nothing was done a second time." in text_of(again)
    assert balances() == (Decimal("6.5"), 6)
    assert done_to_accounts().count() == 1


def test_ten_clicks_at_once_transfer_once(admin_client: Client, alice: str, in_threads: InThreads) -> None:
    data = confirmed(preview(admin_client, "transfer"))
    answers = in_threads(10, lambda _: admin_client.post(url("transfer"), data).status_code)
    assert set(answers) == {302}
    assert balances() == (Decimal("6.5"), 6)
    assert done_to_accounts().filter(outcome="done").count() == 1


def test_two_staff_at_once_are_both_told_the_truth(log_in: LogIn, alice: str, in_threads: InThreads) -> None:
    staff = [log_in("Support", "sam"), log_in("Support", "sue")]
    forms = [confirmed(preview(client, "transfer", amount="6")) for client in staff]
    texts = in_threads(2, lambda index: text_of(staff[index].post(url("transfer"), forms[index], follow=True)))
    assert balances() == (Decimal("8.5"), 4)
    assert sorted("Transferred $6.00" in text for text in texts) == [False, True]
    refusal = next(text for text in texts if "Transferred $6.00" not in text)
    assert "insufficient OhMyGPT credits. Required: $6.00, Balance: $4.00" in refusal
    assert sorted(done_to_accounts().values_list("outcome", flat=True)) == ["done", "refused"]


def test_everything_moves_what_the_preview_showed(admin_client: Client, alice: str) -> None:
    shown = preview(admin_client, "transfer", amount="", is_all="on")
    assert "OhMyGPT credits $10.00 $0.00" in text_of(shown)
    credits.adjust(
        username="alice", balance=Balance.OHMYGPT, amount=Decimal(5), operation="a", actor="x", reason="meanwhile"
    )
    again = admin_client.post(url("transfer"), confirmed(shown))
    assert balances() == (Decimal("2.5"), 15)
    assert "OhMyGPT credits $15.00 $5.00" in text_of(again)
    admin_client.post(url("transfer"), confirmed(again))
    assert balances() == (Decimal("12.5"), 5)


def test_credits_held_by_a_request_in_flight_are_not_moved(admin_client: Client, alice: str) -> None:
    credits.hold(
        api_key=key_of("alice"), balance=Balance.OHMYGPT, request_id="r1", minimum=Decimal(8), maximum=Decimal(8)
    )
    text = text_of(preview(admin_client, "transfer"))
    assert "Only $2.00 of the OhMyGPT credits is available; $8.00 more is held for requests in flight." in text
    do(admin_client, "transfer", amount="2")
    credits.settle(username="alice", request_id="r1", balance=Balance.OHMYGPT, cost=Decimal(3))
    assert balances() == (Decimal("4.5"), 5)


def test_a_balance_that_shrank_after_the_preview_refuses_with_a_sentence(admin_client: Client, alice: str) -> None:
    data = confirmed(preview(admin_client, "transfer", amount="10"))
    credits.adjust(
        username="alice", balance=Balance.OHMYGPT, amount=Decimal(-9), operation="a", actor="x", reason="meanwhile"
    )
    response = admin_client.post(url("transfer"), data)
    assert "insufficient OhMyGPT credits. Required: $10.00, Balance: $1.00" in text_of(response)
    assert balances() == (Decimal("2.5"), 1)
    assert done_to_accounts().get().error.startswith("insufficient OhMyGPT credits")


def test_a_database_that_gives_up_is_told_in_a_sentence_and_the_dialog_can_be_sent_again(
    admin_client: Client, alice: str, refusing_database: Callable[..., None]
) -> None:
    data = confirmed(preview(admin_client, "transfer"))
    refusing_database("alice")
    response = admin_client.post(url("transfer"), data)
    assert "The database did not finish this, so probably nothing was done." in text_of(response)
    assert field(response, "token") == data["token"]
    assert [(entry.outcome, entry.target) for entry in done_to_accounts()] == [("refused", "alice")]
    refusing_database()
    for _ in range(2):
        admin_client.post(url("transfer"), data)
    assert balances() == (Decimal("6.5"), 6)


@pytest.mark.parametrize(
    ("slug", "fields", "sentence"),
    [
        ("transfer", {"amount": "10.01"}, "Only $10.00 of the OhMyGPT credits is available."),
        ("transfer", {"amount": ""}, "Enter an amount, or choose everything."),
        ("transfer", {"amount": "-1"}, "greater than or equal to"),
        ("transfer", {"amount": "NaN"}, "Enter a number."),
        ("transfer", {"amount": "0.000000001"}, "no more than 8 decimal places"),
        ("transfer", {"source": "both"}, "Select a valid choice"),
        ("transfer", {"reason": "  "}, "This field is required."),
        ("adjust", {"direction": "deduct"}, "Only $2.50 of the OpenHands credits can be deducted."),
        ("adjust", {"amount": "10000000"}, "less than or equal to"),
        ("adjust", {"amount": "1e7"}, "has an exponent"),
        ("adjust", {"amount": "1,5"}, "Write 1.5 for one and a half"),
        ("expiry", {"choice": "date", "date": ""}, "Choose a date."),
        ("disable", {"reason": ""}, "This field is required."),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_preview(
    admin_client: Client, alice: str, slug: str, fields: dict[str, str], sentence: str
) -> None:
    response = preview(admin_client, slug, **fields)
    assert sentence in text_of(response)
    assert 'name="confirm"' not in response.content.decode()
    assert balances() == (Decimal("2.5"), 10)


def test_an_impossible_date_is_refused_at_the_confirmation_too(admin_client: Client, alice: str) -> None:
    form = {**FORMS["expiry"], "choice": "date", "date": "2001-01-01T00:00"}
    sent = {**form, "token": field(admin_client.get(url("expiry")), "token"), "confirm": "1"}
    response = admin_client.post(url("expiry"), sent)
    assert "The expiry must be in the future" in text_of(response)
    assert Account.objects.get().expires_at is None


def test_expired_credits_cannot_be_moved(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10, expiresAt=datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    text = text_of(preview(admin_client, "transfer"))
    assert "They expired at 2026-11-20 12:00:00 UTC, and expired credits cannot be moved." in text


def test_preview_and_change_refuse_expired_credits_in_the_same_words(
    admin_client: Client, insert_user: InsertUser
) -> None:
    insert_user("alice", credits=10, creditsNew=2.5, expiresAt=timezone.now() + timedelta(hours=1))
    for slug in ("transfer", "adjust"):
        data = confirmed(preview(admin_client, slug))
        Account.objects.filter(pk="alice").update(expires_at=timezone.now() - timedelta(hours=1))
        refusals = [preview(admin_client, slug), admin_client.post(url(slug), data)]
        said = {re.search(r"The credits of .* cannot be moved\.", text_of(response))[0] for response in refusals}  # type: ignore[index]
        assert len(said) == 1
        assert said == {html.escape(done_to_accounts().get(action=slug).error)}
        Account.objects.filter(pk="alice").update(expires_at=timezone.now() + timedelta(hours=1))
    assert balances() == (Decimal("2.5"), 10)


def test_adjustments_add_and_deduct(admin_client: Client, alice: str) -> None:
    do(admin_client, "adjust", balance="ohmygpt", direction="deduct", amount="0.5")
    do(admin_client, "adjust", balance="openhands", direction="add", amount="0.00000001")
    assert balances() == (Decimal("2.50000001"), Decimal("9.5"))


def test_the_expiry_is_extended_and_removed(admin_client: Client, alice: str) -> None:
    do(admin_client, "expiry", choice="7")
    left = Account.objects.get().expires_at - timezone.now()
    assert timedelta(days=7, minutes=-2) < left <= timedelta(days=7)
    do(admin_client, "expiry", choice="date", date="2033-05-06T07:08")
    assert Account.objects.get().expires_at == datetime(2033, 5, 6, 7, 8, tzinfo=UTC)
    do(admin_client, "expiry", choice="never")
    assert Account.objects.get().expires_at is None
    assert done_to_accounts().filter(action="expiry").count() == 3


def test_an_expiry_dialog_does_not_undo_a_purchase_made_meanwhile(admin_client: Client, alice: str) -> None:
    data = confirmed(preview(admin_client, "expiry", choice="1"))
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay")
    response = admin_client.post(url("expiry"), data)
    assert "The expiry was changed meanwhile, perhaps by a purchase." in text_of(response)
    assert Account.objects.get().expires_at > timezone.now() + timedelta(days=6)


def test_disable_and_enable(admin_client: Client, alice: str, usersnew: Any) -> None:
    do(admin_client, "disable")
    assert usersnew.find_one()["isActive"] is False
    assert "Enable" in page(admin_client, "/admin/accounts/account/alice/change/")
    do(admin_client, "enable")
    assert usersnew.find_one()["isActive"] is True
    assert usersnew.find_one()["strange"] == "kept"


def test_a_replaced_key_is_shown_once_and_works(admin_client: Client, alice: str) -> None:
    data = confirmed(preview(admin_client, "rotate-key"))
    response = admin_client.post(url("rotate-key"), data)
    (key,) = set(re.findall(r"sk-trollllm-[0-9a-f]{64}", response.content.decode()))
    assert find_account_by_key(key).pk == "alice"
    assert "no-store" in response["Cache-Control"]

    again = admin_client.post(url("rotate-key"), data, follow=True)
    assert key not in again.content.decode()
    assert find_account_by_key(key).pk == "alice"
    assert key not in str(done_to_accounts().values_list())


def test_limits_are_set_and_reset(admin_client: Client, alice: str, usersnew: Any) -> None:
    assert "Requests per minute the platform&#x27;s 5" in text_of(preview(admin_client, "limits"))
    do(admin_client, "limits")
    assert usersnew.find_one()["requestsPerMinute"] == 5
    do(admin_client, "limits", requests_per_minute="")
    assert "requestsPerMinute" not in usersnew.find_one()


def test_a_forged_foreign_or_old_token_starts_over(admin_client: Client, alice: str, insert_user: InsertUser) -> None:
    insert_user("bob", credits=10)
    foreign = field(admin_client.get(url("transfer", "bob")), "token")
    for token in ("", "forged", foreign, field(admin_client.get(url("adjust")), "token")):
        response = admin_client.post(url("transfer"), {**FORMS["transfer"], "token": token, "confirm": "1"})
        assert "This dialog is too old." in text_of(response)
    assert balances() == (Decimal("2.5"), 10)


def test_a_dialog_is_a_fragment_and_sends_the_browser_on(admin_client: Client, alice: str) -> None:
    headers = {"HX-Request": "true"}
    response = admin_client.get(url("transfer"), headers=headers)
    assert b"<html" not in response.content
    data = confirmed(preview(admin_client, "transfer"))
    response = admin_client.post(url("transfer"), data, headers=headers)
    assert response["HX-Redirect"] == "/admin/accounts/account/alice/change/"


@pytest.mark.parametrize("role", list(ALLOWED))
@pytest.mark.parametrize("slug", list(FORMS))
def test_every_role_does_what_it_may_and_nothing_else_by_direct_post(
    log_in: LogIn, alice: str, usersnew: Any, role: str | None, slug: str
) -> None:
    client = log_in(role)
    before = usersnew.find_one()
    may = slug in ALLOWED[role]
    shown = client.get("/admin/accounts/account/alice/change/").content.decode()
    assert client.get(url(slug)).status_code == (200 if may else 403)
    if may:
        assert do(client, slug).status_code in (200, 302)
        assert done_to_accounts().get().outcome == "done"
    else:
        response = client.post(url(slug), {**FORMS[slug], "token": "x", "confirm": "1"})
        assert response.status_code == 403
        assert usersnew.find_one() == before
        assert done_to_accounts().get().outcome == "refused"
        assert (f'href="{url("transfer")}"' in shown) == ("transfer" in ALLOWED[role])


def test_strangers_are_sent_to_the_log_in_page(client: Client, alice: str) -> None:
    assert client.post(url("transfer"), {"confirm": "1"})["Location"].startswith("/admin/login/")


def test_an_account_or_action_that_is_not_there(admin_client: Client, alice: str) -> None:
    assert admin_client.get(url("transfer", "nobody")).status_code == 404
    assert admin_client.get(url("explode")).status_code == 404


def test_names_with_blanks_and_slashes_work(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user(" Old/Name", credits=3)
    body = admin_client.get("/admin/accounts/account/%20Old_2FName/change/").content.decode()
    address = re.search(r'href="([^"]+/transfer/)"', body)
    assert address
    assert "Old/Name" in page(admin_client, address[1])


def test_a_role_moves_no_more_than_its_limit(log_in: LogIn, alice: str, settings: Any) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(3)}
    client = log_in("Support")
    refused = preview(client, "transfer")
    assert "Your role may move at most $3.00 at once." in text_of(refused)
    again = client.post(url("transfer"), {**FORMS["transfer"], "token": field(refused, "token"), "confirm": "1"})
    assert "Your role may move at most $3.00 at once." in text_of(again)
    assert done_to_accounts().get().outcome == "refused"
    assert balances() == (Decimal("2.5"), 10)
    do(client, "transfer", amount="3")
    assert balances() == (Decimal("5.5"), 7)
    User.objects.get().groups.add(Group.objects.get(name="Billing admin"))
    do(client, "transfer", amount="4")
    assert balances() == (Decimal("9.5"), 3)


@pytest.mark.parametrize(
    ("granted", "to", "left"),
    [
        ("view_account", "role", 10),  # Says nothing about transfers.
        ("transfer_credits", "role", 6),
        ("transfer_credits", "user", 10),
    ],
)
def test_only_a_role_that_grants_the_action_lifts_the_limit(
    log_in: LogIn, alice: str, settings: Any, granted: str, to: str, left: int
) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(3), "Viewer": Decimal(2)}
    client = log_in("Support" if to == "role" else "Viewer")
    user, permission = User.objects.get(), Permission.objects.get(codename=granted)
    role = Group.objects.create(name="temporary")
    try:
        if to == "role":
            role.permissions.add(permission)
            user.groups.add(role)
        else:
            user.user_permissions.add(permission)
        do(client, "transfer", amount="4")
    finally:
        role.delete()
    assert balances()[1] == left


def test_an_expired_account_is_adjusted_after_its_expiry_is_set(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10, creditsNew=2.5, expiresAt=timezone.now() + timedelta(hours=1))
    data = confirmed(preview(admin_client, "adjust"))
    Account.objects.filter(pk="alice").update(expires_at=timezone.now() - timedelta(hours=1))
    for response in (preview(admin_client, "adjust"), admin_client.post(url("adjust"), data)):
        assert "have expired. Set the expiry first, then add or deduct." in text_of(response)
    assert balances() == (Decimal("2.5"), 10)
    do(admin_client, "expiry", choice="7")
    do(admin_client, "adjust")
    assert balances() == (4, 0)


def test_some_days_more_are_added_to_the_expiry_that_is_set(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    until = (timezone.now() + timedelta(days=2)).replace(microsecond=123_000)
    insert_user("alice", creditsNew=2.5, expiresAt=until)
    opened = admin_client.get(f"{url('expiry')}?choice=%2B3").content.decode()
    assert '<option value="+3" selected>' in opened
    shown = preview(admin_client, "expiry", choice="+3")
    assert credits.format_time(until) in text_of(shown)
    assert credits.format_time(until + timedelta(days=3)) in text_of(shown)
    assert admin_client.post(url("expiry"), confirmed(shown)).status_code == 302
    assert Account.objects.get(pk="alice").expiry == until + timedelta(days=3)
    # A purchase after the preview is not undone.
    shown = preview(admin_client, "expiry", choice="+7")
    usersnew.update_one({"_id": "alice"}, {"$set": {"expiresAt": until + timedelta(days=60)}})
    assert "Look at it again" in text_of(admin_client.post(url("expiry"), confirmed(shown)))
    assert Account.objects.get(pk="alice").expiry == until + timedelta(days=60)


def test_some_days_more_than_never_or_than_what_has_passed(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=2.5)
    assert "never expire, so there is no date to move" in text_of(preview(admin_client, "expiry", choice="+3"))
    assert "+3 days" not in page(admin_client, "/admin/accounts/account/alice/change/")
    insert_user("bob", creditsNew=2.5, expiresAt=timezone.now() - timedelta(days=9))
    token = field(admin_client.get(url("expiry", "bob")), "token")
    shown = admin_client.post(url("expiry", "bob"), {"choice": "+3", "reason": "asked", "token": token})
    assert "$2.50 $0.00" in text_of(shown)  # Credits that have expired do not come back.
    assert admin_client.post(url("expiry", "bob"), confirmed(shown)).status_code == 302
    left = Account.objects.get(pk="bob").expiry
    assert left is not None
    assert timedelta(days=2, hours=23) < left - timezone.now() <= timedelta(days=3)


def test_who_may_is_said_on_what_one_may_not(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=2.5, expiresAt=timezone.now() + timedelta(days=2))
    address = "/admin/accounts/account/alice/change/"
    shown = page(log_in("Support", "sue"), address)
    assert "+3 days +7 days Billing admin or Owner only" in shown
    assert "Set the expiry Billing admin or Owner only" in shown
    assert "Add or deduct credits Billing admin or Owner only" in shown
    viewed = page(log_in("Viewer", "vera"), address)
    assert "Transfer credits Billing admin or Owner or Support only" in viewed
    assert " only" not in page(log_in("Billing admin", "bill"), address).split("API keys")[0].split("+7 days")[1]
    group = Group.objects.create(name="Night shift")
    group.permissions.add(Permission.objects.get(codename="set_expiry"))
    try:
        assert "Set the expiry Billing admin or Night shift or Owner only" in page(log_in("Support", "sid"), address)
    finally:
        group.delete()
    roles = Group.objects.filter(name__in=["Billing admin", "Owner"])
    for role in roles:
        role.permissions.remove(Permission.objects.get(codename="set_expiry"))
    try:
        assert "Set the expiry Superusers only" in page(log_in("Support", "sal"), address)
    finally:
        for role in roles:
            role.permissions.add(Permission.objects.get(codename="set_expiry"))
