"""One metered call as the API formats describe it, and what a format must be able to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from accounts.errors import BillingError
from proxy.billing.pricing import Usage
from proxy.formats.json_body import JsonObject
from proxy.formats.members import Asked


@dataclass(frozen=True)
class Call:
    """What billing needs to know of a request.

    `max_output_tokens` is the limit that the client set, for one choice; `thinking_tokens` is a budget for thinking,
    which may be larger. `demanded_tool` is the tool that the model must use: its name, or `ANY_TOOL`.
    """

    model: str
    is_stream: bool
    max_output_tokens: int | None
    choices: int
    text_bytes: int
    has_asked_for_usage: bool
    asked: Asked = field(default_factory=Asked)
    thinking_tokens: int = 0
    demanded_tool: str | None = None


ANY_TOOL = "*"


@dataclass(frozen=True)
class UsageReport:
    """Usage as the upstream reported it. With a `problem` it cannot be billed by as it is: it is estimated."""

    usage: Usage | None
    problem: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it can be billed by."""
        return self.usage is not None and not self.problem


class StreamReader(Protocol):
    """Passes a stream through and picks the usage out of it."""

    is_finished: bool
    """Whether the last event of the format has come: what follows is nothing."""

    has_failed: bool
    """Whether the upstream has reported an error in the stream."""

    text_bytes: int
    """Bytes of generated text so far, for an estimate."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return those to send on now (whole events)."""

    def flush(self) -> bytes:
        """What is left when the upstream has ended."""

    def report(self) -> UsageReport:
        """The usage that the stream reported."""


class ApiFormat(Protocol):
    """One API format: how its requests, answers and streams are read, and how its errors are written."""

    path: ClassVar[str]

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call: ...

    def prepare(
        self,
        body: bytes,
        parsed: JsonObject,
        call: Call,
        *,
        model: str,
        max_output_tokens: int,
        output_member: str | None = None,
        removed_tools: Sequence[int] = (),
    ) -> bytes:
        """The body to forward: model mapped, usage asked for, output bound, tools left out; the rest byte for byte."""

    def read_usage(self, answer: JsonObject) -> UsageReport: ...

    def output_text_bytes(self, answer: JsonObject) -> int: ...

    def stream_reader(self, call: Call) -> StreamReader: ...

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject: ...

    def error_event(self, error: BillingError, message: str) -> bytes:
        """An error as an event of a stream that has begun."""


def read_tokens(report: JsonObject, name: str, *, is_required: bool = False) -> int:
    """A token count of a usage report; raises `ValueError` for what cannot be one.

    Absent and null are 0, unless the format always has the count: then they are a mistake, not usage.
    """
    value: object = report.get(name)
    if value is None and not is_required:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{name} is {str(value)[:40]}")
    return int(value)


MOST_TOKENS = 20_000_000
"""More tokens than any request can have: a count above is a mistake of the upstream, not usage."""
