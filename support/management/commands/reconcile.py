"""`manage.py reconcile`: checks that every balance is explained by the ledger and the request log, and closes drift."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance
from books.corrections import Drift, accept_drift, read_drift
from books.reconciliation import Reconciliation, reconcile_account, reconcile_all, record_run
from money.amounts import ZERO, format_usd
from support.audit.actors import actor_of
from support.audit.trail import new_operation, perform

ACTOR = "manage.py reconcile"
Found = list[Reconciliation] | AccountNeedsRepair


class Command(BaseCommand):
    help = (
        "Check balance + holds = ledger - use for every account (or those named); exits with 1 on drift, and where an "
        "account cannot be checked because its document needs repair. With --accept, what other programs moved is "
        "written to the ledger as corrections: no balance changes, and the books close."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("usernames", nargs="*", help="Accounts to check; all by default.")
        parser.add_argument("--account", nargs="+", default=[], metavar="NAME", help="The same, by an option.")
        parser.add_argument("--accept", action="store_true", help="Write a ledger entry for each drift.")
        parser.add_argument("--reason", default="", help="Why the drift is accepted. It is kept for good.")
        parser.add_argument("--actor", metavar="NAME", help="The staff user who accepts it; this command by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        names = [*options["usernames"], *options["account"]]
        accept = _Acceptance(options) if options["accept"] else None
        if accept is None and (options["reason"] or options["actor"]):
            raise CommandError("--reason and --actor say why and by whom drift is accepted: add --accept.")
        checked = drifting = damaged = 0
        left: dict[str, None] = {}  # In the order they were found; an account may drift in both balances.
        for results in _named(names) if names else reconcile_all():
            if isinstance(results, AccountNeedsRepair):
                damaged += 1
                self.stderr.write(f"not checked: {results}")
                continue
            checked += len(results)
            drifts = [result for result in results if result.drift]
            if drifts and accept:
                for drift in accept.settle(drifts[0].username):
                    self.stdout.write(_correction(drift))
                continue
            drifting += len(drifts)
            for result in drifts:
                left[result.username] = None
                self.stderr.write(_sentence(result))
        if not names:
            record_run(accounts=checked // len(Balance) + damaged, drifting=list(left), damaged=damaged)
        if accept:
            self.stdout.write(accept.summary())
        self.stdout.write(
            f"{checked} balances checked, {drifting} with drift"
            + (f"; {damaged} accounts need repair and were not checked" if damaged else "")
        )
        if drifting:
            raise CommandError("Some balances are not explained by the ledger and the request log.")
        if damaged:
            raise CommandError("Some accounts could not be checked: their documents need repair.")


class _Acceptance:
    """Who accepts drift and why, and what was accepted so far."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.reason = options["reason"].strip()
        if not self.reason:
            raise CommandError("--accept needs --reason: the ledger keeps why its entries were written.")
        if len(self.reason) > 500:
            raise CommandError("--reason has at most 500 characters.")
        self.actor = _actor(options["actor"])
        self.totals = dict.fromkeys(Balance, ZERO)
        self.balances = 0

    def settle(self, username: str) -> list[Drift]:
        settled = perform(
            operation=new_operation(),
            actor=self.actor,
            action="accept-drift",
            target=username,
            reason=self.reason,
            read_state=lambda: {d.balance.label: f"drift {format_usd(d.amount)}" for d in read_drift(username)},
            change=lambda: accept_drift(username=username, actor=self.actor, reason=self.reason),
        )
        for drift in settled:
            self.balances += 1
            self.totals[drift.balance] += drift.amount
        return settled

    def summary(self) -> str:
        sums = ", ".join(f"{balance.label} {format_usd(total)}" for balance, total in self.totals.items())
        return f"{self.balances} balances corrected in the ledger ({sums}); no balance was changed"


def _actor(name: str | None) -> str:
    if name is None:
        return ACTOR
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no staff user {name!r}.")
    return actor_of(user)


def _named(usernames: Iterable[str]) -> list[Found]:
    found: list[Found] = []
    for username in dict.fromkeys(usernames):
        try:
            found.append(reconcile_account(username))
        except AccountNeedsRepair as error:
            found.append(error)
        except Account.DoesNotExist as error:
            raise CommandError("No such account.") from error
    return found


def _sentence(result: Reconciliation) -> str:
    return (
        f"{result.username} {result.balance.label}: drift {format_usd(result.drift)} "
        f"(balance {format_usd(result.available)} + held {format_usd(result.held)}, "
        f"ledger {format_usd(result.ledger)} - spent {format_usd(result.spent)})"
    )


def _correction(drift: Drift) -> str:
    logged = f" (other programs logged {format_usd(drift.logged)} of use)" if drift.logged else ""
    return f"{drift.found.username} {drift.balance.label}: corrected by {format_usd(drift.amount)}{logged}"
