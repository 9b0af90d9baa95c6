"""What can be wrong with an order, a delivery of a provider, or a decision of the review queue."""

from collections.abc import Mapping

from accounts.advice import contact_support
from accounts.errors import BillingError
from mongo.errors import UnreadableDocument
from mongo.unreadable import Unreadable


class InvalidOrder(BillingError):
    """The order asked for cannot be made; the message says what can."""

    code = "invalid_order"


class TooManyOpenOrders(BillingError):
    """The account has as many unpaid orders as it may have; `retry_seconds` is when the first of them is over."""

    code = "too_many_open_orders"

    def __init__(self, *, count: int, retry_seconds: int) -> None:
        minutes = max(1, -(-retry_seconds // 60))
        super().__init__(
            f"You have {count} unpaid orders, which is the most. Pay one of them, or order again in {minutes} "
            f"minute{'' if minutes == 1 else 's'}, when the first of them is over."
        )
        self.retry_seconds = retry_seconds


class PurchasingOff(BillingError):
    """Staff have turned purchasing off; the message is theirs."""

    code = "purchasing_off"


class PaymentMethodUnavailable(BillingError):
    """Nothing can be sold through this provider now: it is not listed, sells nothing, or is not configured."""

    code = "payment_method_unavailable"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"nothing can be sold through the payment method {method!r} now",
            customer_message="This way to pay is not available. Choose another one, or contact support.",
        )


class ProviderUnavailable(BillingError):
    """The provider could not be reached, or it refused; nothing was charged."""

    code = "provider_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, customer_message="The payment provider does not answer. Nothing was charged: try again shortly."
        )


class PaymentNotFound(BillingError):
    """There is no such payment, or it is another customer's."""

    code = "payment_not_found"

    def __init__(self, message: str = "no such payment") -> None:
        super().__init__(message, customer_message="Payment not found.")


class PaymentNeedsRepair(BillingError, UnreadableDocument):
    """The payment's document holds something that cannot be read: nothing is credited, or reversed, for it."""

    code = "payment_needs_repair"

    def __init__(self, payment: str, problems: Mapping[str, Unreadable]) -> None:
        found = ", ".join(f"{column} ({problem})" for column, problem in problems.items())
        super().__init__(
            f"payment {payment!r} needs repair: {found}",
            customer_message=f"The record of this payment is damaged, but nothing is lost: {contact_support()}.",
        )


class EndpointOff(BillingError):
    """No secret is configured for the provider, so nothing it sends can be believed."""

    code = "endpoint_off"

    def __init__(self, provider: str) -> None:
        super().__init__(f"no webhook secret is configured for {provider}: this endpoint is off")


class InvalidSignature(BillingError):
    """No active secret vouches for the body, so nothing that it says is believed."""

    code = "invalid_signature"


class StaleSignature(InvalidSignature):
    """Rightly signed, but too long ago (or in the future): perhaps a replay."""

    code = "stale_signature"


class MalformedEvent(BillingError):
    """The body cannot be read as the provider's event."""

    code = "malformed_event"


class ProviderRemoved(MalformedEvent):
    """The event is of a provider that is not listed any more, so nobody can read it."""

    code = "provider_removed"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"The provider {provider!r} is not in PAYMENT_PROVIDERS any more, so its events cannot be read."
        )


class BodyTooLarge(BillingError):
    """More bytes were sent than are read."""

    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The body is larger than {limit_bytes} bytes.")


class StorageUnavailable(BillingError):
    """The delivery could not be stored, so it must not be acknowledged."""

    code = "service_unavailable"

    def __init__(self) -> None:
        super().__init__("The service cannot store this now. Try again shortly.")


class ChangedMeanwhile(BillingError):
    """Another process or person changed the same thing first; nothing of this was kept. No failure: look again."""

    code = "changed_meanwhile"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was changed by somebody else meanwhile, so nothing was done. Look at it again before you decide.",
            customer_message="This was changed meanwhile, so nothing was done. Load it again, then decide.",
        )


class NotReviewable(BillingError):
    """The event is not waiting for a decision (any more)."""

    code = "not_reviewable"


class InvalidDecision(BillingError):
    """What staff asked for does not fit the event; the message says what does."""

    code = "invalid_decision"


class AlreadyCredited(BillingError):
    """This money has been credited before."""

    code = "already_credited"
