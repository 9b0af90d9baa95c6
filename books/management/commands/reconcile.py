"""`manage.py reconcile`: checks that every balance is explained by the ledger and the request log."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Account, Balance
from books.reconciliation import reconcile_account, reconcile_all, record_run
from money.amounts import format_usd


class Command(BaseCommand):
    help = "Check balance + holds = ledger - use for every account (or those named); exits with 1 on drift."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("usernames", nargs="*", help="Accounts to check; all by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            named = [result for username in options["usernames"] for result in reconcile_account(username)]
        except Account.DoesNotExist as error:
            raise CommandError("No such account.") from error
        checked = drifting = 0
        names: dict[str, None] = {}  # In the order they were found; an account may drift in both balances.
        for result in named if options["usernames"] else reconcile_all():
            checked += 1
            if result.drift:
                drifting += 1
                names[result.username] = None
                self.stderr.write(
                    f"{result.username} {result.balance.label}: drift {format_usd(result.drift)} "
                    f"(balance {format_usd(result.available)} + held {format_usd(result.held)}, "
                    f"ledger {format_usd(result.ledger)} - spent {format_usd(result.spent)})"
                )
        if not options["usernames"]:
            record_run(accounts=checked // len(Balance), drifting=list(names))
        self.stdout.write(f"{checked} balances checked, {drifting} with drift")
        if drifting:
            raise CommandError("Some balances are not explained by the ledger and the request log.")
