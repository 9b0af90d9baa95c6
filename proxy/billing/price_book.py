"""Which price a model has on an upstream: the active rows of `ModelPrice`, read again after a few seconds."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Lock

from django.conf import settings

from accounts.models import Balance
from mongo.errors import DATABASE_FAILURES
from proxy.billing.pricing import Price, PriceList, Rates
from proxy.errors import ModelNotFound, ServiceUnavailable
from proxy.models import ModelPrice

logger = logging.getLogger(__name__)

STALE_SECONDS = 60.0
"""Prices that should have been read again serve for so long, while the database cannot be read."""
WAIT_SECONDS = 0.5
FAILURE_SECONDS = 1.0
"""After a read that failed, until the next one is tried."""


@dataclass(frozen=True)
class ListedModel:
    """A model that clients can ask for by name."""

    model_id: str
    created_at: datetime | None
    price: Price


class PriceBook:
    """The prices of one process. A change of a row is seen after `PRICE_CACHE_SECONDS`; thread-safe.

    Raises `ServiceUnavailable` while the database cannot be read, and prices are older than `STALE_SECONDS`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._models: dict[str, dict[str, ListedModel]] = {}
        self._expires = self._stale_until = 0.0
        self._failure: str | None = None
        self._told: set[str] = set()

    def find(self, upstream: Balance, model: str) -> Price:
        """The price of `model` (its id or an alias) on `upstream`; raises `ModelNotFound` when it has none."""
        listed = self._current()[upstream].get(model)
        if listed is None:
            raise ModelNotFound(model)
        return listed.price

    def list_models(self, upstream: Balance) -> list[ListedModel]:
        """Every model on `upstream` once, by id, without aliases."""
        models = self._current()[upstream]
        return sorted(
            (listed for name, listed in models.items() if name == listed.model_id), key=lambda listed: listed.model_id
        )

    def _current(self) -> dict[str, dict[str, ListedModel]]:
        # One thread reads and the others wait for it: a moment if they have prices to go on with, not at all once a
        # read has failed.
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
        if self._failure is not None:
            return 0
        return WAIT_SECONDS if time.monotonic() < self._stale_until else -1

    def _read(self) -> None:
        try:
            rows = [row for row in ModelPrice.objects.all() if row.is_active and self._has_price(row)]
        except DATABASE_FAILURES as error:
            logger.error("the prices cannot be read: %s", error)
            self._failure, self._expires = str(error), time.monotonic() + FAILURE_SECONDS
            return
        self._models = {upstream: _models_of(upstream, rows) for upstream in Balance.values}
        self._failure, self._expires = None, time.monotonic() + settings.PRICE_CACHE_SECONDS
        self._stale_until = self._expires + STALE_SECONDS

    def _has_price(self, row: ModelPrice) -> bool:
        """Whether a row can be billed by. If it cannot, its model is not served, which is logged once."""
        needed = (row.input_price, row.output_price)
        optional = (row.cache_write_price, row.cache_read_price, row.multiplier)
        if None not in needed and all(amount is None or amount >= 0 for amount in (*needed, *optional)):
            return True
        if row.pk not in self._told:
            self._told.add(row.pk)
            logger.error("price row %s is not used: its price is missing, not a number, or negative", row.pk)
        return False


def _models_of(upstream: str, all_rows: list[ModelPrice]) -> dict[str, ListedModel]:
    """Names to models. A row of the upstream beats one for both upstreams; a model's id beats another's alias."""
    rows = [row for row in all_rows if row.upstream in (None, "", upstream)]
    rows.sort(key=lambda row: bool(row.upstream))  # The specific row comes last and overwrites the general one.
    listed = [ListedModel(row.model_id, row.created_at, _price(row)) for row in rows]
    names = {alias: model for row, model in zip(rows, listed, strict=True) for alias in row.aliases or ()}
    return names | {model.model_id: model for model in listed}


def _price(row: ModelPrice) -> Price:
    """A row as it is billed. What an old row lacks: a cache price is the input price, a multiplier is 1."""
    rates = Rates(
        input=row.input_price,
        output=row.output_price,
        cache_write=_or(row.cache_write_price, row.input_price),
        cache_read=_or(row.cache_read_price, row.input_price),
        cache_write_1h=_or(row.cache_write_1h_price, 2 * row.input_price),
        input_audio=_or(row.input_audio_price, row.input_price),
        input_image=_or(row.input_image_price, row.input_price),
        output_audio=_or(row.output_audio_price, row.output_price),
        output_image=_or(row.output_image_price, row.output_price),
    )
    return Price(
        price_id=row.pk,
        model_id=row.model_id,
        upstream_model_id=row.upstream_model_id or row.model_id,
        charged=PriceList(rates=rates),
        multiplier=_or(row.multiplier, Decimal(1)),
        max_output_tokens=row.max_output_tokens or settings.DEFAULT_MAX_OUTPUT_TOKENS,
        has_audio_input=row.input_audio_price is not None,
        has_audio_output=row.output_audio_price is not None,
    )


def _or(price: Decimal | None, default: Decimal) -> Decimal:
    return default if price is None else price


PRICES = PriceBook()
"""The process's price book."""
