"""What a campaign found, as text."""

import statistics

from faults.campaign import Campaign, Options
from faults.journal import Journal

EXAMPLES = 5
"""Of each kind of violation; all of them stand in the journal's file."""
DOUBLED = ("billed twice", "a payment credited otherwise than once")
LOST = ("an acknowledged payment is lost", "an order that was taken is not there", "a transfer is not whole")


def render(campaign: Campaign, options: Options, *, seconds: float, directory: str) -> str:
    """The report of a run."""
    journal = campaign.journal
    requests = [request for account in journal.accounts for request in account.requests.values()]
    answered = sum(request.answer is not None for request in requests)
    events = ", ".join(f"{count} x {name}" for name, count in sorted(journal.events.items())) or "none"
    roll_backs = campaign.system.replica_set.roll_backs()
    lines = [
        "",
        f"seed {options.seed}, {options.members} mongod, {'short' if options.has_short_times else 'shipped'} times, "
        f"{seconds / 60:.1f} minutes, {campaign.rounds} rounds, {campaign.episodes} episodes",
        f"faults: {events}; roll-backs in the logs of mongod: {roll_backs}",
        f"requests: {len(requests)} billed ones, {answered} with a whole answer, "
        f"{sum(len(request.attempts) for request in requests)} attempts; "
        f"{len(journal.orders)} orders, {sum(order.acknowledged_at is not None for order in journal.orders)} paid; "
        f"{len(journal.transfers)} transfers",
        f"lost: {_count(journal, LOST)}, doubled: {_count(journal, DOUBLED)}, given away: "
        f"{sum(len(found) for kind, found in journal.violations.items() if kind.startswith('an answer given away'))}",
        "not collected, by rule: "
        + (", ".join(f"{count} x {reason}" for reason, count in journal.uncollected.items()) or "nothing"),
        f"seconds from the end of an episode to the first billed answer: {_spread(journal.first_billed_seconds)}",
        f"longest wait of all clients for a billed answer, an episode: {_spread(journal.gap_seconds)}",
        f"seconds until all endpoints were seen to work: {_spread(journal.well_seconds)}",
        f"logs and journal: {directory}",
        "",
    ]
    for kind, found in sorted(journal.violations.items()):
        lines.append(f"VIOLATION {kind}: {len(found)}")
        lines += [f"    {detail[:600]}" for detail in found[:EXAMPLES]]
    lines.append("no violation" if not journal.violations else f"again: {command(options)}")
    return "\n".join(lines)


def command(options: Options) -> str:
    """What to type for the same plan again."""
    times = "short" if options.has_short_times else "shipped"
    only = f' ONLY="{" ".join(options.only)}"' if options.only else ""
    return (
        f"make faults SEED={options.seed} MEMBERS={options.members} MINUTES={options.minutes:g} TIMES={times} "
        f"FREEZE={options.longest_freeze:g} ROUND={options.round_seconds:g}{only}"
    )


def _count(journal: Journal, kinds: tuple[str, ...]) -> int:
    return sum(len(journal.violations.get(kind, [])) for kind in kinds)


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    return f"median {statistics.median(values):.1f}, most {max(values):.1f} (of {len(values)})"
