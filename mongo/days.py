"""Days and times of day as staff read and type them: in the zone of the site (`TIME_ZONE`), which is UTC unless set.

What is stored, what the APIs tell and the budgets of keys are in UTC, whatever the site's zone is.
"""

from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.utils import timezone

BEGINNING, END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def zone_name() -> str:
    """How a heading names the zone: `UTC`, or the place, such as `Ho Chi Minh`."""
    return str(settings.TIME_ZONE).rpartition("/")[2].replace("_", " ")


def local(moment: datetime) -> datetime:
    """A moment in the site's zone; one at the ends of all time as it is."""
    try:
        return timezone.localtime(moment, timezone.get_default_timezone())
    except OverflowError:
        return moment


def day_of(moment: datetime) -> date:
    """The day on which a moment is."""
    return local(moment).date()


def today() -> date:
    """The day that it is now."""
    return day_of(timezone.now())


def start_of(day: date) -> datetime:
    """The first moment of a day, in UTC."""
    try:
        return datetime.combine(day, time(), timezone.get_default_timezone()).astimezone(UTC)
    except OverflowError:
        return BEGINNING if day.year < 2000 else END


def end_of(day: date) -> datetime:
    """The first moment after a day, in UTC; the end of all time after the last one. A day may have 23 or 25 hours."""
    return start_of(day + timedelta(days=1)) if day < date.max else END


def show_time(moment: datetime) -> str:
    """A moment to the second: `2026-11-27 14:05:00`."""
    return f"{local(moment):%Y-%m-%d %H:%M:%S}"


def show_minute(moment: datetime) -> str:
    """A moment to the minute: `2026-11-27 14:05`."""
    return f"{local(moment):%Y-%m-%d %H:%M}"


def show_with_zone(moment: datetime) -> str:
    """A moment to the second, and in which zone that is: `2026-11-27 14:05:00 UTC`."""
    return f"{show_time(moment)} {zone_name()}"
