"""Starts the tests' own mongod before Django reads its settings (loaded by `-p` in pyproject.toml)."""

import os
import secrets
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest

from development.mongod import Mongod
from development.mongod_binary import MongodError


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    options = early_config.known_args_namespace
    only_hands_out = getattr(options, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    os.environ.update(
        {
            "ENVIRONMENT": "test",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": "mongodb://127.0.0.1/unused" if only_hands_out else _start(early_config),
            "SEPAY_API_KEYS": "sepay-test-key,sepay-previous-key",
            "SEPAY_ACCOUNT_NUMBER": "0123499999",
            "SEPAY_BANK": "Vietcombank",
            "STRIPE_WEBHOOK_SECRETS": "whsec_test_secret,whsec_previous",
            "STRIPE_LIVE_MODE": "true",
            "STANDARD_WEBHOOK_SECRETS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "STANDARD_ACCEPTS_TESTS": "false",
            # Tests use the same few keys and one address; those of these limits set their own.
            "FREE_REQUESTS_PER_MINUTE": "0",
            "REFUSALS_PER_MINUTE": "0",
            "UNKNOWN_KEYS_PER_MINUTE": "0",
            "PUBLIC_READS_PER_MINUTE": "0",
            "KEY_ROTATIONS_PER_MINUTE": "0",
            "STATEMENTS_PER_MINUTE": "0",
            "OPENHANDS_BASE_URL": "",
            "OHMYGPT_BASE_URL": "",
        }
    )


def _start(config: pytest.Config) -> str:
    """Start it for as long as `config` is in use, and return the URL of the tests' database."""
    data_dir = Path(tempfile.mkdtemp(prefix="billing-tests-"))
    config.add_cleanup(partial(shutil.rmtree, data_dir, ignore_errors=True))
    # Tests that kill a database start their own, which is durable.
    mongod = Mongod(data_dir / "mongodb", cache_gb=0.5, is_durable=False)
    try:
        mongod.start()
    except MongodError as error:
        raise pytest.UsageError(str(error)) from None
    config.add_cleanup(mongod.stop)
    return mongod.url_of("billing")
