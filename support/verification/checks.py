"""The checks, one after the other: each says what it saw, and what to do where that is not right."""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from accounts import credits
from accounts.errors import BillingError
from accounts.models import Account, Balance
from books.reconciliation import reconcile_account
from money.amounts import ZERO, format_usd
from mongo.errors import DATABASE_FAILURES
from payments import orders
from payments.models import Payment
from payments.orders.checks import withdraw_check
from proxy.billing.price_book import PriceBook
from proxy.billing.pricing import PLAIN
from proxy.models import RequestLog
from support.audit.trail import new_operation
from support.verification.http import Answer, NoAnswer, ask
from support.verification.scratch import ACTOR, REASON, close_scratch, move_all, open_scratch

REFUSAL = re.compile(r"insufficient credits for request\. Cost: \$[0-9,]+\.[0-9]{2}, Balance: \$[0-9,]+\.[0-9]{2}")
"""How the message of a 402 begins, to the letter: clients show it, and programs look for it."""
SETTLING_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One line of the list. `advice` is what to do if it is not right."""

    name: str
    is_ok: bool
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Addresses:
    """Where the services run: base addresses without a path."""

    site: str
    openhands: str
    ohmygpt: str

    def of(self, balance: Balance) -> str:
        return self.openhands if balance is Balance.OPENHANDS else self.ohmygpt


class CheckFailed(Exception):
    """What was seen is not what should be; the text says both."""


class Verification:
    """One run. `checks` is what was found so far."""

    def __init__(
        self,
        addresses: Addresses,
        *,
        account: str,
        models: dict[Balance, str],
        sends_webhook: bool,
        timeout_seconds: float,
    ) -> None:
        self.checks: list[Check] = []
        self._addresses = addresses
        self._account = account
        self._models = models
        self._sends_webhook = sends_webhook
        self._timeout = timeout_seconds
        self._key = ""
        self._order: Payment | None = None

    def run(self) -> list[Check]:
        """Try everything, and put away what was made for it, whatever came of it. Every call is another run."""
        for name, path in (("site", "/readyz"), ("openhands", "/health"), ("ohmygpt", "/health")):
            address = getattr(self._addresses, name) + path
            advice = f"Start it, or say where it runs: --{name} ADDRESS."
            self._check(f"{name} answers", partial(self._answers, address), advice)
        self._check(
            "the webhook can be reached",
            self._webhook_is_guarded,
            "Whatever stands before the site must pass POST /api/payment/webhook; SEPAY_API_KEYS must be set.",
        )
        if not self._check("an account for the checks", self._open, "Choose another name: --account verify-NAME."):
            return self.checks
        try:
            self._try_money()
        finally:
            self._check(
                "the account is emptied and disabled",
                self._close,
                f"Look at {self._account} in the admin: deduct what it has, and disable it.",
            )
            self._check(
                "the books of the account close",
                self._reconciles,
                "Another program may bill this database. Look at the account's timeline.",
            )
        return self.checks

    def _try_money(self) -> None:
        advice = "Do not sell until this is right: customers would pay for nothing."
        pays = self._pay_by_webhook if self._sends_webhook else self._pay
        if not self._check("a payment goes to creditsNew alone", pays, advice):
            return
        for balance in Balance:
            other = balance.other
            self._check(
                f"{other.label} refuses with the exact message, though {balance.label} has credits",
                partial(self._is_refused, other),
                "An empty balance must answer 402. See what the port is and which balance it bills (docs/proxy.md).",
            )
            self._check(
                f"{balance.label} bills {balance.field} alone",
                partial(self._is_billed, balance),
                f"See the log of the request in the admin, and the upstream's settings ({balance.name}_BASE_URL).",
            )
            if balance is Balance.OPENHANDS:
                self._check(
                    "credits can be transferred",
                    self._transfer,
                    "See the account's timeline.",
                )

    def _check(self, name: str, function: Callable[[], str], advice: str) -> bool:
        try:
            self.checks.append(Check(name, is_ok=True, detail=function()))
            return True
        except (CheckFailed, NoAnswer, BillingError, *DATABASE_FAILURES) as error:
            self.checks.append(Check(name, is_ok=False, detail=str(error), advice=advice))
            return False

    # --- The services ----------------------------------------------------------------------------------------------

    def _answers(self, address: str) -> str:
        answer = ask(address, timeout_seconds=self._timeout)
        if answer.status != 200:
            raise CheckFailed(f"{address} answered {answer.status}, not 200")
        return address

    def _webhook_is_guarded(self) -> str:
        """A delivery without a signature must be refused by us: then one with a signature can come in."""
        answer = self._deliver(b"{}", {})
        if (answer.status, answer.body.get("code")) != (401, "invalid_signature"):
            raise CheckFailed(f"an unsigned delivery was answered {answer.status} {answer.body}, not 401")
        return "an unsigned delivery is refused with 401"

    def _deliver(self, body: bytes, headers: dict[str, str]) -> Answer:
        address = f"{self._addresses.site}/api/payment/webhook"
        sent = {"Content-Type": "application/json", **headers}
        return ask(address, method="POST", headers=sent, body=body, timeout_seconds=self._timeout)

    # --- The account -----------------------------------------------------------------------------------------------

    def _open(self) -> str:
        self._key = open_scratch(self._account)
        return self._account

    def _close(self) -> str:
        if self._order is not None:
            withdraw_check(self._order)
        close_scratch(self._account)
        account = self._read()
        if any(account.balance(balance) for balance in Balance) or account.holds:
            raise CheckFailed(f"it still has {self._has(account)}")
        return f"{self._account} is disabled, and its credits are taken back in the ledger"

    def _reconciles(self) -> str:
        drifts = {result.balance.label: result.drift for result in reconcile_account(self._account) if result.drift}
        if drifts:
            raise CheckFailed(", ".join(f"{name} drifts by {format_usd(drift)}" for name, drift in drifts.items()))
        return "balance + holds = ledger - use, on both balances"

    def _read(self) -> Account:
        return Account.objects.get(pk=self._account)

    def _has(self, account: Account) -> str:
        return " and ".join(f"{format_usd(account.balance(each))} on {each.field}" for each in Balance)

    # --- A payment -------------------------------------------------------------------------------------------------

    def _pay(self) -> str:
        """As an event of a provider does: by the one function that credits a purchase. There is no payment of it, so it
        counts as no revenue."""
        amount = Decimal(settings.ORDER_MIN_CREDITS)
        credits.top_up(username=self._account, amount=amount, operation=new_operation(), actor=ACTOR, reason=REASON)
        return self._is_paid(amount)

    def _pay_by_webhook(self) -> str:
        """A signed delivery of SePay to the running site, for an order of the account."""
        self._order = orders.create_order(account=self._read(), credits=settings.ORDER_MIN_CREDITS, method="sepay")
        body = _delivery_for(self._order)
        answer = self._deliver(body, _signature_of(body))
        if answer.status != 200:
            raise CheckFailed(f"a signed delivery was answered {answer.status} {answer.body}, not 200")
        deadline = time.monotonic() + SETTLING_SECONDS
        while (paid := Payment.objects.get(pk=self._order.pk)).status != Payment.Status.SUCCESS:
            if time.monotonic() > deadline:
                raise CheckFailed(f"the order {paid.order_code} is still {paid.status}: see its event in the admin")
            time.sleep(0.2)
        return self._is_paid((paid.credited or ZERO) + (paid.bonus or ZERO))

    def _is_paid(self, amount: Decimal) -> str:
        account = self._read()
        if (account.credits_new, account.credits) != (amount, ZERO):
            raise CheckFailed(f"of {format_usd(amount)} there is {self._has(account)}")
        lasts = (account.expires_at or timezone.now()) - timezone.now()
        if abs(lasts - timedelta(days=settings.CREDIT_VALIDITY_DAYS)) > timedelta(minutes=10):
            raise CheckFailed(f"the credits last {lasts}, not {settings.CREDIT_VALIDITY_DAYS} days")
        return f"{format_usd(amount)} on creditsNew, $0.00 on credits, for {settings.CREDIT_VALIDITY_DAYS} days"

    def _transfer(self) -> str:
        move_all(self._account, Balance.OPENHANDS)
        account = self._read()
        if account.credits_new != ZERO or account.credits <= ZERO:
            raise CheckFailed(f"after it there is {self._has(account)}")
        return f"{format_usd(account.credits)} moved from creditsNew to credits"

    # --- Requests --------------------------------------------------------------------------------------------------

    def _is_refused(self, balance: Balance) -> str:
        before = self._read()
        answer = self._request(balance)
        message = str((answer.body.get("error") or {}).get("message", ""))
        known = REFUSAL.match(message)
        if answer.status != 402 or known is None:
            raise CheckFailed(f"answered {answer.status} {answer.body}, not 402 with the message that clients know")
        after = self._read()
        if [before.balance(each) for each in Balance] != [after.balance(each) for each in Balance]:
            raise CheckFailed(f"a refused request changed a balance: there is {self._has(after)}")
        return known.group()

    def _is_billed(self, balance: Balance) -> str:
        before, seen = self._read(), set(self._logs().values_list("pk", flat=True))
        answer = self._request(balance)
        if answer.status != 200:
            raise CheckFailed(f"answered {answer.status} {answer.body}, not 200")
        deadline = time.monotonic() + SETTLING_SECONDS
        while (after := self._read()).holds and time.monotonic() < deadline:
            time.sleep(0.2)
        logs = [log for log in self._logs() if log.pk not in seen]
        if len(logs) != 1:
            raise CheckFailed(f"{len(logs)} logs were written for one request")
        cost, log = logs[0].cost, logs[0]
        found = {
            balance.field: before.balance(balance) - after.balance(balance),
            balance.other.field: before.balance(balance.other) - after.balance(balance.other),
            balance.used_field: _used(after, balance) - _used(before, balance),
            balance.other.used_field: _used(after, balance.other) - _used(before, balance.other),
        }
        expected = {name: cost if name in (balance.field, balance.used_field) else ZERO for name in found}
        if found != expected or cost <= ZERO or log.credit_type != balance.value:
            taken = ", ".join(f"{name} {format_usd(amount)}" for name, amount in found.items())
            raise CheckFailed(f"a request of {format_usd(cost)}, logged for {log.credit_type}, moved {taken}")
        counts_tokens = after.tokens_user_new > before.tokens_user_new
        if counts_tokens != (balance is Balance.OPENHANDS):
            raise CheckFailed("tokensUserNew must count the tokens of OpenHands, and no others")
        return f"{format_usd(cost)} for {self._model(balance)}, taken off {balance.field}"

    def _logs(self) -> QuerySet[RequestLog]:
        return RequestLog.objects.filter(user_id=self._account)

    def _request(self, balance: Balance) -> Answer:
        body = {
            "model": self._model(balance),
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "Answer with the word OK."}],
        }
        return ask(
            f"{self._addresses.of(balance)}/v1/chat/completions",
            method="POST",
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            body=json.dumps(body).encode(),
            timeout_seconds=self._timeout,
        )

    def _model(self, balance: Balance) -> str:
        if balance not in self._models:
            self._models[balance] = _cheapest_model(balance)
        return self._models[balance]


def _used(account: Account, balance: Balance) -> Decimal:
    return account.credits_new_used if balance is Balance.OPENHANDS else account.credits_used


def _cheapest_model(balance: Balance) -> str:
    """The model whose answers cost least, but something. Raises `CheckFailed` where none is sold."""
    rows = {name: row.price.charged.rates.dearest_output(PLAIN) for name, row in PriceBook().list_models(balance)}
    priced = {name: rate for name, rate in rows.items() if rate > 0}
    if not priced:
        raise CheckFailed(f"no model is sold on {balance.label}: add its price in the admin")
    return min(priced, key=lambda name: (priced[name], name))


def _delivery_for(order: Payment) -> bytes:
    """What SePay would send for an order's transfer: marked as a check, under an id that no transfer has."""
    number = f"VERIFY{secrets.token_hex(8).upper()}"
    now = timezone.now().astimezone(ZoneInfo("Asia/Ho_Chi_Minh"))
    payload = {
        "id": number,
        "gateway": settings.SEPAY_BANK,
        "transactionDate": f"{now:%Y-%m-%d %H:%M:%S}",
        "accountNumber": settings.SEPAY_ACCOUNT_NUMBER or "0",
        "code": None,
        "content": f"{order.order_code} check of the platform",
        "transferType": "in",
        "transferAmount": int(order.amount),
        "subAccount": None,
        "referenceCode": number,
        "description": "",
    }
    return json.dumps(payload).encode()


def _signature_of(body: bytes) -> dict[str, str]:
    if settings.SEPAY_WEBHOOK_SECRETS:
        sent_at = str(int(time.time()))
        signed = hmac.new(settings.SEPAY_WEBHOOK_SECRETS[0].encode(), f"{sent_at}.".encode() + body, hashlib.sha256)
        return {"X-SePay-Timestamp": sent_at, "X-SePay-Signature": f"sha256={signed.hexdigest()}"}
    if settings.SEPAY_API_KEYS:
        return {"Authorization": f"Apikey {settings.SEPAY_API_KEYS[0]}"}
    raise CheckFailed("neither SEPAY_WEBHOOK_SECRETS nor SEPAY_API_KEYS is set, so nothing can be signed")
