"""Every error of the domain has a status in the proxy's API, chosen by somebody."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

from accounts.errors import BillingError
from proxy.api.responses import STATUS_OF

ELSEWHERE = {
    "account_not_found": "the key finds the account, or it is an invalid key",
    "balance_write_forbidden": "a mistake in code that saves accounts; no endpoint does",
    "expiry_changed": "staff set the expiry",
    "invalid_amount": "staff and payments move amounts",
    "invalid_expiry": "staff set the expiry",
    "invalid_username": "staff make accounts",
    "price_row_changed": "staff import prices",
    "operation_conflict": "payments and staff name operations",
    "username_taken": "staff make accounts",
}
"""Errors that no endpoint of the proxy can meet, and why."""


def errors_below(package: str) -> Iterator[type[BillingError]]:
    """Every error class that a module of the package defines."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if ".migrations" not in module.name:
            for value in vars(import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BillingError) and value.__module__ == module.name:
                    yield value


@pytest.mark.parametrize("package", ["accounts", "proxy"])
def test_every_error_has_a_status_or_a_reason_to_have_none(package: str) -> None:
    codes = {error.code for error in errors_below(package)} - {BillingError.code}
    assert codes - STATUS_OF.keys() - ELSEWHERE.keys() == set()


def test_no_status_stands_for_an_error_that_is_gone() -> None:
    codes = {error.code for package in ("accounts", "proxy") for error in errors_below(package)}
    assert STATUS_OF.keys() - codes == set()
    assert ELSEWHERE.keys() - codes == set()
    assert STATUS_OF.keys() & ELSEWHERE.keys() == set()
