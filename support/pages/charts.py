"""Charts of values by day, drawn by the server: axes, a legend, the values where one points, and a table of them.

The template `support/chart.html` shows one. Lengths are units of the drawing, which is `WIDTH` wide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import ceil, floor, log10

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 24, 30
TICKS = 4
MOST_LABELS = 6
"""Days that are named below the axis."""
CHARACTER, LINE, PADDING = 6.6, 15, 8
UNKNOWN = "not known"
SHADES = ("primary-600", "primary-300", "base-400")


@dataclass(frozen=True)
class Series:
    """One row of values, a value for each day; None is one that is not known."""

    label: str
    values: Sequence[Decimal | None]


@dataclass(frozen=True)
class Tick:
    """A line across the drawing, and what it stands for."""

    y: float
    label: str


@dataclass(frozen=True)
class Bar:
    """The value of a series on one day."""

    x: float
    y: float
    width: float
    height: float
    shade: str


@dataclass(frozen=True)
class Tip:
    """What is shown of a day where one points at it: a box, and its lines."""

    x: float
    width: float
    height: float
    lines: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class DayColumn:
    """One day of the drawing and of the table. `label` is empty where there is no room for it below the axis."""

    x: float
    width: float
    middle: float
    label: str
    bars: tuple[Bar, ...]
    tip: Tip
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing and its table, ready for the template."""

    key: str
    title: str
    unit: str
    legend: tuple[tuple[str, str], ...]
    ticks: tuple[Tick, ...]
    columns: tuple[DayColumn, ...]
    zero: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(
    *,
    key: str,
    title: str,
    unit: str,
    days: Sequence[date],
    series: Sequence[Series],
    show: Callable[[Decimal], str],
    length: int = 1,
) -> Chart:
    """A chart of some days, of at most as many series as there are `SHADES`. `show` writes a value; `unit` names it.

    With a `length` each value is of so many days, of which `days` has the first.
    """
    known = [float(value) for one in series for value in one.values if value is not None]
    low, high, step = _scale(min(known, default=0.0), max(known, default=0.0))

    def y_of(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    count = round((high - low) / step)
    ticks = tuple(Tick(y_of(low + step * number), _tick(low + step * number, step)) for number in range(count + 1))
    wide = (WIDTH - LEFT - RIGHT) / len(days)
    every = ceil(len(days) / MOST_LABELS)
    columns = []
    for index, day in enumerate(days):
        x = LEFT + index * wide
        values = [(one, one.values[index]) for one in series]
        cells = tuple(UNKNOWN if value is None else show(value) for _, value in values)
        bars = tuple(_bars([value for _, value in values], x, wide, y_of))
        columns.append(
            DayColumn(
                x=round(x, 2),
                width=round(wide, 2),
                middle=round(x + wide / 2, 1),
                label=f"{day:%d %b}" if index % every == 0 else "",
                bars=bars,
                tip=_tip(
                    _name(day, length),
                    [f"{one.label}: {cell}" for one, cell in zip(series, cells, strict=True)],
                    x + wide / 2,
                ),
                name=_name(day, length),
                cells=cells,
            )
        )
    legend = tuple(zip((one.label for one in series), SHADES, strict=False))
    return Chart(key, title, unit, legend, ticks, tuple(columns), zero=y_of(0.0))


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """From where to where an axis goes, 0 included, and the step between its lines: 1, 2 or 5 of a power of ten."""
    least, most = min(least, 0.0), max(most, 0.0)
    if least == most:
        return 0.0, 1.0, 0.25
    raw = (most - least) / TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * 0.999)
    return floor(least / step) * step, ceil(most / step) * step, step


def _tick(value: float, step: float) -> str:
    places = max(0, -floor(log10(step))) + (1 if f"{step:e}".startswith("2.5") and step < 10 else 0)
    return f"{value:,.{places}f}".replace("-0", "0") if value == 0 else f"{value:,.{places}f}"


def _bars(values: Sequence[Decimal | None], x: float, wide: float, y_of: Callable[[float], float]) -> list[Bar]:
    """The values of one day, side by side."""
    width = wide * 0.8 / len(values)
    bars = []
    for index, value in enumerate(values):
        if not value:
            continue
        top, end = sorted((y_of(float(value)), y_of(0.0)))
        left = round(x + wide * 0.1 + index * width, 2)
        bars.append(Bar(left, top, round(max(width, 0.5), 2), round(max(end - top, 1.0), 1), SHADES[index]))
    return bars


def _name(day: date, length: int) -> str:
    return f"{day}" if length == 1 else f"{length} days from {day}"


def _tip(name: str, lines: Sequence[str], middle: float) -> Tip:
    lines = [name, *lines]
    width = round(max(len(line) for line in lines) * CHARACTER + 2 * PADDING, 1)
    x = round(min(max(middle - width / 2, LEFT), WIDTH - RIGHT - width), 1)
    placed = tuple((float(TOP + PADDING + LINE * number + 9), line) for number, line in enumerate(lines))
    return Tip(x, width, LINE * len(lines) + 2 * PADDING - 4, placed)
