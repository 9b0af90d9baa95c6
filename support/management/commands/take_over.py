"""`manage.py take_over`: does what was decided about an adopted database; only shows it without `--yes`."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.takeover import Decisions, Expiry, Inactive, Referral, Unmigrated, WithoutMigration
from mongo.errors import DATABASE_FAILURES
from proxy.billing.price_files import UnreadableFile
from support.errors import NotFinished
from support.takeover.prices import read_files
from support.takeover.progress import Progress
from support.takeover.run import Order, Outcome, Prices, UserKeysAnswer, preview, take_over
from support.takeover.topics import OpenTopic, find_topics

LONGEST_ACTOR = 150


class Command(BaseCommand):
    help = (
        "Take over the accounts and prices of the replaced system, as it is decided here. Shows what would be done, "
        "with sums; does it with --yes. May be interrupted and run again: nothing is done twice. Refuses to begin "
        "while inspect asks for a decision that no option gives."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Do it. Without, it is only shown.")
        parser.add_argument("--actor", default="take_over", help="Who decided, for the ledger and the audit trail.")
        parser.add_argument("--reason", default="Take-over", help="Why, for the audit trail.")
        parser.add_argument("--expiry", choices=list(Expiry), help="A second, later date in expiresAtNew.")
        parser.add_argument("--referral", choices=list(Referral), help="Referral credits in refCredits.")
        parser.add_argument("--unmigrated", choices=list(Unmigrated), help="Accounts with migration: false.")
        parser.add_argument("--without-migration", choices=list(WithoutMigration), help="Accounts without migration.")
        parser.add_argument("--inactive", choices=list(Inactive), help="isActive missing, null or 0.")
        parser.add_argument("--user-keys", choices=list(UserKeysAnswer), help="Revoked and further keys in user_keys.")
        parser.add_argument(
            "--prices",
            nargs="+",
            metavar="FILE",
            help="The JSON files of the replaced proxies, such as openhands=FILE. Its own rows are not sold any more.",
        )
        rows = parser.add_mutually_exclusive_group()
        rows.add_argument("--keep-old-prices", action="store_true", help="Sell the rows of model_pricing as they are.")
        rows.add_argument("--stop-old-prices", action="store_true", help="Sell the rows of model_pricing no more.")

    def handle(self, *args: Any, **options: Any) -> None:
        order = _order(options)
        progress = Progress(sys.stderr)
        progress("decisions", 0, 0)
        topics = find_topics()
        progress.clear()
        _refuse_what_is_undecided(topics, order)
        for one in topics:
            if one.found.count:
                answer = order.answers()[one.topic.name] or f"{one.answer} (as before)"
                self.stdout.write(f"{one.found.count:,} {one.topic.title}: {answer}")
        try:
            outcome = (take_over if options["yes"] else preview)(order, progress)
        except (NotFinished, *DATABASE_FAILURES) as error:
            raise CommandError("The database gave up. What was done stays: run the same command again.") from error
        finally:
            progress.clear()
        self._print(outcome, is_done=options["yes"])
        if outcome.failed:
            raise CommandError(f"{len(outcome.failed)} accounts failed, see above. All others are done.")

    def _print(self, outcome: Outcome, *, is_done: bool) -> None:
        self.stdout.write("Done:" if is_done else "Would be done:")
        for line in outcome.lines():
            self.stdout.write(f"  {line}")
        if not is_done:
            self.stdout.write("Nothing was written: look at it, then add --yes.")


def _order(options: dict[str, Any]) -> Order:
    actor = options["actor"].strip()
    if not 0 < len(actor) <= LONGEST_ACTOR:
        raise CommandError(f"--actor has 1 to {LONGEST_ACTOR} characters.")
    try:
        rows = read_files(options["prices"] or [])
    except UnreadableFile as error:
        raise CommandError(str(error)) from error
    prices = Prices.KEEP if options["keep_old_prices"] else Prices.STOP if options["stop_old_prices"] else None
    if rows and prices is None:
        prices = Prices.IMPORT
    return Order(
        decisions=Decisions(
            expiry=_choice(Expiry, options["expiry"]),
            referral=_choice(Referral, options["referral"]),
            unmigrated=_choice(Unmigrated, options["unmigrated"]),
            without_migration=_choice(WithoutMigration, options["without_migration"]),
            inactive=_choice(Inactive, options["inactive"]),
        ),
        actor=actor,
        reason=options["reason"][:500],
        user_keys=_choice(UserKeysAnswer, options["user_keys"]),
        prices=prices,
        price_rows=rows,
    )


def _choice(kind: Any, value: str | None) -> Any:
    return None if value is None else kind(value)


def _refuse_what_is_undecided(topics: list[OpenTopic], order: Order) -> None:
    """Raise `CommandError` with every topic that has no answer, and its options."""
    answers = order.answers()
    missing = [
        f"{one.found.count:,} {one.topic.title}: {' or '.join(one.topic.answers)}"
        for one in topics
        if not one.is_decided and not answers[one.topic.name]
    ]
    if missing:
        raise CommandError("\n  ".join(["Nothing was written. Decide first:", *missing]))
