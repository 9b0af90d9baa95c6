"""`manage.py seed_prices`: adds the price rows in use when this platform took over."""

from typing import Any

from django.core.management.base import BaseCommand

from proxy.billing.seed_prices import seed_prices


class Command(BaseCommand):
    help = "Add the known price rows that are missing. Never changes a row that exists."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{seed_prices()} price rows added")
