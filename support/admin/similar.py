"""Whether a request was charged twice, in words, for the page of a request."""

from dataclasses import dataclass

from books.similar_requests import Likeness, Similar, SimilarRequests, read_similar
from money.amounts import format_usd
from proxy.models import RequestLog

WORDS = {
    Likeness.RETRY: "the same request, sent again by the client",
    Likeness.REPEAT: "looks like the same request, asked once more after the answer",
    Likeness.TWO_KEYS: "the same body with another Idempotency-Key: meant as another request",
    Likeness.DIFFERENT: "another request: its input is different",
    Likeness.UNKNOWN: "cannot be compared: no tokens of it are known",
}


@dataclass(frozen=True)
class Answer:
    """The words and rows for "was this charged twice?"."""

    verdict: str
    details: tuple[str, ...]
    rows: tuple[tuple[Similar, str, str], ...]
    """Each other request, when it began beside this one, and what it is to this one."""
    refused: tuple[str, ...]
    is_cut: bool
    has_idempotency_key: bool


def answer_of(log: RequestLog) -> Answer:
    """Read the similar requests of a log, and say what they mean."""
    found = read_similar(log)
    return Answer(
        verdict=_verdict(log, found),
        details=tuple(_details(found)),
        rows=tuple((row, _when(row.seconds), WORDS[row.likeness]) for row in found.rows),
        refused=found.refused,
        is_cut=found.is_cut,
        has_idempotency_key=found.has_idempotency_key,
    )


def _verdict(log: RequestLog, found: SimilarRequests) -> str:
    alike = found.alike
    paid = [row for row in alike if row.cost > 0]
    if not found.rows:
        once = "It was charged once." if log.cost > 0 else "It cost nothing."
        return f"No other request of this account to this model and endpoint came within a minute of it. {once}"
    if not alike:
        unknown = any(row.likeness is Likeness.UNKNOWN for row in found.rows)
        end = "as far as their tokens tell" if unknown else "their inputs are different"
        return f"Nothing in the same minute is this request once more: {end}."
    if not paid or not log.cost:
        return f"It was sent {_times(len(alike) + 1)}, and charged {'once' if paid or log.cost else 'nothing'}."
    total = format_usd(sum((row.cost for row in paid), log.cost))
    if all(row.likeness is Likeness.RETRY for row in paid):
        first = f"One request, sent {_times(len(alike) + 1)} by the client: each sending was answered and charged"
        return f"{first}, {total} together."
    if all(row.likeness is Likeness.TWO_KEYS for row in paid):
        return f"{len(paid) + 1} requests under idempotency keys of their own, with the same body: {total} together."
    return f"{len(paid) + 1} requests of this minute look the same, and each was charged: {total} together."


def _details(found: SimilarRequests) -> list[str]:
    """What explains a charge for each sending."""
    details = []
    is_unkeyed = not found.has_idempotency_key or any(not row.has_idempotency_key for row in found.alike)
    if found.alike and is_unkeyed:
        details.append(
            "Without an Idempotency-Key each sending is a request of its own, and is billed. With one, a retry gets "
            "the stored answer and costs nothing."
        )
    if any(row.likeness is Likeness.RETRY for row in found.alike):
        details.append(
            "A sending counts as a retry where the one before it failed, was broken off by the client, or was still "
            "running. What was used until then is billed."
        )
    if any(row.likeness is Likeness.REPEAT for row in found.alike):
        details.append(
            "The one before had been answered in full, so the client's program or its user asked again. Equal numbers "
            "of tokens do not prove that the texts were equal: they are not kept."
        )
    if found.has_idempotency_key:
        details.append("This request came with an Idempotency-Key: retries with it were answered free, and not logged.")
    return details


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _when(seconds: float) -> str:
    if abs(seconds) < 0.05:  # It would be shown as 0.0.
        return "at the same time"
    return f"{abs(seconds):.1f} s {'later' if seconds > 0 else 'earlier'}"
