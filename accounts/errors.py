"""What can be wrong with an account or a movement of credits."""

from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from accounts.advice import buy_credits, contact_support
from money.amounts import ZERO, format_usd
from mongo.errors import UnreadableDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.rate_limits import RateLimit
    from mongo.unreadable import Unreadable


class BillingError(Exception):
    """Base of every error the domain raises. `str(error)` is the operator's text.

    `code` is stable and part of the API; `customer_message` never holds a secret, a key or another customer's data.
    """

    code: ClassVar[str] = "billing_error"

    def __init__(self, message: str, *, customer_message: str | None = None) -> None:
        super().__init__(message)
        self.customer_message = customer_message or message


class InvalidApiKey(BillingError):
    code = "invalid_api_key"

    def __init__(self, message: str = "no account has this API key") -> None:
        super().__init__(
            message,
            customer_message="Invalid API key. Send your key as 'Authorization: Bearer <key>' or 'x-api-key: <key>'.",
        )


class AccountDisabled(BillingError):
    code = "account_disabled"

    def __init__(self, username: str) -> None:
        super().__init__(
            f"account {username!r} is disabled",
            customer_message=f"This account is disabled: {contact_support()} to have it enabled.",
        )


class AccountUnderReview(BillingError):
    """An account whose requests ended above their holds too often; staff clear it."""

    code = "account_under_review"

    def __init__(self, username: str) -> None:
        super().__init__(
            f"account {username!r} is under review: its requests cost more than they held",
            customer_message="This account is under review because its requests cost more than could be held for them. "
            f"Your credits are kept: {contact_support()}.",
        )


class AccountNeedsRepair(BillingError, UnreadableDocument):
    """The account's document holds something that cannot be read where that would harm: in a balance, the expiry, …

    `problems` are the stored fields and what they hold. No credits of it move until an operator has repaired it.
    """

    code = "account_needs_repair"

    def __init__(self, username: object, problems: "Mapping[str, Unreadable]") -> None:
        found = ", ".join(f"{column} ({problem})" for column, problem in problems.items())
        super().__init__(
            f"account {str(username)[:100]!r} needs repair: {found}",
            customer_message="The record of this account is damaged, so it cannot be used until it has been repaired. "
            f"Your credits are kept: {contact_support()}.",
        )
        self.problems = dict(problems)


class AccountNotFound(BillingError):
    code = "account_not_found"

    def __init__(self, username: str) -> None:
        super().__init__(f"no account {username!r}", customer_message="Account not found.")


class UsernameTaken(BillingError):
    code = "username_taken"


class InvalidUsername(BillingError):
    code = "invalid_username"


class CreditsExpired(BillingError):
    """The credits are still on the balance, but they can be neither spent nor moved, and are soon taken off it."""

    code = "credits_expired"

    def __init__(self, username: str, expired_at: str) -> None:
        super().__init__(
            f"The credits of {username!r} have expired. Set the expiry first, then add or deduct. "
            f"They expired at {expired_at}, and expired credits cannot be moved.",
            customer_message=f"Your credits expired at {expired_at}: {buy_credits()} to continue.",
        )


class InsufficientCredits(BillingError):
    """The balance is below what is asked of it. Amounts in USD; `held` is set aside for requests in flight.

    `retry_seconds` is when what a dead process holds will be back, if that is what is waited for.
    """

    code = "insufficient_credits"

    def __init__(
        self,
        *,
        balance_name: str,
        required: Decimal,
        available: Decimal,
        held: Decimal = ZERO,
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(
            f"insufficient {balance_name} credits. Required: {format_usd(required)}, Balance: {format_usd(available)}"
            + (f" ({format_usd(held)} more is held for requests in flight)" if held else "")
        )
        self.balance_name = balance_name
        self.required = required
        self.available = available
        self.held = held
        self.retry_seconds = retry_seconds


class RateLimitExceeded(BillingError):
    """Too many requests per minute or at once; `retry_seconds` is when the next one will pass."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, rate: "RateLimit", retry_seconds: int) -> None:
        super().__init__(message)
        self.rate = rate
        self.retry_seconds = retry_seconds


class RequestThrottled(RateLimitExceeded):
    """Refused without asking the database: what costs nothing, or is refused each time, came too often."""


class InvalidAmount(BillingError):
    code = "invalid_amount"


class InvalidExpiry(BillingError):
    code = "invalid_expiry"


class ExpiryChanged(BillingError):
    """The expiry is not the one that was seen any more."""

    code = "expiry_changed"


class OperationConflict(BillingError):
    """The same operation id came again with other contents."""

    code = "operation_conflict"


class BrokenInvariant(BillingError):
    """What must always hold would not have held: a mistake of ours. docs/invariants.md has the list.

    Raised inside the transaction or before the write, so that nothing of it is kept.
    """

    code = "broken_invariant"

    def __init__(self, message: str) -> None:
        super().__init__(
            f"broken invariant: {message}",
            customer_message=f"Something went wrong on our side, so this was not done: {contact_support()}.",
        )


class BalanceWriteForbidden(BillingError):
    """Something other than `accounts/credits` tried to write a balance."""

    code = "balance_write_forbidden"
