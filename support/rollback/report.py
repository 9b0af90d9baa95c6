"""What a roll-back found and did, row by row: counted as it goes, printed as a table or as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from money.amounts import ZERO, format_usd, usd_text

MOST_EXAMPLES = 5


@dataclass
class Row:
    """One kind of thing: how many there are, what is at stake in USD, and how many were seen to.

    `advice` is what to do about those that are left; without one there is nothing to do.
    """

    title: str
    advice: str = ""
    found: int = 0
    found_usd: Decimal = ZERO
    done: int = 0
    left: int = 0
    left_usd: Decimal = ZERO
    examples: list[str] = field(default_factory=list)

    def count(self, name: str, usd: Decimal = ZERO, *, is_done: bool, number: int = 1) -> None:
        """Count `number` things of `name`, worth `usd`: seen to, or left. Of the latter a few are named."""
        self.found += number
        self.found_usd += usd
        if is_done:
            self.done += number
            return
        self.left += number
        self.left_usd += usd
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(name)


@dataclass
class Report:
    """All rows. `will` is what `done` means: what was done, or what would be."""

    rows: dict[str, Row]
    is_applied: bool
    failures: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The table, then what to do about what is left."""
        done = "done" if self.is_applied else "would do"
        width = max(len(row.title) for row in self.rows.values())
        yield f"{'':{width}} {'found':>9} {'USD':>18} {done:>9} {'left':>9}"
        for row in self.rows.values():
            usd = format_usd(row.found_usd) if row.found_usd else ""
            yield f"{row.title:{width}} {row.found:>9,} {usd:>18} {row.done:>9,} {row.left:>9,}"
        for row in self.rows.values():
            if row.left and row.advice:
                usd = f" ({format_usd(row.left_usd)})" if row.left_usd else ""
                yield f"- {row.title}, {row.left:,} left{usd}: {row.advice}"
                more = ", …" if row.left > len(row.examples) else ""
                yield f"  {', '.join(row.examples)}{more}"
        for name, why in self.failures.items():
            yield f"- failed: {name}: {why}"

    def as_json(self) -> dict[str, Any]:
        rows = {
            name: {
                "title": row.title,
                "found": row.found,
                "found_usd": usd_text(row.found_usd),
                "done": row.done,
                "left": row.left,
                "left_usd": usd_text(row.left_usd),
                "examples": row.examples,
                "advice": row.advice if row.left else "",
            }
            for name, row in self.rows.items()
        }
        return {"applied": self.is_applied, "rows": rows, "failures": self.failures, **self.extra}
