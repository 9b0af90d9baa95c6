"""Every error of the domain has a status here on purpose, or is known never to come here."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import pytest

from accounts import errors as account_errors
from accounts.errors import BillingError
from payments import errors
from payments.api.errors import STATUS
from payments.models import Payment
from payments.providers.base import Instructions
from payments.providers.stripe_api import NoSuchThing
from tests.factories import CallApi, InsertUser
from tests.payments.acme import Acme

APPS = ("accounts", "books", "payments", "proxy", "support")
APPS_ABOVE_OR_BESIDE = ("books", "proxy", "support")
"""Payments imports none of these (import-linter holds that), so their errors cannot reach its API."""

NEVER_HERE: dict[type[BillingError], str] = {
    account_errors.UsernameTaken: "accounts are made by staff",
    account_errors.InvalidUsername: "accounts are made by staff",
    account_errors.ModelNotAllowed: "no model is asked for",
    account_errors.KeyBudgetReached: "buying spends no credits",
    account_errors.KeyNotFound: "the proxy's API and staff manage keys",
    account_errors.InvalidKeyLimits: "the proxy's API and staff manage keys",
    account_errors.FirstKeyStays: "the proxy's API and staff manage keys",
    account_errors.FirstKeyRequired: "the proxy's API manages keys",
    account_errors.AccountUnderReview: "accounts under review may buy",
    account_errors.AccountNotConverted: "accounts that were never converted may buy",
    account_errors.AccountNotFound: "the rules raise it while an event is processed, which sends it to review",
    account_errors.InvalidAmount: "the rules raise it while an event is processed, which sends it to review",
    account_errors.InsufficientCredits: "buying spends no credits, and a reversal may leave a debt",
    account_errors.CreditsExpired: "expired accounts may buy",
    account_errors.RateLimitExceeded: "the proxy counts requests",
    account_errors.InvalidExpiry: "for staff",
    account_errors.ExpiryChanged: "for staff",
    account_errors.OperationConflict: "the rules raise it while an event is processed, which sends it to review",
    account_errors.BalanceWriteForbidden: "a mistake in the source, which a test finds",
    NoSuchThing: "the pull and the rules go on without it",
    errors.PaymentNeedsRepair: "the rules raise it while an event is processed, which sends it to review",
    errors.NotReviewable: "for staff",
    errors.InvalidDecision: "for staff",
    errors.AlreadyCredited: "for staff",
}


def subclasses(of: type[BillingError]) -> Iterator[type[BillingError]]:
    for found in of.__subclasses__():
        yield found
        yield from subclasses(found)


def test_every_error_has_a_status_or_a_reason_to_have_none() -> None:
    for app in APPS:
        package = importlib.import_module(app)
        for module in pkgutil.walk_packages(package.__path__, f"{app}."):
            importlib.import_module(module.name)
    app_of = {error: error.__module__.partition(".")[0] for error in subclasses(BillingError)}
    ours = {error for error, app in app_of.items() if app in APPS and app not in APPS_ABOVE_OR_BESIDE}
    assert len(ours) > 25
    assert ours == STATUS.keys() | NEVER_HERE.keys()
    assert not STATUS.keys() & NEVER_HERE.keys()


class Confused(Acme):
    """Raises what only staff should ever meet."""

    def instructions(self, order: Payment) -> Instructions:
        raise errors.InvalidDecision("an operator's text")


class Broken(Acme):
    def instructions(self, order: Payment) -> Instructions:
        raise account_errors.BrokenInvariant("an operator's text")


@pytest.mark.parametrize("provider", [Confused, Broken])
def test_an_error_that_has_no_business_here_is_a_500_that_is_logged(
    api: CallApi,
    insert_user: InsertUser,
    use_providers: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    provider: type[Acme],
) -> None:
    use_providers(f"{__name__}.{provider.__name__}")
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 20})
    assert (response.status_code, response.json()["code"]) == (500, "broken_invariant")
    assert "operator" not in response.text
    (logged,) = [record for record in caplog.records if record.name.startswith("payments.api")]
    assert logged.levelname == "ERROR"
    assert "an operator's text" in caplog.text
