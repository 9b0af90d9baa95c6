"""The site's time zone: what staff read and type, what filters mean, and what is one day; the API stays with UTC."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from books.business import read_days
from books.daily_figures import count_day
from books.models import DailyFigures
from books.timeline import read_timeline
from mongo.days import BEGINNING, END, day_of, end_of, show_with_zone, start_of
from proxy.billing.refused_requests import read_not_kept
from proxy.models import RefusalCount
from support.typed import moment_in_words
from tests.factories import InsertUser
from tests.pages import page
from tests.support.actions.test_account import confirmed, preview, url

EVENING = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
"""The 20th in London, the 21st in Vietnam."""
LOGS = "/admin/proxy/requestlog/"


@pytest.fixture(autouse=True)
def in_vietnam(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Ho_Chi_Minh"


@pytest.fixture
def logs(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, createdAt=EVENING - timedelta(days=9))
    document = {"userId": "alice", "creditType": "openhands", "model": "opus", "creditsCost": 0.5, "isSuccess": True}
    connection.database["request_logs"].insert_many(
        [{**document, "_id": f"req_{number}", "createdAt": EVENING - timedelta(hours=number)} for number in (0, 3)]
    )


def test_a_list_shows_and_filters_by_days_of_the_zone(admin_client: Client, logs: None) -> None:
    shown = page(admin_client, f"{LOGS}?created_at_from=2026-11-21&created_at_to=2026-11-21")
    assert "1 request" in shown
    assert "2026-11-21 01:30:00" in shown
    assert "time (Ho Chi Minh)" in shown.lower().replace("ho chi minh", "Ho Chi Minh")
    assert "UTC" not in shown
    raw = admin_client.get(LOGS).text
    assert "ago, 2026-11-20 18:30:00 UTC" in raw
    assert "1 request" in page(admin_client, f"{LOGS}?created_at_from=2026-11-20&created_at_to=2026-11-20")


def test_the_figures_of_a_day_are_those_of_the_zone(logs: None, settings: Any) -> None:
    now = EVENING + timedelta(days=3)
    assert count_day(day=date(2026, 11, 21), now=now)["use"]["openhands"]["requests"] == 1
    assert count_day(day=date(2026, 11, 20), now=now)["use"]["openhands"]["requests"] == 1
    settings.TIME_ZONE = "UTC"
    assert count_day(day=date(2026, 11, 20), now=now)["use"]["openhands"]["requests"] == 2
    # A site that changes its zone, and perhaps changes it back, mixes none of them up.
    assert {found.pk for found in DailyFigures.objects.all()} == {
        "2026-11-20",
        "Asia/Ho_Chi_Minh 2026-11-20",
        "Asia/Ho_Chi_Minh 2026-11-21",
    }
    (day,) = read_days(date(2026, 11, 20), date(2026, 11, 20))
    assert day.by_upstream is not None
    assert day.by_upstream["openhands"].requests == 2


def test_the_timeline_has_a_line_for_each_day_of_the_zone(logs: None, settings: Any) -> None:
    def days() -> list[int]:
        found = read_timeline(username="alice", before=EVENING + timedelta(days=1))
        return [row.requests for row in found.rows if row.requests]

    assert days() == [1, 1]
    settings.TIME_ZONE = "UTC"
    assert days() == [2]


def test_what_is_typed_is_a_time_of_the_zone(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    shown = preview(admin_client, "expiry", choice="date", date="2033-12-01 00:30")
    assert "2033-12-01 00:30:00 Ho Chi Minh" in shown.content.decode()
    assert admin_client.post(url("expiry"), confirmed(shown)).status_code == 302
    assert Account.objects.get(pk="alice").expiry == datetime(2033, 11, 30, 17, 30, tzinfo=UTC)
    audit = connection.database["audit_entries"].find_one({"action": "expiry"})
    assert audit["after"]["expires"] == "2033-11-30 17:30:00 UTC"
    assert moment_in_words(EVENING) == "Saturday, 21 November 2026, 01:30 Ho Chi Minh"


def test_refusals_are_counted_by_days_of_the_zone(insert_user: InsertUser) -> None:
    today = day_of(timezone.now())
    RefusalCount.objects.create(pk=f"{today.isoformat()}:alice", not_kept=4, expires_at=EVENING)
    assert read_not_kept("alice", first=today, last=today) == {today: 4}


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 3, 29), 24),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
    ],
)
def test_a_day_is_as_long_as_it_is(settings: Any, zone: str, day: date, hours: int) -> None:
    settings.TIME_ZONE = zone
    assert end_of(day) - start_of(day) == timedelta(hours=hours)
    assert day_of(start_of(day)) == day
    assert day_of(end_of(day) - timedelta(microseconds=1)) == day


@pytest.mark.parametrize("zone", ["UTC", "Asia/Ho_Chi_Minh", "America/New_York"])
def test_the_ends_of_all_time_are_no_failure(settings: Any, zone: str) -> None:
    settings.TIME_ZONE = zone
    for moment in (BEGINNING, END):
        day_of(moment)
        assert show_with_zone(moment)
    for day in (date.min, date.max):
        assert start_of(day) < end_of(day)
