"""What a provider's event says, in our words: each provider translates its own format into these."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True)
class BankTransfer:
    """What reports of one transfer have in common, though each source gives it an id of its own. All normalised."""

    accounts: frozenset[str]
    """The account, or accounts, that it came to; empty if none is named."""
    reference: str
    """The bank's; '' if it is not reported. Some have four digits, so it is not unique."""
    memo: str = field(compare=False)
    """Banks and sources shorten it and write before it."""


@dataclass(frozen=True)
class MoneyReceived:
    """Money has arrived."""

    transaction_id: str
    """The provider's name for the money; one payment has one."""
    transfer_key: str = field(compare=False)
    """The same in every report of this money (by webhook or pull), whatever id the report has."""
    amount: Decimal
    """In units of `currency`, above 0."""
    currency: str
    order_codes: tuple[str, ...]
    """Codes that may be meant; the look-up decides."""
    occurred_at: datetime
    problem: str = ""
    """Why it must not be credited without a person: wrong account, test mode."""
    session_id: str = ""
    """The payment page that it was paid on, where there is one: it must be the one that was made for the order."""
    transfer: BankTransfer | None = None
    """Where ids do not identify the money; None = `transaction_id` is the same in all its reports."""
    memo: str = field(default="", compare=False)
    """What the payer wrote, as it came: for people to read. '' where payers write nothing."""
    reference: str = field(default="", compare=False)
    """The bank's, as it came: for people to read. '' if none is reported."""

    def money_key(self, provider: str) -> str:
        """What money is looked up by that may be this: its amount, as a number, in its currency."""
        return f"{provider}:{self.currency}:{self.amount.normalize():f}"


class ReversalState(StrEnum):
    """How far a refund or dispute has come. Of two reports the newer one counts, by the provider's own time."""

    NOTICE = "notice"
    """An inquiry: nothing is reversed yet."""
    CLOSED = "closed"
    """The inquiry ended, and nothing is reversed; a dispute may follow all the same."""
    COUNTED = "counted"
    """The money is gone or on its way: its credits are reversed."""
    CANCELLED = "cancelled"
    """The refund failed or the dispute was won: what was reversed is reinstated."""


@dataclass(frozen=True)
class MoneyReversed:
    """Money went back: a refund, or a dispute of the payer's bank."""

    reversal_id: str
    """The provider's name for the refund or dispute; the same in all its events."""
    transaction_id: str
    """The money that goes back, as `MoneyReceived.transaction_id`."""
    amount: Decimal
    """In units of `currency`; 0 in a warning, which then has no currency."""
    currency: str
    state: ReversalState
    occurred_at: datetime
    """When the provider made the report: a later one is newer."""
    is_dispute: bool = False
    is_cumulative: bool = False
    """`amount` is all that was refunded so far, not this refund alone."""
    problem: str = ""
    charge_id: str = ""
    """Another name that the provider has for the money; some events have this one alone."""


class OrderState(StrEnum):
    """What a payment page that brought no money says about its order."""

    PROCESSING = "processing"
    """The payer has paid, their bank takes its time."""
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True)
class OrderUpdate:
    """An order's payment page changed without money: it closed, failed, or waits for a slow bank."""

    order_codes: tuple[str, ...]
    state: OrderState
    session_id: str = ""
    """As in `MoneyReceived`."""
    problem: str = ""
    """Why a person must look at it."""


@dataclass(frozen=True)
class NoMoney:
    """Nothing to do: an outgoing transfer, or an event type that moves nothing here."""

    reason: str


Fact = MoneyReceived | MoneyReversed | OrderUpdate | NoMoney


@dataclass(frozen=True)
class ProviderEvent:
    """One event of a provider, read."""

    event_id: str
    fact: Fact
    kind: str = field(default="")
    """The provider's own name of the event type, for staff."""

    def transfer_key(self, provider: str) -> str | None:
        """What an event is filed under: the money that it reports, or the money that it reverses."""
        match self.fact:
            case MoneyReceived(transfer_key=key):
                return key
            case MoneyReversed(transaction_id=transaction_id):
                return reversal_key(provider, transaction_id)
        return None


def reversal_key(provider: str, transaction_id: str) -> str:
    """What the refunds and disputes of a transaction are filed under, to be found when its payment arrives."""
    return f"for:{provider}:{transaction_id}"[:80]
