"""The system checks: what would hurt in production is said before it does."""

import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.test import override_settings

from accounts.registration import create_account
from billing_site.checks import (
    check_hold_age,
    check_kept_refusals,
    check_missing_endpoints,
    check_most_keys,
    check_plain_keys,
    check_public_addresses,
    check_room_for_bodies,
    check_secrets,
    check_transactions,
)
from development.mongod import free_port
from development.mongod_binary import find_mongod
from mongo.backend.base import DatabaseWrapper
from tests.factories import InsertUser
from tests.serving import ROOT


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


def test_keys_that_stand_in_the_database_are_said(insert_user: InsertUser) -> None:
    assert check_plain_keys(databases=["default"]) == []
    insert_user("alice")
    insert_user("bob", apiKey="")
    (warning,) = check_plain_keys(databases=["default"])
    assert warning.id == "billing.W016"
    assert warning.msg.startswith("1 account holds its API key as plain text")
    with pytest.raises(SystemCheckError, match=r"billing\.W016"):
        call_command("check", "--deploy", "--database", "default", "--fail-level", "WARNING")
    create_account(username="carol")
    call_command("hash_api_keys", verbosity=0)
    assert check_plain_keys(databases=["default"]) == check_plain_keys() == []


def test_a_hold_must_outlive_the_longest_request() -> None:
    assert check_hold_age(None) == []
    with override_settings(HOLD_MAX_AGE_SECONDS=100):
        assert ids(check_hold_age(None)) == {"billing.E004"}


def test_a_missing_endpoint_is_one_that_can_be_missing() -> None:
    assert check_missing_endpoints(None) == []
    with override_settings(
        MISSING_ENDPOINTS={"openhands": frozenset(("responses", "embedding")), "ohmygpt": frozenset()}
    ):
        assert ids(check_missing_endpoints(None)) == {"billing.E008"}


@pytest.mark.parametrize(
    "origin", ["*", "https://chat.example.com", "http://localhost:3000", "app://x", "http://[::1]:8080"]
)
def test_an_origin_that_browsers_send_is_right(origin: str) -> None:
    with override_settings(CORS_ORIGINS=frozenset((origin,))):
        assert check_public_addresses(None) == []


@pytest.mark.parametrize(
    "origin",
    [
        "chat.example.com",
        "https://chat.example.com/",
        "https://chat.example.com/app",
        "https://Chat.example.com",
        "https://chat.example.com:443",
        "http://chat.example.com:80",
        "https://*.example.com",
        "https://user@example.com",
        "null",
    ],
)
def test_an_origin_that_no_browser_sends_is_said(origin: str) -> None:
    with override_settings(CORS_ORIGINS=frozenset((origin, "https://ok.example.com"))):
        assert ids(check_public_addresses(None)) == {"billing.E009"}


@pytest.mark.parametrize("url", ["openhands.example.com", "ftp://x", "https://", "https://x?a=b"])
def test_a_public_address_that_is_none_is_said(url: str) -> None:
    with override_settings(PUBLIC_URLS={"openhands": url, "ohmygpt": "https://fine.example.com/ohmygpt"}):
        assert ids(check_public_addresses(None)) == {"billing.E017"}


@pytest.mark.django_db
def test_a_standalone_server_is_refused(tmp_path: Path) -> None:
    """On a real mongod without a replica set."""
    port = free_port()
    command = [str(find_mongod()), "--port", str(port), "--bind_ip", "127.0.0.1", "--dbpath", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    original = connections["default"]
    try:
        settings_dict = original.settings_dict | {"HOST": f"mongodb://127.0.0.1:{port}", "OPTIONS": {}}
        connections["standalone"] = DatabaseWrapper(settings_dict, alias="standalone")
        assert ids(check_transactions(databases=["standalone"])) == {"billing.E002"}
    finally:
        connections["standalone"].close_pool()
        del connections["standalone"]
        process.terminate()
        process.wait(20)


@pytest.mark.django_db
def test_an_unreachable_server_is_said() -> None:
    settings_dict = connections["default"].settings_dict | {
        "HOST": f"mongodb://127.0.0.1:{free_port()}",
        "OPTIONS": {"serverSelectionTimeoutMS": 200},
    }
    connections["away"] = DatabaseWrapper(settings_dict, alias="away")
    try:
        assert ids(check_transactions(databases=["away"])) == {"billing.E001"}
    finally:
        connections["away"].close_pool()
        del connections["away"]


def test_every_setting_is_documented() -> None:
    names = set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', (ROOT / "billing_site/settings.py").read_text()))
    documented = set(re.findall(r"`([A-Z0-9_]+)`", (ROOT / "docs/configuration.md").read_text()))
    assert names - documented == set()


def test_the_largest_body_must_find_room() -> None:
    assert check_room_for_bodies(None) == []
    with override_settings(MAX_REQUEST_BYTES=64 * 1024 * 1024, BODIES_IN_FLIGHT_BYTES=100 * 1024 * 1024):
        assert ids(check_room_for_bodies(None)) == {"billing.E007"}


def test_what_is_kept_of_refusals_is_bounded() -> None:
    assert check_kept_refusals(None) == []
    for name, value in (("DAYS", 0), ("DAYS", 401), ("PER_MINUTE", -1), ("PER_DAY", -1)):
        with override_settings(**{f"REFUSALS_KEPT_{name}": value}):
            assert ids(check_kept_refusals(None)) == {"billing.E019"}


def test_how_many_keys_an_account_may_have_is_bounded() -> None:
    assert check_most_keys(None) == []
    for count in (-1, 201):
        with override_settings(MAX_KEYS=count):
            assert ids(check_most_keys(None)) == {"billing.E018"}
