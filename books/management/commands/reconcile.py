"""`manage.py reconcile`: checks that every balance is explained by the ledger and the request log."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance
from books.reconciliation import Reconciliation, reconcile_account, reconcile_all, record_run
from money.amounts import format_usd


class Command(BaseCommand):
    help = (
        "Check balance + holds = ledger - use for every account (or those named); exits with 1 on drift, and where an "
        "account cannot be checked because its document needs repair."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("usernames", nargs="*", help="Accounts to check; all by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        checked = drifting = damaged = 0
        names: dict[str, None] = {}  # In the order they were found; an account may drift in both balances.
        for results in _named(options["usernames"]) if options["usernames"] else reconcile_all():
            if isinstance(results, AccountNeedsRepair):
                damaged += 1
                self.stderr.write(f"not checked: {results}")
                continue
            for result in results:
                checked += 1
                if result.drift:
                    drifting += 1
                    names[result.username] = None
                    self.stderr.write(_sentence(result))
        if not options["usernames"]:
            record_run(accounts=checked // len(Balance) + damaged, drifting=list(names), damaged=damaged)
        self.stdout.write(
            f"{checked} balances checked, {drifting} with drift"
            + (f"; {damaged} accounts need repair and were not checked" if damaged else "")
        )
        if drifting:
            raise CommandError("Some balances are not explained by the ledger and the request log.")
        if damaged:
            raise CommandError("Some accounts could not be checked: their documents need repair.")


def _named(usernames: list[str]) -> list[list[Reconciliation] | AccountNeedsRepair]:
    found: list[list[Reconciliation] | AccountNeedsRepair] = []
    for username in usernames:
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
