"""One pass over `usersNew`: what of each document is missing, odd, unknown, or can be read only by a person."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.db import connection

from accounts.keys import HASHED_FROM
from accounts.models import USERNAME_PATTERN, Account, Balance
from accounts.needs_repair import problems_of
from accounts.rate_limits import FULL_AT
from accounts.takeover import is_made_here
from money.amounts import number_from_bson, to_bson
from mongo.collections import Document, collection_of
from mongo.fields import AdoptedField
from mongo.unreadable import Unreadable

BATCH = 2000
EXAMPLES = 5
MOST_UNKNOWN = 100
"""Different names of unknown fields that are counted one by one; the rest is counted as one."""
NOT_OURS = frozenset(
    ("passwordHash", "passwordSalt", "referralCode", "referredBy", "referralBonusAwarded", "purchasedAtNew")
)
"""Fields of the replaced system that this platform keeps and does not use."""
OURS = frozenset((HASHED_FROM, FULL_AT, "uncollectedDay", "uncollectedUsd", "unbilledTimeouts"))
"""Fields of this platform that no model has."""
_AMOUNTS = tuple(balance.field for balance in Balance)
_DISCORD_ID = re.compile(r"[0-9]{17,19}")


@dataclass
class Tally:
    """How many accounts something is true of, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    most: int = EXAMPLES

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < self.most:
            self.examples.append(example[:200])


@dataclass
class AccountSurvey:
    """What the pass found. `missing` and `unknown` are counts by field, `odd` are values that harm nobody."""

    total: int = 0
    needs_repair: Tally = field(default_factory=Tally)
    odd: Tally = field(default_factory=Tally)
    plain_keys: Tally = field(default_factory=Tally)
    without_key: Tally = field(default_factory=Tally)
    negative: Tally = field(default_factory=Tally)
    many_places: Tally = field(default_factory=Tally)
    odd_names: Tally = field(default_factory=Tally)
    odd_discord_ids: Tally = field(default_factory=Tally)
    disabled: Tally = field(default_factory=Tally)
    admins: Tally = field(default_factory=Tally)
    missing: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def survey_accounts(progress: Callable[[int], None]) -> AccountSurvey:
    """Look at every account once. Holds one batch of documents at a time; `progress` is told how many are done.

    Raises `PyMongoError`.
    """
    survey = AccountSurvey()
    fields = {str(one.column): one for one in Account._meta.concrete_fields if isinstance(one, AdoptedField)}
    accounts = collection_of(Account)
    options = accounts.codec_options.with_options(unicode_decode_error_handler="replace")
    for document in accounts.with_options(codec_options=options).find({}).batch_size(BATCH):
        _look_at(document, fields, survey)
        survey.total += 1
        if survey.total % BATCH == 0:
            progress(survey.total)
    progress(survey.total)
    return survey


def _look_at(document: Document, fields: Mapping[str, AdoptedField], survey: AccountSurvey) -> None:
    name = str(document["_id"])
    problems = problems_of(document)
    if problems:
        survey.needs_repair.add(f"{name}: {', '.join(f'{column} ({what})' for column, what in problems.items())}")
    for column, one in fields.items():
        if column not in document:
            survey.missing[column] += 1
        elif column not in problems and isinstance(
            found := one.from_db_value(document[column], None, connection), Unreadable
        ):
            survey.odd.add(f"{name}: {column} ({found})")
    for column in document.keys() - fields.keys() - NOT_OURS - OURS - {"_id"}:
        is_counted = column in survey.unknown or len(survey.unknown) < MOST_UNKNOWN
        survey.unknown[column if is_counted else "(others)"] += 1
    _look_at_identity(name, document, survey)
    for column in _AMOUNTS:
        amount = number_from_bson(document.get(column))
        if amount is None:
            continue
        if amount < 0:
            survey.negative.add(f"{name}: {column} {amount}")
        if isinstance(document[column], float) and to_bson(amount) != document[column]:
            survey.many_places.add(f"{name}: {column} {document[column]}")


def _look_at_identity(name: str, document: Document, survey: AccountSurvey) -> None:
    key, discord_id = document.get("apiKey"), document.get("discordId")
    if isinstance(key, str) and key:
        survey.plain_keys.add(name)
    elif document.get("apiKeyHash") is None and not is_made_here(document):
        survey.without_key.add(name)
    if not re.fullmatch(USERNAME_PATTERN, name):
        survey.odd_names.add(repr(name))
    if isinstance(discord_id, str) and discord_id and not _DISCORD_ID.fullmatch(discord_id):
        survey.odd_discord_ids.add(f"{name}: {discord_id}")
    if document.get("isActive") is False:
        survey.disabled.add(name)
    if document.get("role") == "admin":
        survey.admins.add(name)
