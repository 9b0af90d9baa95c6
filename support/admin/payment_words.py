"""What became of a payment, in words and badges: paid and then refunded is not the same as paid."""

from decimal import Decimal
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from books.payment_story import PaymentStory, Sums
from money.amounts import format_usd
from mongo.days import show_with_zone
from payments.models import Payment, Reversal, WebhookEvent
from payments.orders.prices import refundable_of
from payments.providers import label_of
from support.admin.display import badge, show_money

Flag = Payment.Flag
WAYS_BACK = {Flag.REFUNDED: "refunded", Flag.DISPUTED: "charged back"}
STATE_COLOURS = {"notice": "warning", "closed": "", "counted": "danger", "cancelled": "success"}


def badges_of(payment: Payment) -> list[SafeString]:
    """What went back of a paid payment, as labels beside its status; none for what is paid and was left so."""
    names = {"flags", "refunded_amount", "received_amount", "amount", "credited"}
    if payment.status != Payment.Status.SUCCESS or names & payment.unreadable.keys():
        return []
    flags, gone = payment.flags or (), payment.refunded_amount or 0
    found = []
    if gone > 0:
        part = "in full" if gone >= refundable_of(payment)[0] else "in part"
        ways = [
            words for flag, words in ((Flag.REFUNDED, "refunded"), (Flag.DISPUTED, "charged back")) if flag in flags
        ]
        found.append(badge(f"{' and '.join(ways) or 'refunded'} {part}".capitalize(), "danger"))
    if Flag.INQUIRY in flags:
        found.append(badge("The bank asks", "warning"))
    return found


def sentences_of(payment: Payment, story: PaymentStory) -> list[SafeString | str]:
    """What became of a payment, and why the balance is below zero if it made it so."""
    if not story.is_readable:
        return ["Some of this payment cannot be read, so nothing of it is added up here."]
    if not story.is_paid:
        status = payment.get_status_display() or "Not paid"
        return [format_html("<strong>{}.</strong> No money was credited with this order.", status)]
    together = story.credits + story.bonus
    sentences: list[SafeString | str] = [_what_came(payment, story)]
    if together.went_back or story.money.went_back:
        sentences += [_what_went_back(story, together), *_below_zero(story)]
    else:
        sentences.append("Nothing of it went back.")
    return sentences


def _what_came(payment: Payment, story: PaymentStory) -> SafeString:
    return format_html(
        "<strong>Paid:</strong> {} came, and {} was credited{}.",
        show_money(story.money.came, story.currency),
        format_usd(story.credits.came),
        f", with a bonus of {format_usd(story.bonus.came)}" if story.bonus.came else "",
    )


def _what_went_back(story: PaymentStory, together: Sums) -> SafeString:
    share = "in full" if story.money.net <= 0 else "in part"
    disputes = sum(one.is_dispute for one in story.reversals if one.state == Reversal.State.COUNTED)
    refunds = sum(not one.is_dispute for one in story.reversals if one.state == Reversal.State.COUNTED)
    ways = [words for words, count in (("refunded", refunds), ("charged back", disputes)) if count]
    way = " and ".join(ways) or "refunded"
    bonus = f" and {format_usd(story.bonus.went_back)} of its bonus" if story.bonus.went_back else ""
    return format_html(
        "<strong>Then {} {}:</strong> {} went back, so {} of the credits{} {} taken off again. Left of it: {}, and {}.",
        way,
        share,
        show_money(story.money.went_back, story.currency),
        format_usd(story.credits.went_back),
        bonus,
        "were" if bonus else "was",
        show_money(story.money.net, story.currency),
        format_usd(together.net),
    )


def _below_zero(story: PaymentStory) -> list[SafeString | str]:
    fall = story.fell_below_zero
    if fall is None:
        return []
    first = format_html(
        "<strong>That is why the balance fell below zero:</strong> at {}, {} was taken off, of which {} had been "
        "spent or was held by requests. The OpenHands credits of {} fell to {}.",
        show_with_zone(fall.at),
        format_usd(fall.taken),
        format_usd(fall.missing),
        fall.account,
        format_usd(fall.balance_after),
    )
    return [first, *_now(story.balance)]


def _now(balance: Decimal | None) -> list[str]:
    if balance is None:
        return []
    refused = f" Requests are refused until more than {format_usd(-balance)} is bought." if balance < 0 else ""
    return [f"They are {format_usd(balance)} now.{refused}"]


def rows_of_sums(story: PaymentStory) -> list[tuple[str, str, str, str]]:
    """What came, what went back and what is left, as a table."""
    if not (story.is_paid and story.is_readable):
        return []

    def usd_row(label: str, sums: Sums) -> tuple[str, str, str, str]:
        return label, format_usd(sums.came), format_usd(sums.went_back), format_usd(sums.net)

    money = story.money
    shown = [show_money(amount, story.currency) for amount in (money.came, money.went_back, money.net)]
    return [
        ("Money", shown[0], shown[1], shown[2]),
        usd_row("Credits", story.credits),
        usd_row("Bonus", story.bonus),
        usd_row("Credits and bonus", story.credits + story.bonus),
    ]


def promotion_words(payment: Payment, story: PaymentStory) -> str:
    """The promotion that an order was made with, and what of it was credited."""
    if "bonus_percent" in payment.unreadable or not payment.bonus_percent:
        return "none when it was ordered"
    names = [one.name for one in story.promotions if one.percent == payment.bonus_percent]
    name = f" ({' or '.join(names)})" if names else ""
    percent = f"{payment.bonus_percent.normalize():f} %{name} when it was ordered"
    if story.is_paid and not story.bonus.came:
        return f"{percent}; no bonus was credited, as less was paid than ordered"
    return f"{percent}: {format_usd(story.bonus.came)} credited" if story.is_paid else percent


def rows_of_reversals(story: PaymentStory) -> list[dict[str, Any]]:
    """Its refunds and disputes, each with its latest state."""
    return [
        {
            "what": "Dispute" if one.is_dispute else "Refund, all so far" if one.is_cumulative else "Refund",
            "id": one.reversal_id,
            "provider": label_of(one.provider),
            "amount": show_money(one.amount, story.currency) if one.amount else "–",
            "state": badge(one.get_state_display(), STATE_COLOURS.get(one.state, "")),
            "at": one.occurred_at,
        }
        for one in story.reversals
    ]


def event_words(event: WebhookEvent) -> str:
    """Who decided about an event and why, or why it is as it is."""
    decided = f"{event.resolved_by}: {event.resolution}" if event.resolved_by else ""
    return "; ".join(part for part in (decided, event.error) if part) or "by the rules"
