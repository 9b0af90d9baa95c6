"""The price rows in use when this platform took over (USD per million tokens)."""

from decimal import Decimal
from typing import NamedTuple

from accounts.models import Balance
from proxy.models import ModelPrice


class Row(NamedTuple):
    upstream: Balance
    model_id: str
    alias: str | None
    display_name: str
    input: str
    output: str
    cache_write: str
    cache_read: str
    multiplier: str


_OPUS, _SONNET, _HAIKU = "claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"
ROWS = (
    Row(Balance.OPENHANDS, _OPUS, "claude-opus-4-5", "Claude Opus 4.5", "4", "20", "6.25", "0.5", "1.02"),
    Row(Balance.OPENHANDS, _SONNET, "claude-sonnet-4-5", "Claude Sonnet 4.5", "3", "14", "3.75", "0.3", "1.02"),
    Row(Balance.OPENHANDS, _HAIKU, "claude-haiku-4-5", "Claude Haiku 4.5", "1", "5", "1.25", "0.1", "1.05"),
    Row(Balance.OHMYGPT, _OPUS, "claude-opus-4-5", "Claude Opus 4.5", "5", "25", "6.25", "0.5", "1.15"),
    Row(Balance.OHMYGPT, _SONNET, "claude-sonnet-4-5", "Claude Sonnet 4.5", "3", "15", "3.75", "0.3", "1.15"),
    Row(Balance.OHMYGPT, _HAIKU, "claude-haiku-4-5", "Claude Haiku 4.5", "1", "5", "1.3", "0.11", "1.15"),
)
MAX_OUTPUT_TOKENS = {_OPUS: 64_000, _SONNET: 64_000, _HAIKU: 64_000}


def seed_prices() -> int:
    """Add the rows that are missing and return how many; existing rows are never changed. Safe to repeat."""
    added = 0
    for row in ROWS:
        _, is_new = ModelPrice.objects.get_or_create(
            upstream=row.upstream.value,
            model_id=row.model_id,
            defaults={
                "id": f"{row.upstream.value}/{row.model_id}",
                "aliases": [row.alias] if row.alias else [],
                "display_name": row.display_name,
                "input_price": Decimal(row.input),
                "output_price": Decimal(row.output),
                "cache_write_price": Decimal(row.cache_write),
                "cache_read_price": Decimal(row.cache_read),
                "multiplier": Decimal(row.multiplier),
                "max_output_tokens": MAX_OUTPUT_TOKENS[row.model_id],
            },
        )
        added += is_new
    return added
