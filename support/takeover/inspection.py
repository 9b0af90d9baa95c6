"""What an operator must know of an adopted database before taking it over. Reads only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from django.db import connection
from django.db.models import Model

from accounts.keys import mask_key
from accounts.models import Account
from mongo.backend.base import DatabaseWrapper
from mongo.backend.planning import IndexPlan, plan_indexes
from mongo.collections import collection_of
from mongo.fields import unreadable_condition
from payments.models import Payment
from proxy.models import ModelPrice, RequestLog
from support.takeover.accounts import AccountSurvey, Tally, survey_accounts
from support.takeover.topics import OpenTopic, find_topics
from support.takeover.user_keys import UserKeys, count_friend_keys, survey_user_keys

EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` says what to do, or why nothing need be done; `option` decides it.

    `must_be_decided` while it harms somebody, or is refused, until somebody has decided.
    """

    name: str
    count: int
    what: str
    advice: str
    examples: list[str] = field(default_factory=list)
    sums: dict[str, str] = field(default_factory=dict)
    must_be_decided: bool = False


def inspect_database(
    progress: Callable[[str, int, int], None], *, with_requests: bool = True
) -> tuple[int, list[Finding]]:
    """How many accounts there are, and what was found, in the order of its weight. `progress`: what, done, of how many.

    Raises `PyMongoError`, `DatabaseError`.
    """
    total = collection_of(Account).estimated_document_count()
    progress("decisions", 0, 0)
    findings = [_of_topic(topic) for topic in find_topics()]
    survey = survey_accounts(lambda done: progress("accounts", done, total))
    findings += _of_accounts(survey)
    progress("duplicates", 0, 0)
    findings += _duplicates()
    progress("user_keys", 0, 0)
    keys = survey_user_keys(lambda done, of: progress("user_keys", done, of))
    findings += _of_keys(keys, count_friend_keys())
    models: list[type[Model]] = [Payment, ModelPrice, *([RequestLog] if with_requests else [])]
    for model in models:
        progress(model._meta.db_table, 0, 0)
        findings.append(_unreadable(model))
    findings.append(_pending())
    progress("indexes", 0, 0)
    findings += _of_indexes(plan_indexes(cast(DatabaseWrapper, connection)))
    return survey.total, [finding for finding in findings if finding.count]


def _of_topic(one: OpenTopic) -> Finding:
    topic = one.topic
    if one.is_decided:
        advice = f"Decided: {one.answer}."
    else:
        answers = "; ".join(f"{option} ({meaning})" for option, meaning in topic.answers.items())
        advice = f"Decide with manage.py take_over: {answers}."
    return Finding(
        name=topic.name,
        count=one.found.count,
        what=topic.title,
        advice=advice,
        examples=one.found.examples,
        sums=one.found.sums,
        must_be_decided=not one.is_decided,
    )


def _of_accounts(survey: AccountSurvey) -> list[Finding]:
    lines: list[tuple[str, Tally, str, str]] = [
        (
            "needs_repair",
            survey.needs_repair,
            "accounts hold something that cannot be read where that matters",
            "They are refused until an engineer has repaired them: docs/odd-documents.md.",
        ),
        (
            "odd_values",
            survey.odd,
            "values of accounts cannot be read and harm nobody",
            "They are shown as unreadable. Nothing need be done.",
        ),
        (
            "negative",
            survey.negative,
            "balances are below zero",
            "A debt: nothing can be spent until a purchase has paid it. Staff may adjust it.",
        ),
        (
            "many_places",
            survey.many_places,
            "balances have more than 8 decimal places",
            "They are read rounded to 8 places, and stored so with the next movement. Nothing need be done.",
        ),
        (
            "plain_keys",
            survey.plain_keys,
            "accounts hold their API key as plain text",
            "They work. Once no roll-back needs them: manage.py hash_api_keys.",
        ),
        (
            "without_key",
            survey.without_key,
            "accounts have no API key in usersNew",
            "They cannot be used until staff have given them one: “Replace the API key” on the account's page.",
        ),
        (
            "odd_names",
            survey.odd_names,
            "names could not be given to a new account (capitals, spaces, …)",
            "They work as they are. Nothing need be done.",
        ),
        (
            "odd_discord_ids",
            survey.odd_discord_ids,
            "Discord ids have not 17 to 19 digits",
            "They are shown, and nobody is found by them. Staff may correct them on the account's page.",
        ),
        ("disabled", survey.disabled, "accounts are disabled (isActive: false)", "They stay so."),
        (
            "admins",
            survey.admins,
            "accounts have the role admin",
            "It gives no rights here: staff have users of their own (docs/admin.md).",
        ),
    ]
    findings = [Finding(name, tally.count, what, advice, tally.examples) for name, tally, what, advice in lines]
    missing = [f"{name} {count}" for name, count in survey.missing.most_common()]
    unknown = [f"{name} {count}" for name, count in survey.unknown.most_common()]
    return [
        *findings,
        Finding("missing", len(missing), "fields are missing in some accounts", "Absent means the default.", missing),
        Finding(
            "unknown", len(unknown), "fields of accounts are not known here", "They are kept and not used.", unknown
        ),
    ]


def _duplicates() -> list[Finding]:
    lines: list[tuple[str, type[Model], str, str, str, bool]] = [
        (
            "same_api_key",
            Account,
            "apiKey",
            "API keys belong to several accounts",
            "Only one of them would pay. Give all but one another key: “Replace the API key” on the account's page.",
            True,
        ),
        (
            "same_discord_id",
            Account,
            "discordId",
            "Discord ids belong to several accounts",
            "A search finds all of them. Nothing need be done.",
            False,
        ),
        (
            "same_order_code",
            Payment,
            "orderCode",
            "order codes belong to several orders",
            "Money that names one waits for review, where staff choose the order.",
            False,
        ),
    ]
    findings = []
    for name, model, column, what, advice, must_be_decided in lines:
        pipeline: list[dict[str, Any]] = [
            {"$match": {column: {"$gt": ""}}},
            {"$group": {"_id": f"${column}", "count": {"$sum": 1}}},
            {"$match": {"count": {"$gt": 1}}},
            {"$facet": {"all": [{"$count": "count"}], "some": [{"$limit": EXAMPLES}]}},
        ]
        (row,) = collection_of(model).aggregate(pipeline, allowDiskUse=True)
        examples = [f"{mask_key(str(one['_id']))} × {one['count']}" for one in row["some"]]
        count = row["all"][0]["count"] if row["all"] else 0
        findings.append(Finding(name, count, what, advice, examples, must_be_decided=bool(count and must_be_decided)))
    return findings


def _of_keys(keys: UserKeys, friend_keys: int) -> list[Finding]:
    return [
        Finding("user_keys_active", keys.own, "documents of user_keys are their account's own key", "They work."),
        Finding(
            "user_keys_further",
            keys.further,
            "documents of user_keys are a further key of their account",
            "They were adopted: this platform's own entry says whether they work. Nothing need be done.",
        ),
        Finding(
            "user_keys_revoked",
            keys.revoked,
            "documents of user_keys are revoked",
            "They are refused here: at their first use, or all at once with take_over --user-keys adopt.",
        ),
        Finding(
            "user_keys_extra",
            keys.new,
            "documents of user_keys would become a further key of their account",
            "They become one at their first use here, or all at once with take_over --user-keys adopt.",
        ),
        Finding(
            "without_usable_key",
            keys.without_key.count,
            "accounts have no key that can be used once revoked keys are refused",
            "Give them a new key, if they may have one: “Replace the API key” on the account's page.",
            keys.without_key.examples,
        ),
        Finding(
            "user_keys_odd",
            keys.odd.count,
            "documents of user_keys cannot be taken",
            "They are refused here, for the reason that is given. Correct them before take_over, or give a new key.",
            keys.odd.examples,
        ),
        Finding(
            "user_keys_unknown",
            keys.unknown,
            "documents of user_keys name no account",
            "They are refused here, as nobody would pay.",
        ),
        Finding(
            "friend_keys",
            friend_keys,
            "friend keys (friend_keys)",
            "They are refused here, with 401: give their users accounts of their own.",
        ),
    ]


def _unreadable(model: type[Model]) -> Finding:
    collection = collection_of(model)
    condition = unreadable_condition(model)
    examples = [str(document["_id"]) for document in collection.find(condition, {"_id": 1}).limit(EXAMPLES)]
    count = collection.count_documents(condition) if examples else 0
    name = model._meta.db_table
    advice = "They are refused or shown as unreadable: docs/odd-documents.md."
    return Finding(f"odd_{name}", count, f"documents of {name} hold something that cannot be read", advice, examples)


def _pending() -> Finding:
    payments = collection_of(Payment)
    query = {"status": Payment.Status.PENDING.value, "provider": None}
    examples = [str(one.get("orderCode")) for one in payments.find(query, {"orderCode": 1}).limit(EXAMPLES)]
    return Finding(
        "pending_orders",
        payments.count_documents(query),
        "orders of the replaced system are not paid yet",
        "Money for them is credited here as soon as the provider's webhook leads here, and to no other program.",
        examples,
    )


def _of_indexes(plan: IndexPlan) -> list[Finding]:
    return [
        Finding(
            "indexes_added",
            len(plan.added),
            f"indexes will be added by manage.py migrate ({plan.migrations} migrations)",
            "No document is changed. Large collections take minutes.",
            plan.added,
        ),
        Finding(
            "indexes_dropped",
            len(plan.dropped),
            "indexes will be dropped by manage.py migrate",
            "A model has a price row for each upstream here, so its name is not unique.",
            plan.dropped,
        ),
    ]
