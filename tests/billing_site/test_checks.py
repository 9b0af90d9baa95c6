"""The system checks: what would hurt in production is said before it does."""

import pytest
from django.test import override_settings

from billing_site.checks import check_secrets, check_transactions


def ids(messages: list) -> set[str]:
    return {message.id for message in messages}


GOOD = {
    "ENVIRONMENT": "production",
    "DEBUG": False,
    "SECRET_KEY": "dnF8cU0wYV9zZWNyZXRfa2V5X3RoYXRfaXNfbG9uZw",
    "SEPAY_API_KEYS": ["x"],
    "SEPAY_ACCOUNT_NUMBER": "1",
    "SEPAY_BANK": "Vietcombank",
    "HAS_TLS": True,
    "UPSTREAMS": {"openhands": {"base_url": "http://u"}, "ohmygpt": {"base_url": "http://u"}},
}


def test_a_right_production_setting_has_no_complaint() -> None:
    with override_settings(**GOOD):
        assert check_secrets(None) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"DEBUG": True}, "billing.E010"),
        ({"SECRET_KEY": "short"}, "billing.E011"),
        ({"SECRET_KEY": "a" * 50}, "billing.E011"),
        ({"SEPAY_API_KEYS": []}, "billing.W012"),
        ({"SEPAY_BANK": ""}, "billing.W015"),
        ({"UPSTREAMS": {"openhands": {"base_url": ""}}}, "billing.W013"),
        ({"HAS_TLS": False}, "billing.W014"),
    ],
)
def test_what_would_hurt_is_said(change: dict, expected: str) -> None:
    with override_settings(**GOOD | change):
        assert ids(check_secrets(None)) == {expected}
    with override_settings(**GOOD | change | {"ENVIRONMENT": "development"}):
        assert check_secrets(None) == []


@pytest.mark.django_db
def test_a_replica_set_passes() -> None:
    assert check_transactions(databases=["default"]) == []
    assert check_transactions() == []
