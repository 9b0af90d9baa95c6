"""`manage.py load_history`: fills a try-out database with many accounts and requests, to see how pages do with them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.models import Model
from pymongo import WriteConcern

from accounts.models import Account, LedgerEntry
from books.daily_figures import count_earlier_days, refresh_figures
from books.models import DailyFigures
from books.reconciliation import reconcile_account
from development.invented_history import HEAVY, History
from mongo.collections import Document, collection_of
from payments.models import Payment, WebhookEvent
from proxy.models import RefusedRequest, RequestLog
from support.models import AuditEntry

BATCH = 5000
COUNTING_SECONDS = 3600.0
WRITERS = 3
"""Batches on their way at once: while the server writes one, the next is made."""

# What tells the documents of this command from all others: the range of a field that has an index.
OWN: dict[type[Model], Document] = {
    Account: {"_id": {"$gte": "bench", "$lt": "benci"}},
    LedgerEntry: {"account": {"$gte": "bench", "$lt": "benci"}},
    Payment: {"userId": {"$gte": "bench", "$lt": "benci"}},
    WebhookEvent: {"eventId": {"$gte": "bench", "$lt": "benci"}},
    RequestLog: {"userId": {"$gte": "bench", "$lt": "benci"}},
    RefusedRequest: {"userId": {"$gte": "bench", "$lt": "benci"}},
    AuditEntry: {"_id": {"$gte": "bench", "$lt": "benci"}},
}


class Command(BaseCommand):
    help = "Insert invented accounts with a year of payments, requests and staff's work. Not for production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--accounts", type=int, default=1_000_000)
        parser.add_argument("--requests", type=int, default=5_000_000)
        parser.add_argument("--count-days", action="store_true", help="count each day, as the sweeper does by and by")
        parser.add_argument("--replace", action="store_true", help="remove what an earlier run inserted, first")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("This would fill a production database with invented accounts.")
        if options["replace"]:
            self._remove()
        elif any(collection_of(model).find_one(own, {"_id": 1}) for model, own in OWN.items()):
            raise CommandError("An earlier run's documents are here. To start over: --replace, which removes them.")
        history = History(accounts=options["accounts"], requests=options["requests"])
        for model, documents in history.collections():
            self._insert(model, documents)
        reconcile_account(HEAVY)  # Adopts it, so that its page has something to add up.
        if options["count_days"]:
            collection_of(DailyFigures).delete_many({})
            days = refresh_figures() + count_earlier_days(seconds=COUNTING_SECONDS)
            self.stdout.write(f"{days} days counted")

    def _remove(self) -> None:
        for model, own in OWN.items():
            removed = collection_of(model).delete_many(own).deleted_count
            self.stdout.write(f"{removed} {model._meta.verbose_name_plural} removed")

    def _insert(self, model: type[Model], documents: Iterator[Document]) -> None:
        """Insert all, in batches; what a crash loses is loaded again, so nothing waits for the disk."""
        collection = collection_of(model).with_options(write_concern=WriteConcern(w=1, j=False))
        inserted = sum(_in_parallel(lambda batch: len(collection.insert_many(batch).inserted_ids), documents))
        self.stdout.write(f"{inserted} {model._meta.verbose_name_plural}")


def _in_parallel(insert: Callable[[list[Document]], int], documents: Iterator[Document]) -> Iterator[int]:
    """Call `insert` with one batch after the other, `WRITERS` at a time."""

    def run(batch: list[Document]) -> int:
        try:
            return insert(batch)
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        running = []
        while batch := list(islice(documents, BATCH)):
            running.append(pool.submit(run, batch))
            if len(running) == WRITERS:
                yield running.pop(0).result()
        yield from (future.result() for future in running)
