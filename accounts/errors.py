"""What can be wrong with an account or a movement of credits."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from accounts.advice import buy_credits, contact_support
from money.amounts import ZERO, format_usd
from mongo.errors import UnreadableDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.at_refusal import AccountAtRefusal
    from accounts.rate_limits import RateLimit
    from mongo.unreadable import Unreadable


class BillingError(Exception):
    """Base of every error the domain raises. `str(error)` is the operator's text.

    `code` is stable and part of the API; `customer_message` never holds a secret, a key or another customer's data.
    """

    code: ClassVar[str] = "billing_error"
    account_then: "AccountAtRefusal | None" = None
    """What the account had when it was judged, where the judge read it: for the record of the refusal."""

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


class KeyDisabled(BillingError):
    """A key that was switched off, while its account can be used with other keys."""

    code = "key_disabled"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the API key {key_id} is disabled",
            customer_message="This API key is disabled. Enable it, or use another key of the account.",
        )


class KeyExpired(BillingError):
    code = "key_expired"

    def __init__(self, key_id: str, expired_at: datetime) -> None:
        when = f"{expired_at:%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"the API key {key_id} expired at {when}",
            customer_message=f"This API key expired at {when}. Give it a later expiry, or use another key of the "
            "account.",
        )


class ModelNotAllowed(BillingError):
    """The key may not be used for this model, or on this upstream. `allowed` are those that it may be used for."""

    code = "model_not_allowed"

    def __init__(self, *, what: str, allowed: Sequence[str], is_upstream: bool) -> None:
        kind = "upstream" if is_upstream else "model"
        allowed_ones = ", ".join(allowed)[:500] or "none"
        super().__init__(
            f"This API key may not use the {kind} {what[:200]!r}. Use one that it is allowed ({allowed_ones}), "
            "or another key of the account."
        )


class KeyBudgetReached(BillingError):
    """The key's own budget does not cover the request, whatever the balance holds. Amounts in USD.

    `held` is what running requests of the key may still give back of it; `spent` is gone for this period.
    """

    code = "key_budget_reached"

    def __init__(
        self,
        *,
        budget: Decimal,
        period: str,
        spent: Decimal,
        held: Decimal,
        required: Decimal,
        begins_anew_at: datetime,
    ) -> None:
        self.budget = budget
        self.period = period
        self.spent = spent
        self.held = held
        self.required = required
        self.begins_anew_at = begins_anew_at
        self.left = budget - spent - held
        when = f"{begins_anew_at:%Y-%m-%d %H:%M} UTC"
        advice = (
            "Try again when they have finished, or lower max_tokens."
            if self.is_freed_soon
            else f"It begins anew at {when}: wait until then, lower max_tokens, raise the budget, or use another key."
        )
        super().__init__(
            f"This API key's budget of {format_usd(budget)} a {period} does not cover this request. "
            f"Required: {format_usd(required)}, left: {format_usd(max(self.left, ZERO))}, spent: {format_usd(spent)}"
            + (f", held by running requests of this key: {format_usd(held)}. " if held else ". ")
            + advice
        )

    @property
    def is_freed_soon(self) -> bool:
        """Whether the budget is only held by requests in flight, so that waiting for them helps."""
        return self.budget - self.spent >= self.required and self.held > 0


class KeyNotFound(BillingError):
    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"This account has no API key {key_id[:60]!r}. List its keys to see their ids.")


class TooManyKeys(BillingError):
    code = "too_many_keys"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An account may have {limit} API keys beside its first one. Delete one that is not used.")


class InvalidKeyLimits(BillingError):
    """A name or a limit that a key cannot have; `param` is which."""

    code = "invalid_key_limits"

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class FirstKeyStays(BillingError):
    """What cannot be done to an account's first key, which manages the others."""

    code = "first_key_stays"


class FirstKeyRequired(BillingError):
    """Only the account's first key manages its keys, and only while it has no limits of its own."""

    code = "first_key_required"

    def __init__(self) -> None:
        super().__init__(
            "Only the account's first API key manages its keys, and only while it has no limits. Use that key, or ask "
            "support."
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


class AccountNotConverted(BillingError):
    """An account of the replaced system whose credits were never divided when the price of a credit changed."""

    code = "account_not_converted"

    def __init__(self, username: str) -> None:
        super().__init__(
            f"the credits of account {username!r} were never converted (migration: false): manage.py take_over decides",
            customer_message="The credits of this account have not been converted to the present price of a credit, so "
            f"they cannot be spent yet. They are kept: {contact_support()} to have them converted.",
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
    """Too many requests per minute or at once; `retry_seconds` is when the next one will pass.

    `helps_to_wait` is false of a limit of 0, which no time changes.
    """

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, rate: "RateLimit", retry_seconds: int, helps_to_wait: bool = True) -> None:
        super().__init__(message)
        self.rate = rate
        self.retry_seconds = retry_seconds
        self.helps_to_wait = helps_to_wait


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
