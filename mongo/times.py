"""Times of raw documents, which the driver returns without a zone though they are UTC."""

from datetime import UTC, datetime, timedelta


def as_utc(value: datetime) -> datetime:
    """A date of a raw document, with its zone."""
    return value.replace(tzinfo=UTC)


def aware(value: object) -> datetime | None:
    """The same for a field that may be missing, null or no date: None for all of these."""
    return as_utc(value) if isinstance(value, datetime) else None


def later(value: datetime, by: timedelta) -> datetime:
    """A time `by` later; the end of all time where that is after it. Old documents hold years such as 9999."""
    try:
        return value + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
