"""Which price a model has on an upstream: the active rows of `ModelPrice`, read again after a few seconds."""

import logging
import time
from threading import Lock

from bson.codec_options import DatetimeConversion
from django.conf import settings

from accounts.models import Balance
from mongo.collections import Document, collection_of
from mongo.errors import DATABASE_FAILURES
from proxy.billing.price_rows import PriceRow, RowNames, UnusablePrice, names_of, read_price_row
from proxy.billing.pricing import PLAIN, Price
from proxy.errors import ModelNotFound, ServiceUnavailable
from proxy.models import ModelPrice

logger = logging.getLogger(__name__)

STALE_SECONDS = 60.0
"""Prices that should have been read again serve for so long, while the database cannot be read."""
WAIT_SECONDS = 0.5
FAILURE_SECONDS = 1.0
"""After a read that failed, until the next one is tried."""


class PriceBook:
    """The prices of one process. A change of a row is seen after `PRICE_CACHE_SECONDS`; thread-safe.

    Raises `ServiceUnavailable` while the database cannot be read, and prices are older than `STALE_SECONDS`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._models: dict[str, dict[str, PriceRow]] = {}
        self._expires = self._stale_until = 0.0
        self._failure: str | None = None
        self._told: set[tuple[str, str]] = set()

    def find(self, upstream: Balance, model: str) -> Price:
        """The price of `model` (its id or an alias) on `upstream`; raises `ModelNotFound` when it has none."""
        return self.find_row(upstream, model).price

    def find_row(self, upstream: Balance, model: str) -> PriceRow:
        """The row of `model` (its id or an alias) on `upstream`; raises `ModelNotFound` when it has none."""
        listed = self._current()[upstream].get(model)
        if listed is None:
            raise ModelNotFound(model)
        return listed

    def list_models(self, upstream: Balance) -> list[tuple[str, PriceRow]]:
        """Every name that a model on `upstream` has, its id and its aliases, in alphabetical order; and its row."""
        return sorted(self._current()[upstream].items(), key=lambda named: named[0])

    def has_model(self, model: str) -> bool:
        """Whether `model` (an id or an alias) has a price on any upstream."""
        return any(model in listed for listed in self._current().values())

    def has_free_model(self, upstream: Balance) -> bool:
        """Whether a plain request to some model of `upstream` costs nothing."""
        rates = (listed.price.charged.rates for listed in self._current()[upstream].values())
        return any(not (each.dearest_input(PLAIN) or each.dearest_output(PLAIN)) for each in rates)

    def _current(self) -> dict[str, dict[str, PriceRow]]:
        # One thread reads and the others wait for it: a moment if they have prices to go on with, not at all once a
        # read has failed, and a moment again without any: this read may be the one that finds the database back.
        if time.monotonic() >= self._expires and self._lock.acquire(timeout=self._patience()):
            try:
                if time.monotonic() >= self._expires:
                    self._read()
            finally:
                self._lock.release()
        if self._failure is not None and time.monotonic() >= self._stale_until:
            raise ServiceUnavailable(f"the prices cannot be read: {self._failure}")
        return self._models

    def _patience(self) -> float:
        has_prices = time.monotonic() < self._stale_until
        if self._failure is None:
            return WAIT_SECONDS if has_prices else -1
        return 0 if has_prices else WAIT_SECONDS

    def _read(self) -> None:
        try:
            documents = stored_prices()
        except DATABASE_FAILURES as error:
            logger.error("the prices cannot be read: %s", error)
            self._failure, self._expires = str(error), time.monotonic() + FAILURE_SECONDS
            return
        active = [document for document in documents if document.get("isActive") is not False]
        read = [(document, self._usable(document)) for document in active]
        rows = [row for _, row in read if row]
        unusable = [names_of(document) for document, row in read if row is None]
        self._models = {upstream: _models_of(upstream, rows, unusable) for upstream in Balance.values}
        self._failure, self._expires = None, time.monotonic() + settings.PRICE_CACHE_SECONDS
        self._stale_until = self._expires + STALE_SECONDS

    def _usable(self, document: Document) -> PriceRow | None:
        """The row of a document; None if it cannot be billed by, which is logged once.

        The model of such a row is not there: a request for it is refused, not free.
        """
        try:
            return read_price_row(document)
        except UnusablePrice as error:
            told = (str(document["_id"]), str(error))
            if told not in self._told:
                self._told.add(told)
                logger.error("price row %s is not used: %s", *told)
            return None


def stored_prices(**query: object) -> list[Document]:
    """The stored price rows, whatever they hold: times out of range and broken text do not keep others from being read.

    Raises `PyMongoError`.
    """
    collection = collection_of(ModelPrice)
    options = collection.codec_options.with_options(
        datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
    )
    return list(collection.with_options(codec_options=options).aggregate([{"$match": query}]))


def _models_of(upstream: str, all_rows: list[PriceRow], unusable: list[RowNames]) -> dict[str, PriceRow]:
    """Names to models. A row of the upstream beats one for both upstreams; a model's id beats another's alias.

    What an unusable row would have been the price of is not sold by another, more general row.
    """
    rows = [row for row in all_rows if row.upstream in (None, upstream)]
    rows.sort(key=lambda row: row.upstream is not None)  # The specific row comes last and overwrites the general one.
    names = {alias: row for row in rows for alias in row.aliases}
    names |= {row.model_id: row for row in rows}
    for lost in unusable:
        if lost.upstreams and upstream not in lost.upstreams:
            continue
        for name in lost.names:
            row = names.get(name)
            is_more_specific = row is not None and row.upstream is not None and lost.is_for_both
            if row is not None and not is_more_specific and (name == lost.model_id or name != row.model_id):
                del names[name]
    return names


PRICES = PriceBook()
"""The process's price book."""
