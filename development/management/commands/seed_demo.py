"""`manage.py seed_demo`: the staff login, two customers and the prices that `make run` shows. Development only."""

import json
import os
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import credits
from accounts.errors import UsernameTaken
from accounts.keys import hash_key
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import create_account, rotate_key
from mongo.transactions import run_in_transaction
from proxy.billing.seed_prices import seed_prices

DEMO_CREDITS = {
    "alice": {Balance.OPENHANDS: Decimal(5)},
    "bob": {Balance.OHMYGPT: Decimal(25)},
}
"""What the demo customers begin with, in USD."""

STAFF_EMAIL = "staff@make-run.invalid"
"""Marks the staff login as made here. (A demo customer is known by the ledger entry of its first credits.)"""


class Command(BaseCommand):
    help = (
        "Make the demo data of `make run`; a repeat sets its keys and password to the configured ones. Accounts and "
        "logins of the same names that it did not make stay as they are. It refuses to run in production."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the logins and keys as one line of JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("This is for development: set ENVIRONMENT=development.")
        seed_prices()
        self._notices: list[str] = []
        username, password = self._make_staff_login()
        accounts = [self._make_customer(name, amounts) for name, amounts in DEMO_CREDITS.items()]
        demo = {
            "admin_username": username,
            "admin_password": password,
            "accounts": [account for account in accounts if account is not None],
            "notices": self._notices,
        }
        self.stdout.write(json.dumps(demo) if options["json"] else json.dumps(demo, indent=2))

    def _make_staff_login(self) -> tuple[str, str | None]:
        """The name and the password; None if the name is somebody else's, whose password is not ours to change."""
        username, password = os.environ.get("ADMIN_USERNAME", "admin"), os.environ.get("ADMIN_PASSWORD")
        if not password:
            raise CommandError("Set ADMIN_PASSWORD to the password of the staff login.")
        user = User.objects.filter(username=username).first()
        if user is None:
            User.objects.create_superuser(username, email=STAFF_EMAIL, password=password)
        elif user.check_password(password):
            pass
        elif user.email == STAFF_EMAIL:
            user.set_password(password)
            user.save(update_fields=["password"])
        else:
            self._notices.append(
                f"{username} is a login that this database had before: its password stays as it is. "
                f"For a login of your own: ADMIN_USERNAME={username}2 make run"
            )
            return username, None
        return username, password

    def _make_customer(self, username: str, amounts: dict[Balance, Decimal]) -> dict[str, str] | None:
        """The account with the configured key; None if the name is somebody else's, who is left alone."""
        key = os.environ.get(f"DEMO_API_KEY_{username.upper()}")
        if not key:
            raise CommandError(f"Set DEMO_API_KEY_{username.upper()} to the API key of the demo account {username}.")
        try:
            run_in_transaction(lambda: _create(username, key, amounts))
        except UsernameTaken:
            operations = [_operation(username, balance) for balance in amounts]
            if not LedgerEntry.objects.filter(account_id=username, operation__in=operations).exists():
                self._notices.append(
                    f"{username} is an account that this database had before: its key and its credits stay as they "
                    "are, and no line below uses it. For all of them, name an empty database in DATABASE_URL."
                )
                return None
            if not Account.objects.filter(pk=username, api_key_hash=hash_key(key)).exists():
                rotate_key(username=username, new_key=key)
        account = Account.objects.get(pk=username)
        return {
            "username": username,
            "api_key": key,
            "credits_new": f"{account.credits_new:.2f}",
            "credits": f"{account.credits:.2f}",
        }


def _create(username: str, key: str, amounts: dict[Balance, Decimal]) -> None:
    """Make the account with its credits, both or neither."""
    create_account(username=username, api_key=key)
    for balance, amount in amounts.items():
        credits.adjust(
            username=username,
            balance=balance,
            amount=amount,
            operation=_operation(username, balance),
            actor="system",
            reason="Demo credits",
        )


def _operation(username: str, balance: Balance) -> str:
    return f"demo:{username}:{balance.value}"
