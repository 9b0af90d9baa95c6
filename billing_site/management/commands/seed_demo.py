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
from accounts.models import Account, Balance
from accounts.registration import create_account
from proxy.seed_prices import seed_prices

DEMO_CREDITS = {
    "alice": {Balance.OPENHANDS: Decimal(5)},
    "bob": {Balance.OHMYGPT: Decimal(25)},
}
"""What the demo customers begin with, in USD."""


class Command(BaseCommand):
    help = "Make the demo data of `make run`. Repeating it changes nothing; it refuses to run in production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the logins and keys as one line of JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("This is for development: set ENVIRONMENT=development.")
        seed_prices()
        login = self._make_staff_login()
        accounts = [self._make_customer(username, amounts) for username, amounts in DEMO_CREDITS.items()]
        demo = {"admin_username": login[0], "admin_password": login[1], "accounts": accounts}
        self.stdout.write(json.dumps(demo) if options["json"] else json.dumps(demo, indent=2))

    def _make_staff_login(self) -> tuple[str, str]:
        username, password = os.environ.get("ADMIN_USERNAME", "admin"), os.environ.get("ADMIN_PASSWORD")
        if not password:
            raise CommandError("Set ADMIN_PASSWORD to the password of the staff login.")
        if not User.objects.filter(username=username).exists():
            User.objects.create_superuser(username, password=password)
        return username, password

    def _make_customer(self, username: str, amounts: dict[Balance, Decimal]) -> dict[str, str]:
        key = os.environ.get(f"DEMO_API_KEY_{username.upper()}")
        if not key:
            raise CommandError(f"Set DEMO_API_KEY_{username.upper()} to the API key of the demo account {username}.")
        try:
            create_account(username=username, api_key=key)
        except UsernameTaken:
            self.stderr.write(f"{username} exists already and is kept")
        for balance, amount in amounts.items():
            credits.adjust(
                username=username,
                balance=balance,
                amount=amount,
                operation=f"demo:{username}:{balance.value}",
                actor="system",
                reason="Demo credits",
            )
        account = Account.objects.get(pk=username)
        return {
            "username": username,
            "api_key": key,
            "credits_new": f"{account.credits_new:.2f}",
            "credits": f"{account.credits:.2f}",
        }
