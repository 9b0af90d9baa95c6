"""Silence is an alarm: what the dashboard says when webhooks, the pull or the sweeper have stopped."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from payments.errors import ProviderUnavailable
from payments.inbox.alarms import PullHealth, read_health
from payments.inbox.process import process_due_events
from payments.inbox.pull import pull_due_payments, pull_payments
from payments.models import PullState, WebhookEvent
from tests.factories import Deliver, MakeOrder
from tests.pages import page
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay

SILENT = "SePay: no webhook for"
OVERDUE = "Check that manage.py sweep runs."


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def dashboard(client: Client) -> str:
    return page(client, "/admin/")


def pull_health() -> PullHealth:
    (found,) = [one for one in read_health().pulls if one.provider == "sepay"]
    return found


def test_webhooks_that_fell_silent_while_the_pull_finds_payments(
    admin_client: Client, sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder
) -> None:
    deliver(transfer(make_order().order_code))
    WebhookEvent.objects.update(received_at=ago(hours=2))
    pull_payments()
    assert SILENT not in dashboard(admin_client)  # A quiet night.
    sepay.add(transfer(make_order().order_code))
    sepay.add(transfer("nobody"))
    pull_payments()
    assert f"{SILENT} 2 hours, but the pull found 2 since. Check the webhook's address" in dashboard(
        admin_client
    ).replace("&#x27;", "'")
    deliver(transfer(make_order().order_code))
    assert SILENT not in dashboard(admin_client)


def test_a_short_silence_is_none(
    admin_client: Client, sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    deliver(transfer(make_order().order_code))
    WebhookEvent.objects.update(received_at=ago(minutes=50))
    sepay.add(transfer(make_order().order_code))
    pull_payments()
    assert SILENT not in dashboard(admin_client)
    settings.WEBHOOK_SILENCE_MINUTES = 45
    assert f"{SILENT} 50 minutes" in dashboard(admin_client)


def test_webhooks_that_never_came(admin_client: Client, sepay: FakeSePay, make_order: MakeOrder, settings: Any) -> None:
    sepay.add(transfer(make_order().order_code))
    pull_payments()
    assert "SePay: no webhook has ever come, but the pull found 1 since." in dashboard(admin_client)
    settings.SEPAY_API_KEYS = settings.SEPAY_WEBHOOK_SECRETS = []  # Its webhook is off on purpose.
    assert "has ever come" not in dashboard(admin_client)


def test_what_another_provider_sends_does_not_count(
    admin_client: Client, sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder
) -> None:
    deliver(transfer(make_order().order_code))
    WebhookEvent.objects.update(provider="stripe", event_id="evt_1")
    sepay.add(transfer(make_order().order_code))
    pull_payments()
    health = {one.provider: one for one in read_health().webhooks}
    assert (health["sepay"].is_silent, health["sepay"].pulled_since, health["sepay"].last_at) == (True, 1, None)
    assert (health["stripe"].is_silent, health["stripe"].pulled_since) == (False, 0)


def test_a_pull_that_fails_says_since_when_and_why(admin_client: Client, sepay: FakeSePay) -> None:
    pull_payments()
    assert "the pull fails" not in dashboard(admin_client)
    token, sepay.token = sepay.token, "another"
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            pull_payments()
    first = PullState.objects.get(pk="sepay").failing_since
    with pytest.raises(ProviderUnavailable):
        pull_payments()
    assert PullState.objects.get(pk="sepay").failing_since == first
    PullState.objects.update(failing_since=ago(hours=3))
    shown = dashboard(admin_client)
    assert "SePay: the pull fails for 3 hours (" in shown
    assert "401" in shown
    assert "SePay: the pull has not run" not in shown
    sepay.token = token
    pull_payments()
    assert "the pull fails" not in dashboard(admin_client)
    assert PullState.objects.get(pk="sepay").error is None


def test_a_pull_that_nobody_makes(admin_client: Client, sepay: FakeSePay) -> None:
    assert f"SePay: the pull has not run yet. {OVERDUE}" in dashboard(admin_client)
    pull_due_payments()
    assert "the pull has not run" not in dashboard(admin_client)
    PullState.objects.update(next_at=ago(hours=2), succeeded_at=ago(hours=2))
    assert f"SePay: the pull has not run for 2 hours. {OVERDUE}" in dashboard(admin_client)


def test_a_pull_that_begins_and_never_ends(db: None, sepay: FakeSePay) -> None:
    pull_due_payments()
    PullState.objects.update(succeeded_at=ago(hours=2))
    assert pull_health().is_overdue


def test_a_state_of_an_earlier_release_is_no_alarm(db: None, sepay: FakeSePay) -> None:
    PullState(provider="sepay", next_at=datetime.now(UTC) + timedelta(minutes=5)).save(force_insert=True)
    assert not pull_health().is_overdue
    PullState.objects.update(next_at=ago(hours=1))
    assert pull_health().is_overdue


def test_without_a_pull_there_is_no_alarm_about_it(admin_client: Client) -> None:
    assert read_health().pulls == ()
    assert "the pull" not in dashboard(admin_client)


def test_a_queue_that_nobody_works_on(admin_client: Client, deliver: Deliver, make_order: MakeOrder) -> None:
    for _ in range(3):
        deliver(transfer(make_order().order_code))
    events = WebhookEvent.objects.order_by("received_at")
    events.update(status="received", next_attempt_at=ago(minutes=4))
    assert "Events that are due" not in dashboard(admin_client)
    WebhookEvent.objects.filter(pk=events[0].pk).update(next_attempt_at=ago(minutes=12))
    WebhookEvent.objects.filter(pk=events[2].pk).update(next_attempt_at=ago(minutes=-30))
    assert f"Events that are due: 2 of 3 waiting, the oldest for 12 minutes. {OVERDUE}" in dashboard(admin_client)
    queue = read_health().queue
    assert (queue.waiting, queue.due, queue.is_stuck) == (3, 2, True)
    process_due_events()
    assert "Events that are due" not in dashboard(admin_client)
