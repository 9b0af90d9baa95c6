"""Accounts of these tests have an open ledger: `assert_reconciles` then sees every credit that goes astray."""

import pytest


@pytest.fixture
def opens_ledger() -> bool:
    return True
