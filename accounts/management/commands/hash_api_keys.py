"""`manage.py hash_api_keys`: no API key stays in the database as plain text."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from accounts.keys import PLAIN_KEY
from accounts.models import Account
from accounts.registration import hash_stored_key
from mongo.collections import collection_of


class Command(BaseCommand):
    help = (
        "Replace the plain API keys of old documents by their hashes. The keys stay valid here; "
        "the programs that a roll-back returns to no longer know them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        hashed = failed = 0
        for document in collection_of(Account).find(PLAIN_KEY, projection={"_id": 1}):
            if options["dry_run"]:
                hashed += 1
                continue
            try:
                hashed += hash_stored_key(username=document["_id"])
            except IntegrityError:
                failed += 1
                self.stderr.write(f"{document['_id']}: another account has the same key; rotate one of the two")
        self.stdout.write(f"{hashed} keys {'would be ' if options['dry_run'] else ''}hashed")
        if failed:
            raise CommandError(f"{failed} keys could not be hashed.")
