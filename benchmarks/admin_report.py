"""The report of `make bench-admin`, as Markdown."""

from dataclasses import dataclass
from statistics import median

from benchmarks.admin_pages import Page

SHOWN_SLOWEST = 20


@dataclass(frozen=True)
class Timing:
    """How long one page took each time, and which of its queries must not be as they are."""

    page: Page
    seconds: list[float]
    problems: list[str]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def slowest(self) -> float:
        return max(self.seconds)


def render(timings: list[Timing], *, most_seconds: float, notes: list[str]) -> tuple[str, bool]:
    """The report, and whether every page keeps to the time and to its indexes."""
    lines = ["| pages | of them | median ms | slowest page's median ms | slowest ms |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for group in dict.fromkeys(timing.page.group for timing in timings):
        found = [timing for timing in timings if timing.page.group == group]
        medians = [timing.median for timing in found]
        slowest = max(timing.slowest for timing in found)
        lines.append(f"| {group} | {len(found)} | {_ms(median(medians))} | {_ms(max(medians))} | {_ms(slowest)} |")
    lines += ["", "The slowest pages:", "", "| page | median ms | slowest ms |", "| --- | ---: | ---: |"]
    for timing in sorted(timings, key=lambda timing: -timing.median)[:SHOWN_SLOWEST]:
        lines.append(f"| `{timing.page.address}` | {_ms(timing.median)} | {_ms(timing.slowest)} |")
    slow = [timing for timing in timings if timing.median > most_seconds]
    problems = [f"{timing.page.address} {problem}" for timing in timings for problem in timing.problems]
    lines += ["", *(f"- {note}" for note in notes)]
    lines.append(f"- Pages over {most_seconds:g} s in the median: {len(slow)}")
    lines.append(f"- Queries that read or sort a big collection: {len(problems)}")
    lines += [f"  - `{problem}`" for problem in problems]
    return "\n".join(lines) + "\n", not slow and not problems


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"
