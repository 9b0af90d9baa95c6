"""What an operator has to decide before this platform serves an adopted database, and how much of it there is.

`inspect` shows these topics, and `take_over` refuses to begin while one of them has no answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.utils import timezone

from accounts.models import Account
from accounts.takeover import CONCERNED
from accounts.undecided import NOT_CONVERTED, not_expired
from money.amounts import format_usd, from_bson
from money.expressions import exact
from mongo.collections import Document, collection_of
from proxy.billing.replaced_prices import find_stale
from support.models import AuditEntry
from support.takeover.user_keys import survey_user_keys

ACTION = "take over"
EXAMPLES = 5


@dataclass(frozen=True)
class Found:
    """How many documents a topic is about, some of them by name, and sums of theirs."""

    count: int
    examples: list[str] = field(default_factory=list)
    sums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """One thing to decide. `answers` are the options of `take_over` for it, and what each of them means.

    `standing` are answers that are kept: what they leave as it is needs no other answer later.
    """

    name: str
    title: str
    answers: dict[str, str]
    find: Callable[[str | None], Found]
    standing: frozenset[str] = frozenset()


def _accounts(name: str, *, more: Document | None = None, **sums: str) -> Found:
    """Accounts that a decision concerns, counted by the database."""
    accounts = collection_of(Account)
    query = {"$and": [CONCERNED[name], more or {}]}
    group = {"_id": None, "count": {"$sum": 1}} | {label: {"$sum": exact(path)} for label, path in sums.items()}
    rows = list(accounts.aggregate([{"$match": query}, {"$group": group}]))
    if not rows:
        return Found(0)
    examples = [str(document["_id"]) for document in accounts.find(query, {"_id": 1}).limit(EXAMPLES)]
    added = {label: format_usd(from_bson(rows[0][label])) for label in sums}
    return Found(rows[0]["count"], examples, added)


def _find_expiry(earlier: str | None) -> Found:
    return _accounts("expiry", openhands="creditsNew", ohmygpt="credits")


def _find_referral(earlier: str | None) -> Found:
    """Once they are added, those of expired or unconverted accounts wait, and nobody is asked again."""
    can_be_added = {"$and": [not_expired(timezone.now()), {"$nor": [NOT_CONVERTED]}]}
    return _accounts("referral", more=can_be_added if earlier == "add" else None, referral="refCredits")


def _find_unmigrated(earlier: str | None) -> Found:
    return _accounts("unmigrated", ohmygpt="credits", openhands="creditsNew")


def _find_without_migration(earlier: str | None) -> Found:
    return _accounts("without_migration", ohmygpt="credits")


def _find_inactive(earlier: str | None) -> Found:
    return _accounts("inactive", openhands="creditsNew", ohmygpt="credits")


def _find_user_keys(earlier: str | None) -> Found:
    """Once they are adopted, what was revoked then is refused; only what was written since is asked about."""
    keys = survey_user_keys()
    count = keys.changes if earlier == "adopt" else keys.new + keys.dated + keys.revoked
    return Found(count, keys.changed.examples if count else [])


def _find_prices(earlier: str | None) -> Found:
    rows = find_stale()
    return Found(len(rows), [str(row.get("modelId", row["_id"])) for row in rows[:EXAMPLES]])


TOPICS = (
    Topic(
        "expiry",
        "accounts have a second expiry, expiresAtNew, later than expiresAt",
        {"--expiry later": "both balances expire at the later of the two dates"},
        _find_expiry,
    ),
    Topic(
        "unmigrated",
        "accounts were never converted to the present price of a credit (migration: false)",
        {
            "--unmigrated block": "their requests stay refused, with a sentence that says why",
            "--unmigrated convert": "their OhMyGPT credits are divided by 2.5; what they bought for OpenHands stays",
        },
        _find_unmigrated,
        frozenset({"block"}),
    ),
    Topic(
        "without_migration",
        "accounts do not say whether they were converted (no migration)",
        {
            "--without-migration keep": "their credits are spent as they are",
            "--without-migration block": "they are refused like those with migration: false",
            "--without-migration convert": "their OhMyGPT credits are divided by 2.5",
        },
        _find_without_migration,
        frozenset({"keep"}),
    ),
    Topic(
        "referral",
        "accounts have referral credits (refCredits)",
        {
            "--referral add": "they are added to the OhMyGPT credits, after which the replaced proxy took them",
            "--referral leave": "they stay where they are, and pay nothing",
        },
        _find_referral,
        frozenset({"leave"}),
    ),
    Topic(
        "inactive",
        "accounts have an isActive that is missing, null or 0, which the replaced programs took for inactive",
        {"--inactive disable": "they are disabled", "--inactive enable": "they are active"},
        _find_inactive,
    ),
    Topic(
        "user_keys",
        "documents of user_keys are revoked, or are a further key of their account",
        {
            "--user-keys adopt": "active ones become keys of their accounts, and revoked ones are refused, even if they"
            " are their account's own key",
            "--user-keys leave": "nothing is written: each is adopted, or refused, at its first use here",
        },
        _find_user_keys,
        frozenset({"leave"}),
    ),
    Topic(
        "prices",
        "rows of model_pricing are the replaced system's, whose proxies never read them: both upstreams, multiplier 1",
        {
            "--prices openhands=FILE ohmygpt=FILE": "the prices of its proxies' JSON files are imported, and these rows"
            " are not sold",
            "--stop-old-prices": "these rows are not sold",
            "--keep-old-prices": "these rows are sold as they are",
        },
        _find_prices,
        frozenset({"keep"}),
    ),
)


def earlier_answers() -> dict[str, str]:
    """What the last finished take-over answered, by topic; empty if there was none. Raises `DatabaseError`."""
    answers: dict[str, str] = {}
    # What was done to one account has its name as the target.
    for entry in AuditEntry.objects.filter(target="", action=ACTION, outcome=AuditEntry.Outcome.DONE).order_by("at"):
        answers |= {name: answer for name, answer in (entry.after or {}).get("decisions", {}).items() if answer}
    return answers


@dataclass(frozen=True)
class OpenTopic:
    """A topic and what there is of it; `is_decided` by an earlier answer that is kept."""

    topic: Topic
    found: Found
    answer: str | None

    @property
    def is_decided(self) -> bool:
        return not self.found.count or self.answer in self.topic.standing


def find_topics() -> list[OpenTopic]:
    """Every topic with what there is of it now. Looks through all accounts. Raises `PyMongoError`, `DatabaseError`."""
    answers = earlier_answers()
    return [OpenTopic(topic, topic.find(answers.get(topic.name)), answers.get(topic.name)) for topic in TOPICS]
