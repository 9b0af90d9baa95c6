"""What can go wrong with a proxied request. `proxy/responses.py` maps the codes to HTTP and to both API shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from accounts.advice import buy_credits, contact_support
from accounts.errors import BillingError
from accounts.models import Balance
from money.amounts import format_cents, format_usd


class InvalidRequest(BillingError):
    """The request itself is wrong; `param` names the field if one is to blame."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedParameter(BillingError):
    """A member of the request that is not forwarded: refused, not known, or without a price for this model."""

    code = "unsupported_parameter"

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param[:200]!r} is not supported here. {why}")
        self.param = param[:200]


class RequestTooLarge(BillingError):
    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes:,} bytes. Send a shorter conversation.")


class UnsupportedEncoding(BillingError):
    """The body is compressed in a way that is not read here, or more than once."""

    code = "unsupported_encoding"

    def __init__(self, encoding: str, *, supported: Sequence[str]) -> None:
        super().__init__(
            f"The Content-Encoding {encoding[:100]!r} is not supported. Send the body as it is, "
            f"or compressed once by {' or '.join(supported)}."
        )
        self.supported = supported


class ModelNotFound(BillingError):
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model!r} does not exist here or is not available. GET /v1/models lists them.")


class IdempotencyConflict(BillingError):
    """The idempotency key is in use: by one with another body, or by a request that runs, so that waiting helps."""

    code = "idempotency_conflict"

    def __init__(self, message: str, *, retry_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class NotFound(BillingError):
    code = "not_found"


class EndpointMissing(NotFound):
    """An endpoint that this upstream does not have, as the operator's settings say."""

    def __init__(self, path: str, balance: Balance) -> None:
        super().__init__(
            f"{balance.label} has no {path}. GET /v1/models lists its models; they are served by /v1/chat/completions "
            "and /v1/messages."
        )


class MethodNotAllowed(BillingError):
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


HELD_RETRY_SECONDS = 5
"""When to ask again for credits that are held by requests which run: nobody knows how long those take."""


@dataclass(frozen=True)
class WorstCase:
    """The tokens that a request must be able to pay for: its input, and the output of each of its `choices`.

    That is the client's limit; without one (`is_limited`) it is the least output that is useful.
    """

    input_tokens: int
    output_tokens: int
    choices: int = 1
    is_limited: bool = True

    def __str__(self) -> str:
        what = "the most that this request can come to" if self.is_limited else "that of a short answer"
        each = f" in each of {self.choices} answers" if self.choices > 1 else ""
        return f"{what}: {self.input_tokens:,} input tokens and {self.output_tokens:,} output tokens{each}"


class CannotAfford(BillingError):
    """The balance does not cover the worst case of this request. USD; `affordable_max_tokens` would pass (0 = none).

    `worst_case` is what costs `required`; None where the request is not known yet. `retry_seconds` is when waiting may
    have helped, if `is_freed_soon`.
    """

    code = "insufficient_credits"

    def __init__(
        self,
        *,
        balance: Balance,
        required: Decimal,
        available: Decimal,
        held: Decimal,
        affordable_max_tokens: int,
        worst_case: WorstCase | None = None,
        limit_member: str = "max_tokens",
        retry_seconds: int | None = None,
    ) -> None:
        self.balance = balance
        self.required = required
        self.available = available
        self.held = held
        self.affordable_max_tokens = affordable_max_tokens
        self.retry_seconds = retry_seconds or HELD_RETRY_SECONDS
        self.limit_member = limit_member
        super().__init__(" ".join(self._sentences(worst_case)))

    def _sentences(self, worst_case: WorstCase | None) -> Iterator[str]:
        """All that helps: most clients show nothing of an error but its text."""
        cost, whole = format_cents(self.required, round_up=True), format_cents(self.available + self.held)
        yield f"insufficient credits for request. Cost: {cost}, Balance: {whole}."
        if self.held:
            free = f"{format_usd(self.available)} is free" if self.available > 0 else "nothing is free"
            yield f"Your running requests hold {format_usd(self.held)} of it, {free}."
        if worst_case:
            yield f"The cost is {worst_case}."
        yield self.hint

    @property
    def hint(self) -> str:
        """Which balance pays, and what to do."""
        balance, other = self.balance.label, self.balance.other.label
        ways = []
        if self.is_freed_soon:
            ways.append(f"try again in {self.retry_seconds} seconds, when your running requests may have finished")
        if self.affordable_max_tokens:
            ways.append(f"set {self.limit_member} to at most {self.affordable_max_tokens}")
        elif not self.is_freed_soon and self.available > 0:
            ways.append("send a shorter request")
        advice = ", or ".join([*ways, buy_credits()])
        return (
            f"This request is paid from your {balance} balance; the {other} balance does not apply. "
            f"{advice[0].upper()}{advice[1:]}."
        )

    @property
    def is_freed_soon(self) -> bool:
        """Whether the credits are only held by requests in flight, so that waiting helps."""
        return self.available + self.held >= self.required


class UpstreamError(BillingError):
    """The upstream failed, or refused our own credentials: never the customer's fault. The customer pays nothing."""

    code = "upstream_error"

    def __init__(self, message: str, *, retry_after: str | None = None) -> None:
        super().__init__(
            message, customer_message="The model's provider is unavailable right now. You were not charged; try again."
        )
        self.retry_after = retry_after


class WrongKindOfAnswer(UpstreamError):
    """The upstream answered in a way that was not asked for, and would again: another try costs, and helps nobody."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.customer_message = "The model's provider answered in a way that cannot be passed on. You were not charged."


class UpstreamTimeout(BillingError):
    code = "upstream_timeout"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, customer_message="The model's provider did not answer in time. You were not charged; try again."
        )


class InternalError(BillingError):
    """A mistake of ours that nothing else has caught."""

    code = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, customer_message="Something went wrong on our side. You were not charged; try again.")


class ServiceUnavailable(BillingError):
    code = "service_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, customer_message="Billing is unavailable right now. You were not charged; try again.")


class OutcomeUnknown(BillingError):
    """The database did not say whether the record of an answered request is kept. Nothing may be claimed about it.

    A late write may still arrive, or the sweep closes the request at cost 0; its receipt then tells. The retry of a
    request with an idempotency key (`is_keyed`) never pays twice, so it is safe.
    """

    code = "outcome_unknown"
    retry_seconds = 30

    def __init__(self, request_id: str, *, is_keyed: bool = False) -> None:
        self.receipt_path = f"/v1/requests/{request_id}"
        self.is_keyed = is_keyed
        retry = (
            "A retry with the same Idempotency-Key is not billed again."
            if is_keyed
            else "A retry is a request of its own, and billed as one."
        )
        super().__init__(
            f"request {request_id} may be recorded or not",
            customer_message="The answer came, but the database did not confirm its record in time: whether this was "
            f"billed is not known yet. GET {self.receipt_path} will tell in a few minutes. {retry}",
        )


class RotationUnknown(BillingError):
    """The database did not say whether a key was replaced."""

    code = "outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            "a key may have been replaced or not",
            customer_message="The database did not confirm that your key was replaced. Try the old one: if it is "
            f"refused, it was replaced, and the new one is lost: {contact_support()} for another.",
        )


class Busy(BillingError):
    """There is no room for this request at the moment, such as a thread; nothing of it was done."""

    code = "busy"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, customer_message="The service is busy right now. You were not charged; try again in a moment."
        )


class PriceRowChanged(BillingError):
    """A price row that somebody changed between the preview of a change and the change."""

    code = "price_row_changed"

    def __init__(self, model: str) -> None:
        super().__init__(f"The price row of {model!r} was changed meanwhile: look at the preview once more.")
