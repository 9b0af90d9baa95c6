"""Settings as they are read from the environment."""

import json
import os
import subprocess
import sys

import pytest

from tests.serving import ROOT

LISTS = (
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "PAYMENT_PROVIDERS",
    "SEPAY_API_KEYS",
    "SEPAY_WEBHOOK_SECRETS",
    "STRIPE_WEBHOOK_SECRETS",
    "STANDARD_WEBHOOK_SECRETS",
)
SCRIPT = f"""
import json
from billing_site import settings
print(json.dumps({{name: getattr(settings, name) for name in {LISTS}}}))
"""


def read(**environment: str) -> dict[str, list[str]]:
    """The lists as a process with this environment reads them."""
    without = {name: value for name, value in os.environ.items() if name not in LISTS}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=without | environment, cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("text", "items"), [("whsec_a, whsec_b", ["whsec_a", "whsec_b"]), (" a ,, b,", ["a", "b"]), (" ", []), ("", [])]
)
def test_a_list_has_no_spaces_and_no_empty_items(text: str, items: list[str]) -> None:
    assert read(**dict.fromkeys(LISTS, text)) == dict.fromkeys(LISTS, items)


def test_a_list_that_is_not_set_has_its_default() -> None:
    found = read()
    assert found["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert [path.rpartition(".")[2] for path in found["PAYMENT_PROVIDERS"]] == ["SePay", "Stripe", "StandardWebhooks"]
    assert found["SEPAY_API_KEYS"] == []
