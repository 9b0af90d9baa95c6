"""The revenue of a day, by currency, on payments as they really occur."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection

from books.daily_figures import count_day

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def test_revenue_without_a_currency_is_vnd_and_small_letters_are_the_same_currency(db: None) -> None:
    paid: dict[str, Any] = {"status": "success", "completedAt": NOW, "provider": "sepay", "amount": 50_000}
    connection.database["payments"].insert_many(
        [
            dict(paid),
            {**paid, "currency": ""},
            {**paid, "currency": "vnd", "receivedAmount": 0},
            {**paid, "currency": 704},
            {**paid, "currency": "usd", "amount": 20},
        ]
    )
    assert count_day(day=NOW.date(), now=NOW)["revenue"] == [
        {"provider": "sepay", "currency": "USD", "amount": "20.00000000", "payments": 1},
        {"provider": "sepay", "currency": "VND", "amount": "150000.00000000", "payments": 4},
    ]
