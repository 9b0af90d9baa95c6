"""`manage.py pull_payments`: ask the providers for payments whose webhook never came."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from payments.errors import ProviderUnavailable
from payments.inbox.pull import pull_payments
from payments.providers import all_providers


class Command(BaseCommand):
    help = "Ask the payment providers for what their webhooks missed, and credit it. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=settings.PULL_WINDOW_HOURS, help="how far back to ask")

    def handle(self, *args: Any, hours: float, **options: Any) -> None:
        names = ", ".join(provider.name for provider in all_providers() if provider.can_pull())
        if not names:
            raise CommandError("No provider can be asked: set SEPAY_API_TOKEN or STRIPE_SECRET_KEY.")
        try:
            found = pull_payments(window=timedelta(hours=hours))
        except ProviderUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{found} new events from {names}")
